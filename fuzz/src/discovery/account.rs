//! Accounts of a directory, as its entries say them.

use std::collections::BTreeSet;
use std::time::{Duration, SystemTime};

use klnet_discovery::directory::{ATTRIBUTES, Bookmark, Entry, Mark, Member, filter};
use klnet_discovery::inventory::Inventory;

use super::harmless;
use crate::script::Script;

/// Whatever entries hold, accounts are short and harmless, each is one host as long as it is shown, and nothing that a
/// server says becomes part of a filter but digits.
pub fn account(data: &[u8]) {
    let (mut script, mut now) = (Script::new(data), SystemTime::UNIX_EPOCH);
    let (mut inventory, mut shown) = (Inventory::default(), BTreeSet::new());
    while let Some(decision) = script.decision() {
        if decision >= 250 {
            inventory.keep_members(&shown);
            shown.clear();
            now += Duration::from_secs(1);
            continue;
        }
        let entry = entry(&mut script);
        check_marks(&entry);
        let Some(member) = Member::read(&entry) else { continue };
        let texts = [&member.dns, &member.short, &member.domain, &member.unit, &member.system];
        texts.into_iter().flatten().for_each(|text| harmless(text.as_str()));
        assert!(member.macs.len() <= 16 && member.macs.iter().all(|mac| mac.is_of_a_host()));
        inventory.learn_member(&member, now);
        shown.insert(member.id);
        let holders = inventory.all().filter(|(_, host)| host.directories.contains(&member.id));
        assert_eq!(holders.count(), 1);
    }
}

fn entry(script: &mut Script<'_>) -> Entry {
    let mut entry = Entry::new(String::from_utf8_lossy(script.bytes(255)));
    for _ in 0..script.byte() % 16 {
        // Some that are asked for, and some that nobody knows.
        let attribute = script.pick(&ATTRIBUTES).copied().filter(|_| script.byte() != 0).unwrap_or("x");
        let values: Vec<_> = (0..script.byte() % 4).map(|_| script.bytes(255).to_vec()).collect();
        entry.insert(attribute, values);
    }
    entry
}

fn check_marks(entry: &Entry) {
    let plain = filter(None);
    for mark in [Mark::of_root(entry), Mark::of_entry(entry)].into_iter().flatten() {
        let narrowed = filter(Some(mark));
        let rest = narrowed.strip_prefix("(&").and_then(|rest| rest.strip_prefix(&plain));
        let (name, value) = rest.and_then(|rest| rest.split_once(">=")).expect("a comparison");
        assert!(matches!(name, "(uSNChanged" | "(modifyTimestamp"));
        let value = value.strip_suffix("))").expect("nothing behind it").trim_end_matches('Z');
        assert!(value.bytes().all(|byte| byte.is_ascii_digit()), "{narrowed}");
        let bookmark = Bookmark { mark, server: "ldaps://dc1.example.org".to_owned() };
        assert_eq!(bookmark.to_string().parse(), Ok(bookmark));
    }
}
