//! Writers that each wait for their answer before they write again.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use hdrhistogram::Histogram;
use tokio::task::JoinSet;

use super::effort::Effort;

/// Somebody who writes to a key of their own, guarded by what they wrote last.
pub(super) trait Writer: Send + 'static {
    /// Writes once more.
    fn write(&mut self) -> impl Future<Output = Result<()>> + Send;
}

/// Lets all write for the time of a measurement; gives writes a second, and the milliseconds within which 99 % of them
/// were answered.
pub(super) async fn measure<W: Writer>(writers: Vec<W>, effort: &Effort) -> Result<[f64; 2]> {
    let begin = Instant::now() + effort.warm_up;
    let end = begin + effort.measured;
    let mut tasks = JoinSet::new();
    for mut writer in writers {
        tasks.spawn(async move {
            let mut answers = histogram()?;
            loop {
                let begun = Instant::now();
                writer.write().await?;
                let ended = Instant::now();
                if ended > end {
                    return anyhow::Ok(answers);
                }
                if ended > begin {
                    answers.saturating_record(u64::try_from((ended - begun).as_micros())?);
                }
            }
        });
    }
    let mut all = histogram()?;
    while let Some(answers) = tasks.join_next().await {
        all.add(answers??)?;
    }
    figures(&all, effort.measured)
}

/// Answer times in microseconds as figures.
pub(super) fn figures(answers: &Histogram<u64>, measured: Duration) -> Result<[f64; 2]> {
    let rate = f64::from(u32::try_from(answers.len())?) / measured.as_secs_f64();
    let slow = u32::try_from(answers.value_at_quantile(0.99))?;
    Ok([rate, f64::from(slow) / 1000.0])
}

pub(super) fn histogram() -> Result<Histogram<u64>> {
    Histogram::new_with_bounds(1, 60_000_000, 3).context("constant bounds are sound")
}

/// The key of a writer.
pub(super) fn key(writer: usize) -> String {
    format!("t/00000000-0000-0000-0000-000000000000/bench/{writer:08}")
}

/// Enough to share a sync, few enough that 50,000 writes a second let each of them be answered within 5 ms.
pub(super) const WRITERS: usize = 128;
/// Bytes of a value.
pub(super) const VALUE: usize = 256;
