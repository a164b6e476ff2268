//! Warning lists, bundles, zones and plain lists.

use super::*;

#[test]
fn misp_lists_of_networks_names_and_texts_are_clean() {
    let networks = import(
        Format::Misp,
        "list.json",
        misp("cidr", r#"["192.0.2.0/24", "2001:db8::/32", "198.51.100.7"]"#),
    );
    assert_eq!(networks.verdict(&address("192.0.2.77")).category, Category::Popular);
    assert_eq!(networks.reputation(&address("2001:db8::1")), Reputation::Clean);
    let names = import(Format::Misp, "list.json", misp("hostname", r#"["www.example.org", ".example.net"]"#));
    assert_eq!(names.reputation(&Subject::domain("www.example.org")), Reputation::Clean);
    assert_eq!(names.reputation(&Subject::domain("example.net")), Reputation::Clean);
    assert_eq!(names.reputation(&Subject::domain("*.example.net")), Reputation::Clean);
    let texts =
        import(Format::Misp, "list.json", misp("string", &format!(r#"["{}", "example.com"]"#, md5(1))));
    assert_eq!(texts.reputation(&file(&md5(1))), Reputation::Clean);
}

#[test]
fn misp_patterns_are_left_out_and_damage_is_refused() {
    assert!(refused(Format::Misp, "list.json", misp("regex", r#"["/x/i"]"#)).contains("searched for"));
    assert!(
        refused(Format::Misp, "list.json", misp("cidr", r#"["192.0.2.0/33"]"#))
            .starts_with("line 1: '192.0.2.0/33'")
    );
    assert!(refused(Format::Misp, "list.json", misp("shape", "[]")).contains("unknown variant"));
    let whole = misp("cidr", r#"["192.0.2.0/24"]"#);
    for length in 0..whole.len() {
        assert!(try_import(Format::Misp, "list.json", &whole[..length]).is_err(), "{length} bytes");
    }
}

#[test]
fn stix_indicators_are_claims_about_each_of_their_values() {
    let bundle = bundle(&[
        indicator(
            &format!("[file:hashes.'SHA-256' = '{}' OR domain-name:value = 'evil.example']", sha256(1)),
            r#","confidence":85"#,
        ),
        indicator("[ipv4-addr:value = '192.0.2.0/24']", r#","indicator_types":["anomalous-activity"]"#),
        indicator("[url:value = 'http://evil.example/x']", r#","revoked":true"#),
        indicator("[domain-name:value = 'old.example']", r#","valid_until":"2020-01-01T00:00:00Z""#),
        r#"{"type":"malware","id":"malware--1","is_family":false,"unknown":{"deep":[1,2,{"a":null}]}}"#
            .to_owned(),
    ]);
    let feed = import(Format::Stix, "bundle.json", bundle);
    let verdict = feed.verdict(&file(&sha256(1)));
    assert_eq!((verdict.reputation, verdict.confidence), (Reputation::Malicious, 85));
    assert_eq!(verdict.age.as_secs(), NOW - 1_725_257_872);
    assert_eq!(feed.verdict(&Subject::domain("evil.example")).confidence, 85);
    assert_eq!(feed.reputation(&address("192.0.2.9")), Reputation::Suspicious);
    assert_eq!(feed.reputation(&Subject::domain("old.example")), Reputation::Unknown);
    assert_eq!(feed.report.left_out.values().map(|skipped| skipped.times).sum::<u64>(), 2);
}

#[test]
fn stix_bundle_that_is_cut_or_wrong_is_refused() {
    let whole = bundle(&[indicator("[domain-name:value = 'evil.example']", "")]);
    for length in 0..whole.len() {
        assert!(
            try_import(Format::Stix, "bundle.json", &whole.as_bytes()[..length]).is_err(),
            "{length} bytes"
        );
    }
    let wrong = bundle(&[indicator("[file:hashes.MD5 = 'xyz']", "")]);
    assert_eq!(refused(Format::Stix, "bundle.json", wrong), "line 1: 'xyz' is no name, address or URL");
    assert!(refused(Format::Stix, "bundle.json", r#"{"type":"report","objects":[]}"#).contains("not bundle"));
    refused(Format::Stix, "bundle.json", format!("{}{}", "[".repeat(100_000), "]".repeat(100_000)));
}

#[test]
fn zone_says_which_names_and_networks_are_blocked_or_let_through() {
    let zone = "$TTL 2h\n$ORIGIN rpz.example.\n@ SOA ns. admin. (\n  2024 ; serial\n  1h 15m 30d 2h )\n  NS ns.\n\
        evil.example CNAME .\n*.evil.example 300 IN CNAME .\ngood.example CNAME rpz-passthru.\n\
        other.example.rpz.example. IN CNAME *.\nwall.example A 192.0.2.1\n\
        24.0.2.0.192.rpz-ip CNAME .\n32.zz.db8.2001.rpz-ip CNAME .\n128.1.zz.db8.2001.rpz-ip CNAME rpz-passthru.\nns.example.rpz-nsdname CNAME .\n";
    let feed = import(Format::Rpz, "rpz.zone", zone);
    let name = |name: &str| feed.reputation(&Subject::domain(name));
    assert_eq!(name("evil.example"), Reputation::Malicious);
    assert_eq!(name("*.evil.example"), Reputation::Malicious);
    assert_eq!(name("good.example"), Reputation::Clean);
    assert_eq!(name("other.example"), Reputation::Malicious);
    assert_eq!(name("wall.example"), Reputation::Malicious);
    assert_eq!(feed.reputation(&address("192.0.2.200")), Reputation::Malicious);
    assert_eq!(feed.reputation(&address("2001:db8::7")), Reputation::Malicious);
    assert_eq!(feed.reputation(&address("2001:db8::1")), Reputation::Clean);
    assert_eq!(feed.report.left_out.len(), 1);
}

#[test]
fn zone_that_is_damaged_is_refused() {
    assert_eq!(
        refused(Format::Rpz, "z", "a.example CNAME .\nb.example BOGUS .\n"),
        "line 2: 'BOGUS' is no word of the format"
    );
    assert_eq!(
        refused(Format::Rpz, "z", "a.example CNAME .\n@ SOA ns. (\n 1 2\n"),
        "a parenthesis is not closed"
    );
    assert_eq!(
        refused(Format::Rpz, "z", "99.1.2.3.4.rpz-ip CNAME .\n"),
        "line 1: '99.1.2.3.4.rpz-ip' is no name, address or URL"
    );
}

#[test]
fn plain_lists_have_one_thing_a_line_in_any_of_the_usual_shapes() {
    let list = format!(
        "\u{feff}# comment\n! comment\n0.0.0.0 a.example b.example # two names\n127.0.0.1\tlocalhost\n||c.example^\nD.EXAMPLE.\n192.0.2.0/24\n198.51.100.0/255.255.255.0\nhttp://e.example/x#y\n{}\r\n",
        sha256(1)
    );
    let feed = import(Format::Block, "list.txt", list);
    for name in ["a.example", "b.example", "c.example", "*.c.example", "d.example"] {
        assert_eq!(feed.reputation(&Subject::domain(name)), Reputation::Malicious, "{name}");
    }
    assert_eq!(feed.reputation(&address("192.0.2.1")), Reputation::Malicious);
    assert_eq!(feed.reputation(&address("198.51.100.9")), Reputation::Malicious);
    assert_eq!(feed.reputation(&Subject::url("e.example/x")), Reputation::Malicious);
    assert_eq!(feed.reputation(&file(&sha256(1))), Reputation::Malicious);
    let ranking = import(Format::Allow, "top.csv", "1,popular.example\n2,other.example\n");
    assert_eq!(ranking.verdict(&Subject::domain("popular.example")).category, Category::Popular);
    assert_eq!(
        refused(Format::Block, "list.txt", "a.example\nnot a list\n"),
        "line 2: 'not' is no name, address or URL"
    );
}

#[test]
fn operator_knows_better_how_sure_a_source_is() {
    let mut intake = Intake::new(Sorter::new(std::env::temp_dir()), NOW, Some(33));
    read_bytes(Format::Block, "list.txt", b"a.example\n", &mut intake).expect("it is sound");
    let feed = finish(intake).expect("it is sound");
    assert_eq!(feed.verdict(&Subject::domain("a.example")).confidence, 33);
}

#[test]
fn time_that_has_not_come_is_now() {
    let list = format!("2106-01-01 00:00:00,{},x\n", sha1(1));
    let feed = import(Format::SslBl, "list.csv", list);
    let certificate = Subject::Certificate(Digest::parse(sha1(1).as_bytes()).expect("a hash"));
    assert_eq!(feed.verdict(&certificate).age.as_secs(), 0);
}

fn misp(kind: &str, list: &str) -> String {
    format!(
        r#"{{"description": "d", "list": {list}, "matching_attributes": ["ip-src"], "name": "A list", "type": "{kind}", "version": 20240902}}"#
    )
}

fn bundle(objects: &[String]) -> String {
    format!(r#"{{"type":"bundle","id":"bundle--1","objects":[{}]}}"#, objects.join(","))
}

fn indicator(pattern: &str, more: &str) -> String {
    let pattern = serde_json::to_string(pattern).expect("text");
    format!(
        r#"{{"type":"indicator","spec_version":"2.1","id":"indicator--1","pattern_type":"stix","pattern":{pattern},"valid_from":"2024-09-02T06:17:52Z"{more}}}"#
    )
}
