//! Which of several sources is believed.

use super::*;

#[test]
fn more_confident_source_wins() {
    assert_eq!(believed([clean(100), malicious(90)]).reputation, Reputation::Clean);
    assert_eq!(believed([clean(80), malicious(90)]).reputation, Reputation::Malicious);
}

#[test]
fn allow_list_of_the_same_weight_corrects_the_others() {
    let suspicious = Claim { reputation: Reputation::Suspicious, ..malicious(90) };
    let known = Claim { reputation: Reputation::Known, ..malicious(90) };
    assert_eq!(believed([malicious(90), clean(90), known]).reputation, Reputation::Clean);
    assert_eq!(believed([suspicious, malicious(90), known]).reputation, Reputation::Malicious);
    assert_eq!(believed([known, suspicious]).reputation, Reputation::Suspicious);
}

#[test]
fn newer_of_equal_statements_wins_and_then_the_first_source() {
    let (old, new) =
        (Claim { time: 5, ..malicious(90) }, Claim { time: 9, category: Category::Spam, ..malicious(90) });
    assert_eq!(believed([new, old]).category, Category::Spam);
    let (first, second) = (Claim { source: 1, ..malicious(90) }, Claim { source: 2, ..malicious(90) });
    assert_eq!(believed([second, first]).source, 1);
}

#[test]
fn records_that_do_not_fit_into_memory_come_in_the_same_order() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut small = Sorter::with_capacity(folder.path(), 1000);
    for n in 0..10_500 {
        small.push(md5(n % 9_000).key(), Claim { time: n, ..malicious(90) }).expect("the disk has room");
    }
    let in_memory = sorted((0..10_500).map(|n| (md5(n % 9_000), Claim { time: n, ..malicious(90) })));
    assert_eq!(small.records(), in_memory.records());
    assert_eq!(all(small), all(in_memory));
    assert_eq!(fs::read_dir(folder.path()).expect("a folder").count(), 0, "what is on the disk has no name");
}

proptest! {
    #[test]
    fn order_of_sources_makes_no_difference(claims in proptest::collection::vec((0_u32..4, any_claim()), 1..30)) {
        let forwards = sorted(claims.iter().map(|(n, claim)| (md5(*n), *claim)));
        let backwards = sorted(claims.iter().rev().map(|(n, claim)| (md5(*n), *claim)));
        prop_assert_eq!(all(forwards), all(backwards));
    }

    #[test]
    fn record_keeps_key_and_claim(bytes: [u8; 16], extent in 0..=Key::NO_EXTENT, claim in any_claim()) {
        let record = Record::new(Key { kind: Kind::FileMd5, bytes, extent }, claim);
        let read = Record::decode(&record.encode());
        prop_assert_eq!(read.key(Kind::FileMd5), Key { kind: Kind::FileMd5, bytes, extent });
        prop_assert_eq!(read.claim(), Some(claim));
    }
}

fn believed(claims: impl IntoIterator<Item = Claim>) -> Verdict {
    snapshot(claims.into_iter().map(|claim| (md5(1), claim))).lookup(&md5(1), NOW)
}

fn all(sorter: Sorter) -> Vec<(Kind, Record)> {
    sorter.finish().expect("it can be read").map(|record| record.expect("it can be read")).collect()
}

fn any_claim() -> impl Strategy<Value = Claim> {
    (0_usize..6, 0_usize..12, 0_u8..=100, 0_u16..3, 0_u32..3).prop_map(
        |(reputation, category, confidence, source, time)| Claim {
            reputation: Reputation::ALL[reputation],
            category: Category::ALL[category],
            confidence,
            source,
            time,
        },
    )
}
