use proptest::collection::btree_set;
use proptest::prelude::*;

use super::*;

#[test]
fn an_update_takes_away_by_place_and_then_adds() {
    let before = whole(&[10, 20, 30, 40]);
    let update = partial(&[0, 2], &[15, 50], &[15, 20, 40, 50]);
    let mut lists = HashLists::default();
    lists.update(&before, update).unwrap();
    assert_eq!(numbers(&lists), [15, 20, 40, 50]);
    let again = partial(&[3], &[], &[15, 20, 40]);
    lists.update(&before, again).unwrap();
    assert_eq!(numbers(&lists), [15, 20, 40], "the second of one import builds on the first");
}

#[test]
fn an_update_on_another_version_is_refused_and_changes_nothing() {
    let before = whole(&[10, 20, 30, 40]);
    let mut lists = HashLists::default();
    for update in [
        partial(&[4], &[], &[10, 20, 30, 40]),
        partial(&[usize::MAX], &[], &[10, 20, 30, 40]),
        partial(&[0], &[20], &[20, 30, 40]),
        partial(&[0], &[], &[10, 20, 30, 40]),
        Update { checksum: Vec::new(), ..partial(&[0], &[], &[]) },
    ] {
        assert_eq!(lists.update(&before, update), Err(Reason::Base("AQI=".to_owned())));
    }
    assert_eq!(lists.update(&HashLists::default(), partial(&[], &[1], &[1])), Err(Reason::Partial));
    assert!(lists.is_empty());
}

#[test]
fn what_has_not_changed_needs_no_checksum_and_a_whole_list_always_does() {
    let before = whole(&[10, 20]);
    let mut lists = HashLists::default();
    let same = Update { checksum: Vec::new(), version: vec![9], ..partial(&[], &[], &[]) };
    lists.update(&before, same).unwrap();
    assert_eq!(
        (numbers(&lists), lists.iter().next().unwrap().1.version()),
        (vec![10, 20], "CQ==".to_owned())
    );
    let none = Update { is_partial: false, checksum: Vec::new(), ..partial(&[], &[], &[]) };
    assert_eq!(lists.update(&before, none), Err(Reason::Checksum));
}

#[test]
fn lists_read_as_they_were_written_and_damaged_ones_not_at_all() {
    let lists = whole(&[1, 2, 3]);
    let stored = lists.encode();
    assert_eq!(HashLists::decode(&stored), Some(lists));
    for bit in 0..stored.len() * 8 {
        let mut damaged = stored.clone();
        damaged[bit / 8] ^= 1 << (bit % 8);
        assert_eq!(HashLists::decode(&damaged), None, "bit {bit}");
    }
}

#[test]
fn the_name_of_a_list_says_how_long_its_hashes_are() {
    assert_eq!(
        ["se-4b", "gc-32b", "mw-8b", "pha-16b"].map(length_of),
        [Some(4), Some(32), Some(8), Some(16)]
    );
    assert_eq!(["se", "se-", "se-5b", "xx-4b", ""].map(length_of), [None; 5]);
}

proptest! {
    #[test]
    fn what_differs_between_any_two_lists_leads_from_the_one_to_the_other(
        from in btree_set(any::<u32>(), 0..40),
        to in btree_set(any::<u32>(), 0..40),
    ) {
        let goes = |(place, hash): (usize, &u32)| (!to.contains(hash)).then_some(place);
        let removals: Vec<_> = from.iter().enumerate().filter_map(goes).collect();
        let additions: Vec<_> = to.difference(&from).copied().collect();
        let to: Vec<_> = to.into_iter().collect();
        let before = whole(&from.into_iter().collect::<Vec<_>>());
        let mut lists = HashLists::default();
        lists.update(&before, partial(&removals, &additions, &to)).unwrap();
        prop_assert_eq!(numbers(&lists), to);
    }
}

fn whole(hashes: &[u32]) -> HashLists {
    let mut lists = HashLists::default();
    let update = Update { is_partial: false, version: vec![1, 2], ..partial(&[], hashes, hashes) };
    lists.update(&HashLists::default(), update).unwrap();
    lists
}

/// An update after which these are `all`.
fn partial(removals: &[usize], additions: &[u32], all: &[u32]) -> Update {
    let bytes = |hashes: &[u32]| hashes.iter().flat_map(|hash| hash.to_be_bytes()).collect::<Vec<_>>();
    Update {
        name: "se-4b".to_owned(),
        version: vec![3],
        is_partial: true,
        removals: removals.to_vec(),
        additions: bytes(additions),
        checksum: digest(&SHA256, &bytes(all)).as_ref().to_vec(),
    }
}

fn numbers(lists: &HashLists) -> Vec<u32> {
    let number = |(key, _): (Key, Says)| u32::from_be_bytes(*key.bytes.first_chunk().unwrap());
    lists.claims().map(number).collect()
}
