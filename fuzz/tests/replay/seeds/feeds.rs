//! Seeds of published lists: a few lines of each format, as its publisher writes them.

use std::io::Write;

use klnet_ksnproxy::snapshot::{Claim, Record};
use klnet_ksnproxy::subject::{Digest, Subject};
use klnet_ksnproxy::verdict::{Category, Reputation};

use super::Seed;

pub(super) fn seeds() -> Vec<Seed> {
    let mut seeds = texts();
    seeds.extend(packed());
    seeds.push(("snapshot", "files", records(2, 8)));
    seeds.push(("snapshot", "networks", records(8, 4)));
    seeds
}

fn texts() -> Vec<Seed> {
    let text = |target, name, text: &str| (target, name, text.as_bytes().to_vec());
    vec![
        text("feed_clamav", "hdb", &format!("\0{MD5}:17387:Win.Test-1\n{MD5}:*:Win.Test-2:73:255\n")),
        text("feed_clamav", "mdb", &format!("\x024096:{MD5}:Win.Test-1\n*:{MD5}:Win.Test-2:73\n")),
        text("feed_clamav", "crb", &format!("\x06CA-1;1;{SHA1};;aa;010001;1;1;1;1300000000;comment;90\n")),
        text(
            "feed_urlhaus",
            "row",
            "# id\n\"1\",\"2024-09-02 06:17:52\",\"http://evil.example/a\"\"b\",\"online\",\"\",\"malware_download\",\"x,y\",\"l\",\"me\"\n",
        ),
        text(
            "feed_malwarebazaar",
            "row",
            &format!("\"2024-09-02 06:17:52\", \"{SHA256}\", \"{MD5}\", \"n/a\", \"me\", \"a, b.exe\"\n"),
        ),
        text(
            "feed_threatfox",
            "rows",
            "\"2024-09-02 06:17:52\", \"1\", \"192.0.2.1:443\", \"ip:port\", \"botnet_cc\", \"x\", \"None\", \"X\", \"\", \"75\", \"False\", \"None\", \"x\", \"0\", \"me\"\n# Number of entries: 1\n",
        ),
        text("feed_sslbl", "row", &format!("# x\r\n2024-09-02 06:17:52,{SHA1},Rhadamanthys C&C\r\n")),
        text(
            "feed_misp",
            "hosts",
            r#"{"name":"n","type":"hostname","version":1,"list":[".a.example","b.example"]}"#,
        ),
        text(
            "feed_misp",
            "networks",
            r#"{"list":["192.0.2.0/24","::/0"],"name":"n","type":"cidr","version":1}"#,
        ),
        text(
            "feed_stix",
            "indicator",
            r#"{"type":"bundle","objects":[{"type":"indicator","pattern_type":"stix","pattern":"[domain-name:value = 'a.example' OR url:value IN ('http://b/', 'http://c/')] OR [ipv4-addr:value='192.0.2.0/24']","valid_from":"2024-09-02T06:17:52Z","confidence":50}]}"#,
        ),
        text(
            "feed_rpz",
            "zone",
            "$ORIGIN rpz.\n@ SOA a. b. (\n 1 2 )\nevil.example 300 IN CNAME .\n*.x.example CNAME rpz-passthru.\n32.zz.db8.2001.rpz-ip CNAME .\n",
        ),
        text(
            "feed_plain",
            "shapes",
            "1,a.example\n||b.example^\n0.0.0.0 c.example # x\n192.0.2.0/24\nhttp://d.example/x\n",
        ),
        text("url", "escapes", "http://user@%31%36%38.0x1.1:80/%25%32%35/./a/../b//c?d=%2f#e"),
        text("url", "scripts", "http://B\u{fc}cher\u{3002}example/\u{fc}"),
        text("url", "address", "http://[::ffff:127.0.0.1]:8080/"),
    ]
}

fn packed() -> Vec<Seed> {
    let list = format!("{MD5}:1:A\n");
    let mut archive = tar::Builder::new(Vec::new());
    let mut header = tar::Header::new_gnu();
    header.set_size(list.len() as u64);
    archive.append_data(&mut header, "x.hdb", list.as_bytes()).unwrap();
    let archive = archive.into_inner().unwrap();
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gzip.write_all(&archive).unwrap();
    vec![
        ("feed_cvd", "gzip", gzip.finish().unwrap()),
        ("feed_cvd", "tar", archive),
        ("feed_nsrl", "file", database()),
        // mw-4b with one hash and its checksum; then it goes and another comes.
        ("feed_gsb", "one", safe_browsing(&[], 0x0102_0304)),
        (
            "feed_gsb",
            "update",
            [safe_browsing(&[], 0x0102_0304), safe_browsing(b"\x18\x01\x2a\x00", 0x0506_0708)].concat(),
        ),
    ]
}

fn database() -> Vec<u8> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x.db");
    let made = rusqlite::Connection::open(&path).unwrap();
    made.execute_batch(&format!(
        "PRAGMA page_size = 512; CREATE TABLE FILE (sha256, sha1, md5); INSERT INTO FILE VALUES ('{SHA256}', '{SHA1}', '{MD5}');"
    ))
    .unwrap();
    drop(made);
    std::fs::read(&path).unwrap()
}

/// A list of one hash, whose message has these fields as well.
fn safe_browsing(more: &[u8], hash: u32) -> Vec<u8> {
    let checksum = ring::digest::digest(&ring::digest::SHA256, &hash.to_be_bytes());
    // Five groups of seven bits, the least significant first, all but the last marked; padding keeps both halves as long.
    let groups =
        (0..5).map(|group| u8::try_from(hash >> (7 * group) & 0x7f).unwrap() | u8::from(group < 4) << 7);
    let first: Vec<u8> = groups.collect();
    let version = vec![1; 4 - more.len()];
    let head = [b"\x0a\x05mw-4b\x12", &[u8::try_from(version.len()).unwrap()][..], &version, more].concat();
    [&head[..], b"\x22\x06\x08", &first, b"\x3a\x20", checksum.as_ref()].concat()
}

/// The target's two bytes, then so many records.
fn records(kind: u8, count: u8) -> Vec<u8> {
    let claim = Claim {
        reputation: Reputation::Malicious,
        category: Category::Malware,
        confidence: 90,
        source: 0,
        time: 1,
    };
    let record =
        |n: u8| Record::new(Subject::File(Digest::Md5([n; 16]), Some(n.into())).key(), claim).encode();
    [vec![kind, 0], (0..count).flat_map(record).collect()].concat()
}

const MD5: &str = "48c4533230e1ae1c118c741c0db19dfb";
const SHA1: &str = "da39a3ee5e6b4b0d3255bfef95601890afd80709";
const SHA256: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
