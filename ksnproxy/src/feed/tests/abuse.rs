//! The CSV of abuse.ch.

use super::*;
use crate::url::CanonicalUrl;

#[test]
fn urlhaus_lists_urls_by_what_is_hashed_of_them() {
    let feed = import(Format::UrlHaus, "urlhaus.csv", URLHAUS);
    let verdict = feed.verdict(&url("http://EVIL.example:80/a/./b.exe?x=1"));
    assert_eq!((verdict.reputation, verdict.category), (Reputation::Malicious, Category::Distribution));
    assert_eq!((verdict.confidence, verdict.age.as_secs()), (90, NOW - 1_725_257_872));
    assert_eq!(feed.verdict(&url("http://198.51.100.7/bin.sh")).confidence, 70);
    assert_eq!(feed.reputation(&url("http://evil.example/")), Reputation::Unknown);
    let below = CanonicalUrl::parse(b"http://root.example/other").expect("a URL").subjects();
    assert!(
        below.iter().all(|subject| feed.reputation(subject) == Reputation::Unknown),
        "only the root was listed"
    );
    assert_eq!(feed.reputation(&url("http://root.example/")), Reputation::Malicious);
    assert_eq!(feed.reputation(&url("http://quoted.example/\"x\"")), Reputation::Malicious);
}

#[test]
fn urlhaus_rows_of_another_shape_are_refused_with_their_line() {
    let row = |row: &str| refused(Format::UrlHaus, "urlhaus.csv", format!("{URLHAUS}{row}\n"));
    assert_eq!(row("\"1\",\"2024-09-02 06:17:52\""), "line 11: 2 columns, of which there are at least 8");
    assert_eq!(
        row(&quoted(["1", "yesterday", "http://a.example/", "online", "", "", "", "", ""])),
        "line 11: 'yesterday' is no time"
    );
    assert_eq!(
        row(&quoted(["1", "2024-09-02 06:17:52", "http://a.example/", "gone", "", "", "", "", ""])),
        "line 11: 'gone' is no word of the format"
    );
    assert_eq!(row("\"1\",\"2024"), "line 11: quotes do not match");
    assert_eq!(row(&"x".repeat(70_000)), "line 11: 1 columns, of which there are at least 8");
    assert_eq!(row(&"x".repeat(700_000)), "line 11: longer than 65536 bytes, which is the limit of a line");
}

#[test]
fn columns_that_were_added_are_reported_and_no_reason_to_refuse() {
    let row = quoted([
        "7",
        "2024-09-02 06:17:52",
        "http://new.example/x",
        "online",
        "",
        "malware_download",
        "",
        "link",
        "me",
        "what is this",
    ]);
    let feed = import(Format::UrlHaus, "urlhaus.csv", format!("{URLHAUS}{row}\n"));
    assert_eq!(feed.report.drift.get(&10), Some(&Skipped { times: 1, first: 11 }));
    assert_eq!(feed.reputation(&url("http://new.example/x")), Reputation::Malicious);
}

#[test]
fn url_that_is_none_is_left_out_and_counted() {
    let row =
        quoted(["7", "2024-09-02 06:17:52", "http:///", "online", "", "malware_download", "", "link", "me"]);
    let feed = import(Format::UrlHaus, "urlhaus.csv", format!("{URLHAUS}{row}\n"));
    assert_eq!(feed.report.left_out.values().next(), Some(&Skipped { times: 1, first: 11 }));
}

#[test]
fn malwarebazaar_lists_a_file_by_three_hashes() {
    for separator in ["\", \"", "\",\""] {
        let feed =
            import(Format::MalwareBazaar, "full.csv", bazaar(separator, [&sha256(1), &md5(2), &sha1(3)]));
        for hash in [sha256(1), md5(2), sha1(3)] {
            assert_eq!(feed.reputation(&file(&hash)), Reputation::Malicious, "{hash}");
        }
    }
}

#[test]
fn malwarebazaar_hash_that_is_missing_is_none_and_one_that_is_wrong_refuses() {
    let feed = import(Format::MalwareBazaar, "full.csv", bazaar("\", \"", [&sha256(1), "n/a", ""]));
    assert_eq!(feed.report.taken.values().sum::<u64>(), 1);
    let wrong = refused(Format::MalwareBazaar, "full.csv", bazaar("\", \"", [&sha256(1), &sha1(1), ""]));
    assert_eq!(wrong, format!("line 2: '{}' is no hash that belongs here", sha1(1)));
    let missing = refused(Format::MalwareBazaar, "full.csv", bazaar("\", \"", ["n/a", &md5(1), ""]));
    assert!(missing.starts_with("line 2: "), "{missing}");
}

#[test]
fn threatfox_lists_indicators_of_many_kinds() {
    let rows = [
        ioc("192.0.2.1:443", "ip:port", "botnet_cc", "100"),
        ioc("c2.evil.example", "domain", "botnet_cc", "75"),
        ioc("http://evil.example/p", "url", "payload_delivery", "90"),
        ioc(&sha256(5), "md5_hash", "payload", "40"),
        ioc("name@evil.example", "email", "payload", "40"),
    ];
    let feed = import(
        Format::ThreatFox,
        "full.csv",
        format!("# banner\n{}\n# Number of entries: 5\n", rows.join("\n")),
    );
    let control = feed.verdict(&address("192.0.2.1"));
    assert_eq!(
        (control.reputation, control.category, control.confidence),
        (Reputation::Malicious, Category::CommandAndControl, 100)
    );
    assert_eq!(feed.verdict(&Subject::domain("c2.evil.example")).confidence, 75);
    assert_eq!(feed.reputation(&url("http://evil.example/p")), Reputation::Malicious);
    assert_eq!(
        feed.reputation(&file(&sha256(5))),
        Reputation::Suspicious,
        "its length says which hash it is"
    );
    assert_eq!(feed.report.left_out.len(), 1);
}

#[test]
fn threatfox_file_that_was_cut_is_refused() {
    let cut = format!("{}\n# Number of entries: 5\n", ioc("192.0.2.1:443", "ip:port", "botnet_cc", "100"));
    assert_eq!(refused(Format::ThreatFox, "full.csv", cut), "line 2: 1 entries, where 5 are announced");
    let sure = ioc("192.0.2.1:443", "ip:port", "botnet_cc", "101");
    assert_eq!(refused(Format::ThreatFox, "full.csv", sure), "line 1: '101' is no number that belongs here");
}

#[test]
fn sslbl_lists_certificates_and_reasons_with_commas() {
    let list = format!(
        "# comment\r\n2024-09-02 06:17:52,{},Rhadamanthys C&C, new\r\n2024-09-02 06:17:53,{},Malware\r\n",
        sha1(1),
        sha1(2)
    );
    let feed = import(Format::SslBl, "sslblacklist.csv", list);
    let certificate = |n| Subject::Certificate(Digest::parse(sha1(n).as_bytes()).expect("a hash"));
    assert_eq!(feed.verdict(&certificate(1)).category, Category::CommandAndControl);
    assert_eq!(feed.verdict(&certificate(2)).category, Category::BadCertificate);
    let short = refused(Format::SslBl, "sslblacklist.csv", format!("2024-09-02 06:17:52,{},x\n", md5(1)));
    assert!(short.ends_with("is no hash that belongs here"), "{short}");
}

#[test]
fn fingerprints_of_handshakes_are_known_and_taken_for_nothing() {
    let list = format!("# ja3\n{},2024-09-02 06:17:52,2024-09-02 06:17:52,Dridex\n", md5(1));
    assert!(refused(Format::SslBl, "ja3.csv", list).contains("fingerprints of handshakes"));
}

#[test]
fn page_of_a_web_server_is_no_feed() {
    let page = "<html><head><title>503 Service Unavailable</title></head></html>\n";
    for format in Format::ALL {
        let error = refused(format, "feed.hdb", page);
        assert!(!error.is_empty(), "{format}");
        refused(format, "feed.hdb", "");
    }
}

pub(super) const URLHAUS: &str = r#"################################################################
# abuse.ch URLhaus Database Dump (CSV - recent URLs only)      #
# Last updated: 2024-09-02 06:20:05 (UTC)                      #
################################################################
#
# id,dateadded,url,url_status,last_online,threat,tags,urlhaus_link,reporter
"3149000","2024-09-02 06:17:52","http://evil.example/a/b.exe?x=1","online","2024-09-02 06:17:52","malware_download","exe,Rhadamanthys","https://urlhaus.example/url/3149000/","reporter"
"3148999","2024-09-02 06:17:50","http://198.51.100.7/bin.sh","offline","","malware_download","None","https://urlhaus.example/url/3148999/","reporter"
"3148997","2024-09-02 06:17:50","http://root.example","online","","malware_download","None","https://urlhaus.example/url/3148997/","reporter"
"3148998","2024-09-02 06:17:50","http://quoted.example/""x""","unknown","","malware_download","None","https://urlhaus.example/url/3148998/","reporter"
"#;

fn bazaar(separator: &str, [sha256, md5, sha1]: [&str; 3]) -> String {
    let row = [
        "2024-09-02 06:17:52",
        sha256,
        md5,
        sha1,
        "me",
        "a \"\"good\"\", file.exe",
        "exe",
        "application/x-dosexec",
        "n/a",
        "n/a",
        "50.0",
        "n/a",
        "3:abc:def",
        "T1",
    ];
    format!("# \"first_seen_utc\",\"sha256_hash\"\n\"{}\"\n", row.join(separator))
}

fn ioc(value: &str, kind: &str, threat: &str, confidence: &str) -> String {
    let row = [
        "2024-09-02 06:17:52",
        "1",
        value,
        kind,
        threat,
        "win.x",
        "None",
        "X",
        "",
        confidence,
        "False",
        "None",
        "x,y",
        "0",
        "me",
    ];
    row.map(|cell| format!("\"{cell}\"")).join(", ")
}

fn quoted<const N: usize>(row: [&str; N]) -> String {
    row.map(|cell| format!("\"{cell}\"")).join(",")
}

fn url(written: &str) -> Subject {
    Subject::Url(CanonicalUrl::parse(written.as_bytes()).expect("a URL").digest())
}
