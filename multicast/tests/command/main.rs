//! `klcast` as a person runs it, on the loopback interface.
#![allow(clippy::unwrap_used)] // a world that cannot be made fails its test

mod world;

use std::fs;

use serde_json::Value;
use world::{World, content};

#[test]
fn two_receivers_get_a_file_and_a_folder_and_the_sender_says_so() {
    let world = World::new("files", "239.194.77.1:15001");
    let folder = world.path("pack");
    fs::create_dir_all(folder.join("sub")).unwrap();
    fs::write(folder.join("sub/large"), content(9 << 20)).unwrap();
    fs::write(folder.join("empty"), b"").unwrap();
    let receivers = [world.receive("one"), world.receive("two")];
    let sent = world.send(&["--expect", "2", "--json"], &[&folder]);
    assert_eq!(sent.code, 0, "{}", sent.output);
    for receiver in receivers {
        let folder = receiver.folder.clone();
        receiver.ends_well();
        assert!(fs::read(folder.join("pack/sub/large")).unwrap() == content(9 << 20));
        assert!(fs::read(folder.join("pack/empty")).unwrap().is_empty());
    }
    let last: Value = serde_json::from_str(sent.output.lines().last().unwrap()).unwrap();
    assert_eq!((last["event"].as_str(), last["complete"].as_u64()), (Some("result"), Some(2)));
}

#[test]
fn a_small_policy_comes_with_its_announcement() {
    let world = World::new("policy", "239.194.77.2:15001");
    let policy = world.path("policy.toml");
    fs::write(&policy, b"lock = true\n").unwrap();
    let receiver = world.receive("one");
    assert_eq!(world.send(&["--expect", "1"], &[&policy]).code, 0);
    let folder = receiver.folder.clone();
    receiver.ends_well();
    assert_eq!(fs::read(folder.join("policy.toml")).unwrap(), b"lock = true\n");
}

#[test]
fn nobody_and_too_few_have_exit_codes_of_their_own() {
    let world = World::new("codes", "239.194.77.3:15001");
    let file = world.path("file");
    fs::write(&file, content(100_000)).unwrap();
    assert_eq!(world.send(&[], &[&file]).code, 4);
}

#[test]
fn a_killed_receiver_goes_on_where_it_was() {
    let world = World::new("kill", "239.194.77.4:15001");
    let file = world.path("large");
    fs::write(&file, content(64 << 20)).unwrap();
    let mut receiver = world.receive("one");
    let sending = world.start_sending(&["--expect", "1", "--rate", "200M"], &[&file]);
    receiver.wait_for_parts();
    receiver.kill();
    let receiver = world.receive("one");
    assert_eq!(sending.finish().code, 0);
    let folder = receiver.folder.clone();
    let said = receiver.ends_well();
    assert!(fs::read(folder.join("large")).unwrap() == content(64 << 20));
    let completed = said.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let completed = completed.into_iter().find(|line| line["event"] == "completed").unwrap();
    assert!(completed["resumed"].as_u64() > Some(1), "what was verified is not sent again: {completed}");
}

#[test]
fn who_has_another_key_receives_nothing() {
    let world = World::new("foreign", "239.194.77.5:15001");
    let file = world.path("file");
    fs::write(&file, b"secret").unwrap();
    let others = World::new("foreign-too", "239.194.77.5:15001");
    let mut foreign = others.receive("one");
    assert_eq!(world.send(&[], &[&file]).code, 4);
    assert!(!foreign.folder.join("file").exists());
    foreign.kill();
}

#[test]
fn help_completions_and_manual_are_there() {
    for args in [&["--help"][..], &["send", "--help"], &["completions", "bash"], &["man"]] {
        let output = world::klcast().args(args).output().unwrap();
        assert!(output.status.success() && output.stdout.len() > 500, "{args:?}");
    }
    assert_eq!(world::klcast().arg("send").output().unwrap().status.code(), Some(2));
}
