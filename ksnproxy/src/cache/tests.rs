use super::*;
use crate::subject::{Digest, Kind, Subject};
use crate::verdict::{Category, Reputation};

#[test]
fn what_was_put_in_is_found_and_nothing_else() {
    let cache = Cache::new(1 << 20, [7; 16]);
    let sized = |size| Subject::File(Digest::Md5([1; 16]), size).key();
    cache.insert(&sized(None), &cached(1));
    cache.insert(&sized(Some(5)), &cached(2));
    assert_eq!(cache.find(&sized(None)).map(|found| found.said), Some(1));
    assert_eq!(cache.find(&sized(Some(5))).map(|found| found.said), Some(2));
    assert_eq!(cache.find(&sized(Some(6))), None);
    assert_eq!(cache.find(&Subject::Section(Digest::Md5([1; 16]), None).key()), None);
    assert_eq!(cache.len(), 2);
}

#[test]
fn an_entry_is_replaced_by_a_newer_one_with_its_key() {
    let cache = Cache::new(1 << 20, [7; 16]);
    cache.insert(&key(1), &cached(1));
    cache.insert(&key(1), &Cached { reputation: Reputation::Clean, confidence: 3, ..cached(2) });
    let found = cache.find(&key(1)).unwrap();
    assert_eq!((found.reputation, found.confidence, found.said), (Reputation::Clean, 3, 2));
    assert_eq!(cache.len(), 1);
}

#[test]
fn how_often_an_entry_was_asked_for_is_counted_to_three() {
    let cache = Cache::new(1 << 20, [7; 16]);
    cache.insert(&key(1), &cached(1));
    let asked: Vec<_> = (0..6).filter_map(|_| cache.find(&key(1))).map(|found| found.asked).collect();
    assert_eq!(asked, [0, 1, 2, 3, 3, 3]);
}

#[test]
fn a_cache_stays_within_its_bytes() {
    let cache = Cache::new(1 << 20, [7; 16]);
    (0..100_000).for_each(|n| cache.insert(&key(n), &cached(0)));
    assert_eq!(cache.len(), cache.capacity());
    assert!(cache.sets.len() * size_of::<Set>() <= 1 << 20);
    assert_eq!(size_of::<Set>(), 704, "44 bytes for each entry");
}

#[test]
fn a_zipf_of_five_million_keys_hits_as_often_as_in_one_large_sieve() {
    let keys = 500_000;
    let cache = Cache::new(keys / 10 * 44, [7; 16]);
    let zipf = Zipf::new(keys, 0.99);
    let mut random = 1;
    let (mut hits, asked) = (0, 2_000_000);
    for _ in 0..asked {
        let key = key(zipf.draw(next(&mut random)));
        if cache.find(&key).is_some() {
            hits += 1;
        } else {
            cache.insert(&key, &cached(0));
        }
    }
    let ratio = f64::from(hits) / f64::from(asked);
    assert!(ratio > 0.72, "{ratio}");
}

#[test]
fn readers_beside_a_writer_see_whole_entries() {
    let cache = Cache::new(704, [7; 16]);
    let whole = |n: u32| Cached { expires: n, source: 7, ..cached(n) };
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                for n in 0..200_000 {
                    if let Some(found) = cache.find(&key(n % 40)) {
                        assert_eq!((found.expires, found.source), (found.said, 7));
                        assert_eq!(found.said % 40, n % 40);
                    }
                }
            });
        }
        (0..200_000).for_each(|n| cache.insert(&key(n % 40), &whole(n)));
    });
}

#[test]
fn the_sets_of_chosen_keys_depend_on_the_secret() {
    let sets = |secret| {
        let cache = Cache::new(704 * 1000, [secret; 16]);
        let address = |n: u32| std::ptr::from_ref(cache.place(&entry::key_words(&key(n))).0);
        let first = cache.sets.as_ptr();
        (0..64).map(|n| (address(n) as usize - first as usize) / 704).collect::<Vec<_>>()
    };
    assert_ne!(sets(1), sets(2));
}

fn key(n: u32) -> Key {
    let mut bytes = [0; 16];
    bytes[..4].copy_from_slice(&n.to_be_bytes());
    Key { kind: Kind::FileSha256, bytes, extent: Key::NO_EXTENT }
}

fn cached(said: u32) -> Cached {
    Cached {
        reputation: Reputation::Malicious,
        category: Category::Malware,
        confidence: 100,
        partial: false,
        source: 1,
        tenth: 10,
        expires: 100,
        said,
        asked: 0,
    }
}

/// Ranks by rejection-free inversion of the sums of 1/n^s.
struct Zipf(Vec<f64>);

impl Zipf {
    fn new(keys: usize, exponent: f64) -> Self {
        let mut sum = 0.0;
        let sums = (1..=u32::try_from(keys).unwrap()).map(|rank| {
            sum += f64::from(rank).powf(-exponent);
            sum
        });
        Self(sums.collect())
    }

    fn draw(&self, random: f64) -> u32 {
        let all = self.0.last().unwrap();
        u32::try_from(self.0.partition_point(|sum| *sum < random * all)).unwrap()
    }
}

/// A number from 0 to 1 (xorshift).
fn next(state: &mut u64) -> f64 {
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    f64::from(u32::try_from(*state >> 32).unwrap()) / f64::from(u32::MAX)
}
