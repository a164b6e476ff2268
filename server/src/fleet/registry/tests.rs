use bytes::Bytes;

use super::super::record::Pending;
use super::*;

#[test]
fn a_device_shows_what_was_stored() {
    let mut registry = Registry::default();
    for record in [enrolled(), used(), revoked(), DeviceRecord { removed: 9, ..revoked() }] {
        registry.put(ID, Some(&entry(&record, 7)));
        let device = registry.device(ID).unwrap();
        assert_eq!((device.record(), device.rev(), device.name()), (record.clone(), Rev(7), record.name));
        assert_eq!((device.is_revoked(), device.is_removed()), (record.revoked != 0, record.removed != 0));
    }
}

#[test]
fn a_device_takes_its_record_and_48_bytes() {
    assert!(size_of::<(DeviceId, Registered)>() <= 48, "{}", size_of::<(DeviceId, Registered)>());
    let mut registry = Registry::default();
    registry.put(ID, Some(&entry(&used(), 1)));
    assert_eq!(registry.device(ID).unwrap().record.len(), used().encoded_len());
    assert!(registry.admitted.is_empty(), "only who has not used the certificate of its enrolment is in it");
}

#[test]
fn a_record_that_cannot_be_read_is_as_good_as_gone() {
    let mut registry = Registry::default();
    registry.put(ID, Some(&entry(&enrolled(), 1)));
    registry.put(ID, Some(&Entry { value: Bytes::from_static(&[0xff]), ..entry(&enrolled(), 2) }));
    assert!(registry.device(ID).is_none() && registry.count() == 0);
    assert_eq!((registry.members(GROUP), registry.admitted(&TOKEN, &key())), (0, None));
}

#[test]
fn groups_count_who_is_in_them_and_not_revoked() {
    let mut registry = Registry::default();
    let other = DeviceId::new([2; 16]);
    registry.put(ID, Some(&entry(&used(), 1)));
    registry.put(other, Some(&entry(&used(), 2)));
    assert_eq!(registry.members(GROUP), 2);
    let elsewhere = GroupId::new([8; 16]);
    registry.put(other, Some(&entry(&DeviceRecord { group: elsewhere.to_vec(), ..used() }, 3)));
    assert_eq!((registry.members(GROUP), registry.members(elsewhere)), (1, 1));
    registry.put(ID, Some(&entry(&revoked(), 4)));
    registry.put(other, None);
    assert!(registry.members.is_empty(), "{:?}", registry.members);
}

#[test]
fn an_enrolment_is_found_by_token_and_key_until_its_certificate_is_used() {
    let mut registry = Registry::default();
    registry.put(ID, Some(&entry(&enrolled(), 1)));
    assert_eq!(registry.admitted(&TOKEN, &key()), Some(ID));
    assert_eq!(registry.admitted(&[0; 32], &key()), None);
    registry.put(ID, Some(&entry(&used(), 2)));
    assert_eq!(registry.admitted(&TOKEN, &key()), None);
}

#[test]
fn when_a_device_was_seen_outlives_a_change_of_its_record() {
    let mut registry = Registry::default();
    registry.saw(ID, 5);
    registry.put(ID, Some(&entry(&enrolled(), 1)));
    assert_eq!(registry.device(ID).unwrap().seen(), 0, "it was not there yet");
    registry.saw(ID, 1_790_000_000);
    registry.put(ID, Some(&entry(&used(), 2)));
    assert_eq!(registry.device(ID).unwrap().seen(), 1_790_000_000);
}

fn enrolled() -> DeviceRecord {
    let pending = Pending { serial: vec![1], leaf: vec![2; 400], token: TOKEN.to_vec() };
    DeviceRecord { pending: Some(pending), serial: Vec::new(), ..used() }
}

fn used() -> DeviceRecord {
    DeviceRecord {
        name: "pc-1".into(),
        os: "Debian 12".into(),
        group: GROUP.to_vec(),
        key: key().as_bytes().to_vec(),
        enrolled: 1_790_000_000,
        serial: vec![1; 16],
        superseded: vec![vec![0; 16]],
        ..DeviceRecord::default()
    }
}

fn revoked() -> DeviceRecord {
    DeviceRecord { revoked: 1_790_000_001, ..used() }
}

fn entry(record: &DeviceRecord, rev: u64) -> Entry {
    let value = record.encode_to_vec().into();
    Entry { value, create_rev: Rev(1), mod_rev: Rev(rev), lease: None }
}

const fn key() -> PublicKey {
    PublicKey::P256([4; 65])
}

const ID: DeviceId = DeviceId::new([1; 16]);
const GROUP: GroupId = GroupId::new([7; 16]);
const TOKEN: [u8; 32] = [3; 32];
