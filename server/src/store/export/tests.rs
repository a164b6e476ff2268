//! The format, to the byte, and everything that is no export.

use super::*;
use crate::store::{Batch, Entry, Event, LeaseId};

#[test]
fn export_is_written_as_documented() {
    let expected = [
        &b"klnet export 1\n\0\0\0\x18H"[..],
        &[7; 16],
        &[0, 0, 0, 0, 0, 0, 0, 9],
        b"\0\0\0\x10E\0\0\0\0\0\0\0\x05\0\x01avalue",
        b"\0\0\0\x28Z\0\0\0\0\0\0\0\x01",
    ]
    .concat();
    let sample = sample();
    assert_eq!(sample[..sample.len() - 32], expected[..expected.len()]);
}

#[test]
fn what_is_under_a_lease_is_left_out() {
    let leased = batch(5, "a", Some(LeaseId([1; 16])));
    let mut output = Vec::new();
    let mut encoder = Encoder::new(&mut output, HEAD).expect("memory takes everything");
    encoder.batch(&leased).expect("memory takes everything");
    assert_eq!(encoder.finish().expect("memory takes everything"), 0);
    assert!(read(&output).expect("an empty export is one").is_empty());
}

#[test]
fn every_flipped_bit_is_refused() {
    let sample = sample();
    for bit in 0..sample.len() * 8 {
        let mut flipped = sample.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        assert!(read(&flipped).is_err(), "bit {bit}");
    }
}

#[test]
fn every_cut_and_everything_that_follows_is_refused() {
    let sample = sample();
    for length in 0..sample.len() {
        let cut = read(&sample[..length]);
        assert!(matches!(cut, Err(ImportError::CutOff { .. })), "{length}: {cut:?}");
    }
    let longer = [&sample[..], b"\0"].concat();
    assert!(matches!(read(&longer), Err(ImportError::Malformed { .. })));
}

#[test]
fn part_that_claims_more_than_an_entry_may_have_is_refused_before_it_is_read() {
    let mut sample = sample();
    sample[15..19].copy_from_slice(&u32::MAX.to_be_bytes());
    assert!(matches!(read(&sample), Err(ImportError::TooLong { length: u32::MAX })));
}

#[test]
fn entries_out_of_order_are_refused() {
    let written = write(&[batch(5, "a", None), batch(4, "b", None)]);
    assert!(matches!(read(&written), Err(ImportError::Malformed { what: "out of order", .. })));
    let ahead = write(&[batch(10, "a", None)]);
    assert!(matches!(read(&ahead), Err(ImportError::Malformed { what: "of no commit", .. })));
}

fn sample() -> Vec<u8> {
    write(&[batch(5, "a", None)])
}

fn write(batches: &[Batch]) -> Vec<u8> {
    let mut output = Vec::new();
    let mut encoder = Encoder::new(&mut output, HEAD).expect("memory takes everything");
    batches.iter().try_for_each(|batch| encoder.batch(batch)).expect("memory takes everything");
    encoder.finish().expect("memory takes everything");
    output
}

fn read(bytes: &[u8]) -> Result<Vec<Exported>, ImportError> {
    let (mut decoder, mut entries) = (Decoder::new(bytes)?, Vec::new());
    while let Some(entry) = decoder.next()? {
        entries.push(entry);
    }
    Ok(entries)
}

fn batch(rev: u64, key: &'static str, lease: Option<LeaseId>) -> Batch {
    let rev = Rev(rev);
    let entry = Entry { value: "value".into(), create_rev: rev, mod_rev: rev, lease };
    Batch { rev, events: vec![Event { key: Key::new(key).expect("short"), entry: Some(entry) }] }
}

const HEAD: Header = Header { incarnation: Incarnation([7; 16]), at: Rev(9) };
