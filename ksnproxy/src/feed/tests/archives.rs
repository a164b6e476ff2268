//! ClamAV's files and container, zip and gzip.

use std::io::Write;

use md5::Digest as _;

use super::*;

#[test]
fn clamav_lists_files_by_hash_and_size() {
    let feed = import(
        Format::ClamAv,
        "x.hsb",
        format!("{}:17387:Win.Test-1\n{}:*:Win.Test-2:73\n", sha256(1), sha1(2)),
    );
    let sized = |size| Subject::File(Digest::parse(sha256(1).as_bytes()).expect("a hash"), Some(size));
    assert_eq!(feed.reputation(&sized(17387)), Reputation::Malicious);
    assert_eq!(feed.reputation(&sized(17388)), Reputation::Unknown);
    assert_eq!(feed.reputation(&file(&sha1(2))), Reputation::Malicious);
}

#[test]
fn clamav_sections_are_no_files_and_have_their_size_first() {
    let feed =
        import(Format::ClamAv, "x.mdb", format!("4096:{}:Win.Test-1\n*:{}:Win.Test-2:73\n", md5(1), md5(2)));
    let section = |n, size| Subject::Section(Digest::parse(md5(n).as_bytes()).expect("a hash"), size);
    assert_eq!(feed.reputation(&section(1, Some(4096))), Reputation::Malicious);
    assert_eq!(feed.reputation(&section(2, Some(7))), Reputation::Malicious);
    assert_eq!(feed.reputation(&file(&md5(1))), Reputation::Unknown);
}

#[test]
fn clamav_allow_list_is_the_surest_of_all() {
    let feed = import(Format::ClamAv, "x.sfp", format!("{}:17387:test.exe\n", sha256(1)));
    let verdict = feed.verdict(&file(&sha256(1)));
    assert_eq!((verdict.reputation, verdict.confidence), (Reputation::Clean, 100));
}

#[test]
fn damaged_signatures_are_refused_with_their_line() {
    let line = |line: &str| refused(Format::ClamAv, "x.hdb", format!("{}:1:A\n{line}\n", md5(1)));
    assert_eq!(line(&format!("{}:*:A", md5(2))), "line 2: size '*' needs functionality level 73 or more");
    assert_eq!(line(&format!("{}:*:A:72", md5(2))), "line 2: size '*' needs functionality level 73 or more");
    assert_eq!(line(&format!("{}:-1:A", md5(2))), "line 2: '-1' is no number that belongs here");
    assert_eq!(
        line(&format!("{}:99999999999999999999999:A", md5(2))),
        "line 2: '99999999999999999999999' is no number that belongs here"
    );
    assert_eq!(line(&md5(2)), "line 2: 1 columns, of which there are at least 3");
    assert_eq!(line(&format!("{}:1:", md5(2))), "line 2: '' is no word of the format");
    assert_eq!(line("zz:1:A"), "line 2: 'zz' is no hash that belongs here");
    assert!(line("\u{1b}[2J:1:A").starts_with("line 2: '\\x1b[2J'"), "nothing of it reaches a terminal");
}

#[test]
fn clamav_certificates_are_checked_and_counted() {
    let crb = format!("Trusted.CA-1;1;{};;aa;010001;1;1;1;1300000000;comment\n", sha1(1));
    assert!(
        refused(Format::ClamAv, "x.crb", &crb).contains("names of certificates"),
        "there is nothing else in it"
    );
    let wrong = crb.replace(";1;", ";7;");
    assert_eq!(refused(Format::ClamAv, "x.crb", wrong), "line 1: '7' is no word of the format");
}

#[test]
fn container_is_all_its_lists() {
    let list = format!("{}:1:A\n", md5(1));
    let sections = format!("1:{}:A\n", md5(2));
    let feed = import(
        Format::ClamAv,
        "x.cvd",
        cvd(&[("x.hdb", list.as_bytes()), ("COPYING", b"text"), ("x.mdb", sections.as_bytes())]),
    );
    assert_eq!(feed.reputation(&file(&md5(1))), Reputation::Malicious);
    assert_eq!(feed.report.taken.len(), 2);
    assert!(feed.report.notes[0].starts_with("version 27"), "{:?}", feed.report.notes);
}

#[test]
fn container_of_another_content_than_its_head_says_is_refused() {
    let list = format!("{}:1:A\n", md5(1));
    let sound = cvd(&[("x.hdb", list.as_bytes())]);
    let mut damaged = sound.clone();
    damaged.extend_from_slice(b"more");
    assert_eq!(refused(Format::ClamAv, "x.cvd", damaged), "the checksum is not that of the content");
    assert_eq!(refused(Format::ClamAv, "x.cvd", &sound[..300]), "the head is damaged");
    refused(Format::ClamAv, "x.cvd", &sound[..sound.len() - 9]);
    let mut headless = sound;
    headless[0] = b'X';
    assert_eq!(refused(Format::ClamAv, "x.cvd", headless), "the head is damaged");
}

#[test]
fn names_that_lead_out_of_a_container_are_refused() {
    let list = format!("{}:1:A\n", md5(1));
    for name in ["../x.hdb", "/etc/x.hdb", "a/x.hdb", ".x.hdb", "a\\x.hdb"] {
        let error = refused(Format::ClamAv, "x.cvd", cvd(&[(name, list.as_bytes())]));
        assert!(error.contains("is not the name of a plain file"), "{name}: {error}");
        let error = refused(Format::ClamAv, "x.zip", zip(&[(name, list.as_bytes())]));
        assert!(error.contains("is not the name of a plain file"), "{name}: {error}");
    }
}

#[test]
fn little_that_becomes_much_is_refused() {
    let line = format!("{}:1:A\n", md5(1));
    let much = line.repeat(20 * 1024 * 1024 / line.len());
    for (name, bomb) in [
        ("x.cvd", cvd(&[("x.hdb", much.as_bytes())])),
        ("x.zip", zip(&[("x.hdb", much.as_bytes())])),
        ("x.hdb.gz", gzip(much.as_bytes())),
    ] {
        let error = refused(Format::ClamAv, name, bomb);
        assert!(error.starts_with("unpacks to more than"), "{name}: {error}");
    }
}

#[test]
fn packed_lists_are_the_same_lists() {
    let list = super::abuse::URLHAUS.as_bytes();
    let plain = import(Format::UrlHaus, "urlhaus.csv", list).report;
    assert_eq!(import(Format::UrlHaus, "urlhaus.csv.zip", zip(&[("urlhaus.csv", list)])).report, plain);
    assert_eq!(import(Format::UrlHaus, "urlhaus.csv.gz", gzip(list)).report, plain);
    let mut damaged = zip(&[("urlhaus.csv", list)]);
    damaged[60] ^= 1;
    refused(Format::UrlHaus, "urlhaus.csv.zip", damaged);
}

fn cvd(files: &[(&str, &[u8])]) -> Vec<u8> {
    let mut archive = tar::Builder::new(Vec::new());
    for (name, content) in files {
        let mut header = tar::Header::new_gnu();
        header.as_old_mut().name[..name.len()].copy_from_slice(name.as_bytes());
        header.set_size(content.len() as u64);
        header.set_mode(0o644);
        header.set_cksum();
        archive.append(&header, *content).expect("memory");
    }
    let body = gzip(&archive.into_inner().expect("memory"));
    let md5 = data_encoding::HEXLOWER.encode(&md5::Md5::digest(&body));
    let head = format!("ClamAV-VDB:02 Sep 2024 08-17 +0200:27:1:90:{md5}:sig:builder:1725257872");
    [format!("{head:<512}").as_bytes(), &body].concat()
}

fn zip(files: &[(&str, &[u8])]) -> Vec<u8> {
    let mut archive = zip::ZipWriter::new(Cursor::new(Vec::new()));
    for (name, content) in files {
        archive.start_file(*name, zip::write::SimpleFileOptions::default()).expect("memory");
        archive.write_all(content).expect("memory");
    }
    archive.finish().expect("memory").into_inner()
}

fn gzip(content: &[u8]) -> Vec<u8> {
    let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    packed.write_all(content).expect("memory");
    packed.finish().expect("memory")
}
