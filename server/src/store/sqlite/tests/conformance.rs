//! The conformance suite, asked of SQLite, and of a store in memory as far as it claims anything.

use std::{path::Path, sync::Arc};

use tempfile::TempDir;

use super::{
    FILE,
    specimen::{SQLITE, UNSYNCED},
};
use crate::store::{
    SqliteStore, Store,
    conformance::{
        Factory, Verdict, durability, edges, histories, holders, kill, memory::Memory, paused, registers,
        scale, transfer, watches,
    },
};

#[test]
fn random_histories_answer_as_the_oracle_does() {
    passes(histories::answer_as_the_oracle(&SQLITE, scale(48, 2000)));
    passes(histories::answer_as_the_oracle(&Memory, scale(48, 2000)));
}

#[test]
fn concurrent_histories_have_one_order() {
    both(|factory| registers::have_one_order(factory, scale(6, 500)));
}

#[test]
fn watches_miss_and_repeat_nothing() {
    both(|factory| watches::miss_and_repeat_nothing(factory, scale(4, 200)));
}

#[test]
fn leases_end_in_time_and_as_one_commit() {
    both(holders::end_in_time);
}

#[test]
fn holder_that_slept_through_its_lease_can_do_no_harm() {
    both(holders::are_fenced);
}

#[test]
fn process_that_was_stopped_beyond_its_lease_can_do_no_harm() {
    let test = "store::sqlite::tests::conformance::process_that_wishes_until_it_is_killed";
    both(|factory| paused::does_no_harm(factory, test));
}

/// The process that is stopped: does nothing unless the test above started it.
#[test]
fn process_that_wishes_until_it_is_killed() {
    paused::wish_until_killed();
}

#[test]
fn leases_hold_what_they_may() {
    both(holders::hold_what_they_may);
}

#[test]
fn leases_begin_anew_when_the_store_is_opened() {
    passes(holders::begin_anew(&SQLITE));
}

#[test]
fn limits_are_where_they_are_said_to_be() {
    both(edges::are_where_they_are_said_to_be);
}

#[test]
fn dropped_commits_tell_what_became_of_them() {
    both(edges::tell_what_became_of_it);
}

#[test]
fn exports_keep_what_they_must_from_any_backend_to_any_other() {
    passes(transfer::keeps_what_it_must(&SQLITE, &SQLITE));
    passes(transfer::keeps_what_it_must(&SQLITE, &Memory));
    passes(transfer::keeps_what_it_must(&Memory, &SQLITE));
}

#[test]
fn no_acknowledged_commit_is_lost_by_kill_nine() {
    let (folder, kills) = (TempDir::new().expect("a folder for the test"), scale(15, 1000));
    let test = "store::sqlite::tests::conformance::process_that_writes_until_it_is_killed";
    let survived = kill::loses_nothing(test, &folder.path().join(FILE), open, kills);
    println!("{kills} kills, {} acknowledged commits, 0 lost", passes(survived));
}

/// The process that is killed: does nothing unless the test above started it.
#[test]
fn process_that_writes_until_it_is_killed() {
    kill::write_until_killed(open);
}

#[test]
fn no_acknowledged_commit_is_lost_by_a_power_cut() {
    let cuts = scale(40, 1000);
    let survived = durability::survives_power_cuts(&SQLITE, cuts, 1);
    println!("{cuts} power cuts, {} acknowledged commits, 0 lost", passes(survived));
}

#[test]
fn store_that_does_not_sync_loses_by_power_cuts() {
    let lost = durability::survives_power_cuts(&UNSYNCED, 40, 1);
    println!("without syncs: {}", lost.expect_err("the disk is to lose what was not synced"));
}

#[test]
fn damage_is_noticed_or_does_no_harm() {
    let copies = scale(150, 10_000);
    let noticed = passes(durability::notices_damage(&SQLITE, copies, 1));
    println!("{copies} damaged copies, {noticed} noticed, the others did no harm");
    assert!(noticed as u64 > copies / 4, "much of a store is neither free space nor an older page");
}

fn both(part: impl Fn(&dyn Factory) -> Verdict) {
    passes(part(&SQLITE));
    passes(part(&Memory));
}

fn passes<T>(verdict: Result<T, String>) -> T {
    verdict.unwrap_or_else(|why| panic!("{why}"))
}

fn open(path: &Path) -> Arc<dyn Store> {
    Arc::new(SqliteStore::open(path).expect("a healthy store"))
}
