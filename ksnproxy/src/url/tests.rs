//! The vectors of the published documentation, and what it leaves open.

use proptest::prelude::*;

use super::{CanonicalUrl, EXPRESSIONS_MOST, Host, PARENTS_MOST, URL_MOST, UrlError};
use crate::subject::{Network, Subject};

#[test]
fn published_addresses_become_the_published_text() {
    for (written, canonical) in PUBLISHED {
        let url = CanonicalUrl::parse(written).expect("it is an address");
        assert_eq!(url.to_string(), *canonical, "{}", String::from_utf8_lossy(written));
    }
}

#[test]
fn published_addresses_have_the_published_expressions() {
    assert_eq!(
        expressions("http://a.b.c/1/2.html?param=1"),
        sorted(&[
            "a.b.c/1/2.html?param=1",
            "a.b.c/1/2.html",
            "a.b.c/",
            "a.b.c/1/",
            "b.c/1/2.html?param=1",
            "b.c/1/2.html",
            "b.c/",
            "b.c/1/",
        ])
    );
    assert_eq!(
        expressions("http://a.b.c.d.e.f.g/1.html"),
        sorted(&[
            "a.b.c.d.e.f.g/1.html",
            "a.b.c.d.e.f.g/",
            "c.d.e.f.g/1.html",
            "c.d.e.f.g/",
            "d.e.f.g/1.html",
            "d.e.f.g/",
            "e.f.g/1.html",
            "e.f.g/",
            "f.g/1.html",
            "f.g/",
        ])
    );
    assert_eq!(expressions("http://1.2.3.4/1/"), sorted(&["1.2.3.4/1/", "1.2.3.4/"]));
    assert_eq!(
        expressions("http://example.co.uk/1"),
        sorted(&["example.co.uk/1", "example.co.uk/", "co.uk/1", "co.uk/"])
    );
}

#[test]
fn most_particular_expression_comes_first() {
    let url = parse("http://x.y.z/a/b/c/d/e/f.html?q");
    let mut seen = Vec::new();
    url.find_expression(|expression| {
        seen.push(expression.to_string());
        None::<()>
    });
    let first = [
        "x.y.z/a/b/c/d/e/f.html?q",
        "x.y.z/a/b/c/d/e/f.html",
        "x.y.z/a/b/c/",
        "x.y.z/a/b/",
        "x.y.z/a/",
        "x.y.z/",
    ];
    assert_eq!(seen[..6], first);
    assert_eq!(seen.len(), 12);
}

#[test]
fn expression_is_hashed_as_its_text_is() {
    let url = parse("http://a.b.c/1/2.html?param=1");
    let digest = ring::digest::digest(&ring::digest::SHA256, b"a.b.c/1/2.html?param=1");
    assert_eq!(&url.digest()[..], digest.as_ref());
}

#[test]
fn address_of_a_host_has_one_form_however_it_is_written() {
    for written in [
        "0x7f.1",
        "127.1",
        "2130706433",
        "0177.0.0.1",
        "127.0.0.1.",
        "[::ffff:127.0.0.1]",
        "[64:ff9b::7f00:1]",
    ] {
        assert_eq!(Host::parse(written.as_bytes()).expect("a host").to_string(), "127.0.0.1", "{written}");
    }
    assert_eq!(parse("http://[2001:0db8:0000::1]:8080/").to_string(), "http://[2001:db8::1]/");
    for name in ["256.0.0.1", "1.2.3.4.5", "08.0.0.1", "4294967296", "+1", "0x"] {
        assert!(matches!(Host::parse(name.as_bytes()), Ok(Host::Name(_))), "{name}");
    }
}

#[test]
fn user_port_and_other_scripts_are_no_way_around() {
    assert_eq!(parse("http://user:pass@evil.test:81/x").to_string(), "http://evil.test/x");
    assert_eq!(parse("http://good.test@evil.test/").to_string(), "http://evil.test/");
    assert_eq!(parse("http://B\u{fc}cher.example/").to_string(), "http://xn--bcher-kva.example/");
    assert_eq!(parse("http://127\u{3002}0\u{ff0e}0.1/").to_string(), "http://127.0.0.1/");
    assert_eq!(parse("http://evil.test\u{ff0f}x/").to_string(), "http://evil.test%EF%BC%8Fx/");
    assert_eq!(parse("http://evil.test?q=1").to_string(), "http://evil.test/?q=1");
    assert_eq!(parse("http://evil.test/../../../etc/").to_string(), "http://evil.test/etc/");
}

#[test]
fn address_of_a_folder_alone_is_not_what_is_in_it() {
    let (folder, file) = (parse("http://a.b.c/x/").subjects(), parse("http://a.b.c/x/y").subjects());
    assert_eq!(folder[0], Subject::url("a.b.c/x/ "));
    assert!(!file.contains(&folder[0]));
    assert!(file.contains(&Subject::url("a.b.c/x/")) && folder.contains(&Subject::url("a.b.c/x/")));
    assert_eq!(file[0], Subject::url("a.b.c/x/y"));
}

#[test]
fn host_is_asked_about_with_what_it_is_below() {
    let subjects = parse("http://a.b.c/").subjects();
    let hosts = ["a.b.c", "*.b.c", "*.c"].map(Subject::domain);
    assert_eq!(subjects[subjects.len() - 3..], hosts);
    let address = "127.0.0.1".parse().map(Network::address).map(Subject::Network);
    assert_eq!(Ok(parse("http://0x7f.1/").subjects()[2]), address);
    let deep = ["http://", &"x.".repeat(120), "y/"].concat();
    assert!(parse(&deep).subjects().len() <= EXPRESSIONS_MOST + 2 + PARENTS_MOST);
}

#[test]
fn what_is_no_address_is_refused() {
    assert_eq!(CanonicalUrl::parse(b""), Err(UrlError::NoHost));
    assert_eq!(CanonicalUrl::parse(b"http:///path"), Err(UrlError::NoHost));
    assert_eq!(CanonicalUrl::parse(b"http://.../"), Err(UrlError::NoHost));
    assert_eq!(CanonicalUrl::parse(b"http://[::1/"), Err(UrlError::Host));
    assert_eq!(CanonicalUrl::parse(b"http://a:1:2/"), Err(UrlError::Host));
    assert_eq!(CanonicalUrl::parse(&[b'a'; URL_MOST + 1]), Err(UrlError::Length(URL_MOST + 1)));
}

#[test]
fn deepest_nest_of_escapes_takes_one_pass() {
    let nest = ["http://host/%", &"25".repeat(URL_MOST / 2 - 10)].concat();
    assert_eq!(parse(&nest).to_string(), "http://host/%25");
}

proptest! {
    #[test]
    fn canonical_text_is_its_own_canonical_text(written in proptest::collection::vec(any::<u8>(), 0..200)) {
        if let Ok(url) = CanonicalUrl::parse(&written) {
            let text = url.to_string();
            prop_assert!(text.bytes().all(|byte| byte.is_ascii_graphic()));
            prop_assert_eq!(CanonicalUrl::parse(text.as_bytes()), Ok(url));
            prop_assert!(expressions(&text).len() <= EXPRESSIONS_MOST);
        }
    }
}

fn parse(written: &str) -> CanonicalUrl {
    CanonicalUrl::parse(written.as_bytes()).expect("it is an address")
}

fn expressions(written: &str) -> Vec<String> {
    let mut all = Vec::new();
    if let Ok(url) = CanonicalUrl::parse(written.as_bytes()) {
        url.find_expression(|expression| {
            all.push(expression.to_string());
            None::<()>
        });
    }
    all.sort();
    all
}

fn sorted(texts: &[&str]) -> Vec<String> {
    let mut texts: Vec<String> = texts.iter().map(|text| (*text).to_owned()).collect();
    texts.sort();
    texts
}

/// From "URLs and Hashing" of the Safe Browsing documentation.
const PUBLISHED: &[(&[u8], &str)] = &[
    (b"http://host/%25%32%35", "http://host/%25"),
    (b"http://host/%25%32%35%25%32%35", "http://host/%25%25"),
    (b"http://host/%2525252525252525", "http://host/%25"),
    (b"http://host/asdf%25%32%35asd", "http://host/asdf%25asd"),
    (b"http://host/%%%25%32%35asd%%", "http://host/%25%25%25asd%25%25"),
    (b"http://www.google.com/", "http://www.google.com/"),
    (
        b"http://%31%36%38%2e%31%38%38%2e%39%39%2e%32%36/%2E%73%65%63%75%72%65/%77%77%77%2E%65%62%61%79%2E%63%6F%6D/",
        "http://168.188.99.26/.secure/www.ebay.com/",
    ),
    (
        b"http://195.127.0.11/uploads/%20%20%20%20/.verify/.eBaysecure=updateuserdataxplimnbqmn-xplmvalidateinfoswqpcmlx=hgplmcx/",
        "http://195.127.0.11/uploads/%20%20%20%20/.verify/.eBaysecure=updateuserdataxplimnbqmn-xplmvalidateinfoswqpcmlx=hgplmcx/",
    ),
    (
        b"http://host%23.com/%257Ea%2521b%2540c%2523d%2524e%25f%255E00%252611%252A22%252833%252944_55%252B",
        "http://host%23.com/~a!b@c%23d$e%25f^00&11*22(33)44_55+",
    ),
    (b"http://3279880203/blah", "http://195.127.0.11/blah"),
    (b"http://www.google.com/blah/..", "http://www.google.com/"),
    (b"www.google.com/", "http://www.google.com/"),
    (b"www.google.com", "http://www.google.com/"),
    (b"http://www.evil.com/blah#frag", "http://www.evil.com/blah"),
    (b"http://www.GOOgle.com/", "http://www.google.com/"),
    (b"http://www.google.com.../", "http://www.google.com/"),
    (b"http://www.google.com/foo\tbar\rbaz\n2", "http://www.google.com/foobarbaz2"),
    (b"http://www.google.com/q?", "http://www.google.com/q?"),
    (b"http://www.google.com/q?r?", "http://www.google.com/q?r?"),
    (b"http://www.google.com/q?r?s", "http://www.google.com/q?r?s"),
    (b"http://evil.com/foo#bar#baz", "http://evil.com/foo"),
    (b"http://evil.com/foo;", "http://evil.com/foo;"),
    (b"http://evil.com/foo?bar;", "http://evil.com/foo?bar;"),
    (b"http://\x01\x80.com/", "http://%01%80.com/"),
    (b"http://notrailingslash.com", "http://notrailingslash.com/"),
    (b"http://www.gotaport.com:1234/", "http://www.gotaport.com/"),
    (b"  http://www.google.com/  ", "http://www.google.com/"),
    (b"http:// leadingspace.com/", "http://%20leadingspace.com/"),
    (b"http://%20leadingspace.com/", "http://%20leadingspace.com/"),
    (b"%20leadingspace.com/", "http://%20leadingspace.com/"),
    (b"https://www.securesite.com/", "https://www.securesite.com/"),
    (b"http://host.com/ab%23cd", "http://host.com/ab%23cd"),
    (b"http://host.com//twoslashes?more//slashes", "http://host.com/twoslashes?more//slashes"),
];
