//! NSRL's database and Safe Browsing's lists.

use rusqlite::Connection;

use super::*;

#[test]
fn nsrl_files_are_known_and_no_more() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("RDS.db");
    minimal(&path, &[(sha256(1), sha1(1), md5(1)), (sha256(2), sha1(2), String::new())]);
    let feed = database(&path).expect("it is sound");
    let verdict = feed.verdict(&file(&sha256(1)));
    assert_eq!((verdict.reputation, verdict.category), (Reputation::Known, Category::Software));
    assert_eq!(feed.reputation(&file(&sha1(2))), Reputation::Known);
    assert_eq!(feed.reputation(&file(&sha256(3))), Reputation::Unknown);
    assert_eq!(feed.report.notes, ["RDS 2024.09.1 of 2024-09-01"]);
}

#[test]
fn nsrl_full_database_has_a_view_of_files() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("RDS.db");
    let made = Connection::open(&path).expect("a database");
    made.execute_batch(&format!(
        "CREATE TABLE METADATA (metadata_id INTEGER PRIMARY KEY, file_name TEXT, bytes INTEGER, md5 TEXT, sha1 TEXT, sha256 TEXT);
         CREATE VIEW FILE AS SELECT UPPER(sha256) AS sha256, UPPER(sha1) AS sha1, UPPER(md5) AS md5, file_name, bytes AS file_size, 1 AS package_id FROM METADATA;
         INSERT INTO METADATA VALUES (1, 'a.exe', 5, '{}', '{}', '{}');",
        md5(1),
        sha1(1),
        sha256(1)
    ))
    .expect("its schema");
    drop(made);
    assert_eq!(database(&path).expect("it is sound").reputation(&file(&sha256(1))), Reputation::Known);
}

#[test]
fn database_that_is_none_or_has_other_things_in_it_is_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("RDS.db");
    std::fs::write(&path, "not a database, but long enough to be looked at as if it were one")
        .expect("there is room");
    assert!(database(&path).is_err());
    let other = folder.path().join("other.db");
    minimal(&other, &[("x".to_owned(), sha1(1), md5(1))]);
    assert_eq!(
        database(&other).err().map(|error| error.to_string()),
        Some("line 1: 'x' is no hash that belongs here".to_owned())
    );
    assert!(database(&folder.path().join("absent.db")).is_err());
    assert!(!folder.path().join("absent.db").exists(), "reading makes no database");
}

#[test]
fn safe_browsing_list_answers_for_hashes_that_begin_alike() {
    let hashes = [0x0102_0304_u32, 0x0102_0309, 0xfedc_ba98];
    let feed = import(Format::Gsb, "mw-4b", list("mw-4b", &hashes, 27, &checksum(&hashes)));
    let url = |begin: u32| {
        let mut hash = [7; 32];
        hash[..4].copy_from_slice(&begin.to_be_bytes());
        Subject::Url(hash)
    };
    for begin in hashes {
        let verdict = feed.verdict(&url(begin));
        assert_eq!(
            (verdict.reputation, verdict.category, verdict.partial),
            (Reputation::Suspicious, Category::Malware, true)
        );
    }
    assert_eq!(feed.reputation(&url(0x0102_0305)), Reputation::Unknown);
}

#[test]
fn safe_browsing_list_that_does_not_add_up_is_refused() {
    let hashes = [0x0102_0304_u32, 0x0102_0309, 0xfedc_ba98];
    let refused = |list: Vec<u8>| refused(Format::Gsb, "list", list);
    assert_eq!(
        refused(list("mw-4b", &hashes, 27, &checksum(&hashes[..2]))),
        "line 1: the checksum is not that of the content"
    );
    assert_eq!(refused(list("mw-4b", &hashes, 31, &checksum(&hashes))), "line 1: the head is damaged");
    let mut partial = list("mw-4b", &hashes, 27, &checksum(&hashes));
    partial.extend_from_slice(&[0x18, 1]);
    assert_eq!(refused(partial), "line 1: a partial update of a list that is not here: fetch the whole list");
    let whole = list("mw-4b", &hashes, 27, &checksum(&hashes));
    for length in 1..whole.len() {
        assert!(try_import(Format::Gsb, "list", &whole[..length]).is_err(), "{length} bytes");
    }
}

fn database(path: &std::path::Path) -> Result<Imported, FeedError> {
    let mut intake = intake();
    read_file(Format::Nsrl, path, &mut intake, &|_| {})?;
    finish(intake)
}

/// The published schema of a minimal RDS.
fn minimal(path: &std::path::Path, files: &[(String, String, String)]) {
    let made = Connection::open(path).expect("a database");
    made.execute_batch(
        "CREATE TABLE FILE (sha256 VARCHAR NOT NULL, sha1 VARCHAR NOT NULL, md5 VARCHAR NOT NULL, crc32 VARCHAR NOT NULL,
           file_name VARCHAR NOT NULL, file_size INTEGER NOT NULL, package_id INTEGER NOT NULL,
           CONSTRAINT PK_FILE__FILE PRIMARY KEY (sha256, sha1, md5, file_name, file_size, package_id));
         CREATE TABLE VERSION (version VARCHAR UNIQUE NOT NULL, build_set VARCHAR NOT NULL, build_date TIMESTAMP NOT NULL,
           release_date TIMESTAMP NOT NULL, description VARCHAR NOT NULL, PRIMARY KEY (version));
         INSERT INTO VERSION VALUES ('2024.09.1', 'modern', '2024-09-01', '2024-09-01', 'test');",
    )
    .expect("its schema");
    for (sha256, sha1, md5) in files {
        let row = (sha256.to_uppercase(), sha1.to_uppercase(), md5.to_uppercase());
        let row = if sha256 == "x" { (sha256.clone(), row.1, row.2) } else { row };
        made.execute("INSERT INTO FILE VALUES (?1, ?2, ?3, '00000000', 'a.exe', 5, 1)", row).expect("a row");
    }
}

/// A `HashList` in the bytes of protobuf.
fn list(name: &str, hashes: &[u32], parameter: u8, checksum: &[u8]) -> Vec<u8> {
    let mut bits = Vec::new();
    for pair in hashes.windows(2) {
        let difference = pair[1] - pair[0];
        bits.extend(std::iter::repeat_n(1_u8, (difference >> parameter) as usize));
        bits.push(0);
        bits.extend((0..parameter).map(|place| u8::from(difference >> place & 1 == 1)));
    }
    let data: Vec<u8> =
        bits.chunks(8).map(|byte| byte.iter().rev().fold(0, |byte, bit| byte << 1 | bit)).collect();
    let mut rice = vec![0x08];
    varint(hashes[0], &mut rice);
    rice.extend([0x10, parameter, 0x18, u8::try_from(hashes.len() - 1).expect("a few")]);
    field(0x22, &data, &mut rice);
    let mut list = Vec::new();
    field(0x0a, name.as_bytes(), &mut list);
    field(0x22, &rice, &mut list);
    field(0x3a, checksum, &mut list);
    list
}

fn field(tag: u8, content: &[u8], message: &mut Vec<u8>) {
    message.extend([tag, u8::try_from(content.len()).expect("it is short")]);
    message.extend_from_slice(content);
}

fn varint(mut number: u32, message: &mut Vec<u8>) {
    while number > 0x7f {
        message.push(u8::try_from(number & 0x7f).expect("seven bits") | 0x80);
        number >>= 7;
    }
    message.push(u8::try_from(number).expect("seven bits"));
}

fn checksum(hashes: &[u32]) -> Vec<u8> {
    let all: Vec<u8> = hashes.iter().flat_map(|hash| hash.to_be_bytes()).collect();
    ring::digest::digest(&ring::digest::SHA256, &all).as_ref().to_vec()
}
