//! Snapshots of which a proxy holds a part.

use super::*;

#[test]
fn part_answers_what_it_holds_and_says_when_it_does_not() {
    let file = written(sorted((0..100_000).map(|n| (md5(n), malicious(90)))));
    let whole = loaded(&file);
    let wanted = segments_of(whole.manifest(), Kind::FileMd5, [0; 16], [0x3f; 16]);
    assert_eq!(wanted.len(), 1, "a quarter of four segments");
    let part = loaded(&replicate(&file, &wanted));
    for subject in (0..100_500).map(md5) {
        let (all, some) = (whole.lookup(&subject, NOW), part.lookup(&subject, NOW));
        if subject.key().bytes[0] <= 0x3f {
            assert_eq!(some, all);
        } else {
            assert_eq!((some.reputation, some.partial), (Reputation::Unknown, true));
        }
    }
}

#[test]
fn forged_segment_never_gets_into_a_part() {
    let file = written(sorted((0..100).map(|n| (md5(n), malicious(90)))));
    let mut reader = Reader::open(Cursor::new(&file), &[KEY.public().clone()]).expect("it was written so");
    let segment = reader.manifest().segments().next().expect("it has one");
    let mut bytes = reader.segment(&segment).expect("it is sound").expect("it is held");
    let signed = reader.signed().clone();
    let mut part = Part::new(Vec::new(), signed, &[KEY.public().clone()]).expect("memory");
    bytes[3] ^= 1;
    assert!(matches!(part.push(&segment, &bytes), Err(SnapshotError::Segment { .. })));
    bytes[3] ^= 1;
    part.push(&segment, &bytes).expect("it is the one that was signed");
    assert_eq!(
        loaded(&part.finish().expect("memory")).lookup(&md5(5), NOW).reputation,
        Reputation::Malicious
    );
}

#[test]
fn whole_replica_is_the_same_file() {
    let file = written(sorted((0..100_000).map(|n| (md5(n), malicious(90)))));
    let segments: Vec<_> = loaded(&file).manifest().segments().collect();
    assert_eq!(replicate(&file, &segments), file);
}

fn replicate(file: &[u8], wanted: &[SegmentId]) -> Vec<u8> {
    let trusted = [KEY.public().clone()];
    let mut reader = Reader::open(Cursor::new(file), &trusted).expect("it was written so");
    let mut part = Part::new(Vec::new(), reader.signed().clone(), &trusted).expect("memory");
    for segment in wanted {
        let bytes = reader.segment(segment).expect("it is sound").expect("it is held");
        part.push(segment, &bytes).expect("it is the one that was signed");
    }
    part.finish().expect("memory")
}
