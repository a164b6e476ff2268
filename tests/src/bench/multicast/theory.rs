//! What it takes in theory to bring a symbol to everyone, when each of N receivers loses with probability p.

/// Retransmission of what anybody lacks: the expected maximum of N geometric numbers.
pub(super) fn retransmission(loss: f64, receivers: usize) -> f64 {
    tail_sum(|sent| 1.0 - loss.powi(sent), receivers)
}

/// Parity on demand for blocks of `sources` symbols, any so many of which restore it: the expected maximum of N negative
/// binomial numbers, for each symbol.
pub(super) fn block_code(sources: u32, loss: f64, receivers: usize) -> f64 {
    let sources = f64::from(sources);
    // The probability that exactly so many are lost before enough have come; each follows from the one before.
    let mut exactly = (1.0 - loss).ln() * sources;
    let (mut cumulated, mut excess, mut lost) = (exactly.exp(), 0.0, 0.0);
    loop {
        let missing = 1.0 - cumulated.min(1.0).powf(receivers as f64);
        if missing < SMALL && lost > sources * loss {
            return (sources + excess) / sources;
        }
        excess += missing;
        exactly += ((sources + lost) / (lost + 1.0) * loss).ln();
        lost += 1.0;
        cumulated += exactly.exp();
    }
}

/// E[max of N] = sum over j of 1 - P(one <= j)^N.
fn tail_sum(done: impl Fn(i32) -> f64, receivers: usize) -> f64 {
    let missing = |sent| 1.0 - done(sent).powf(receivers as f64);
    (0..).map(missing).take_while(|missing| *missing > SMALL).sum()
}

const SMALL: f64 = 1e-9;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_block_of_one_symbol_is_retransmission() {
        for (loss, receivers) in [(0.05, 1), (0.05, 1000), (0.2, 30)] {
            let difference = block_code(1, loss, receivers) - retransmission(loss, receivers);
            assert!(difference.abs() < 1e-6, "{loss} {receivers}: {difference}");
        }
        assert!((retransmission(0.05, 1) - 1.0 / 0.95).abs() < 1e-6);
    }

    #[test]
    fn larger_blocks_cost_less() {
        let costs = [20, 64, 1024, 2979].map(|sources| block_code(sources, 0.05, 1000));
        assert!(costs.is_sorted_by(|a, b| a > b) && costs[3] > 1.0 / 0.95, "{costs:?}");
    }
}
