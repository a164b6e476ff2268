//! Other spellings of paths lead nowhere.

use std::collections::BTreeSet;

use super::site::{Site, id};

#[tokio::test]
async fn five_hundred_other_spellings_of_paths_lead_nowhere() {
    let site = Site::start().await;
    let administrator = site.administrator().await;
    let operator = id(&administrator);
    let paths = [
        "/api/v1/enroll".to_owned(),
        "/api/v1/login".to_owned(),
        "/api/v1/operators".to_owned(),
        "/api/v1/tokens".to_owned(),
        format!("/api/v1/operators/{operator}/revoke"),
    ];
    let mut tried = 0;
    for path in &paths {
        for spelling in spellings(path) {
            // With every right, so that nothing but the spelling stands in the way.
            let answer = site.post(Some(&administrator), &spelling, "{}").await;
            assert!([400, 404].contains(&answer.status), "{spelling:?}: {answer:?}");
            assert!(!answer.body.contains("the body is not"), "{spelling:?} reached a handler: {answer:?}");
            tried += 1;
        }
        // The negative control: the one right spelling gets as far as its handler.
        let answer = site.post(Some(&administrator), path, r#"{"x":1}"#).await;
        assert!(answer.body.contains("the body is not"), "{path}: {answer:?}");
    }
    assert!(tried >= 500, "only {tried} spellings");
}

fn spellings(path: &str) -> BTreeSet<String> {
    let mut spellings = BTreeSet::new();
    let slashes = path.match_indices('/').map(|(at, _)| at);
    for at in slashes {
        let (before, after) = path.split_at(at);
        let rest = &after[1..];
        for slash in ["//", "///", "/./", "/../", "/x/../", "%2f", "%2F", "%252f", "\\", "/\\", "/;/", ";/", "/%2e/"] {
            spellings.insert(format!("{before}{slash}{rest}"));
        }
    }
    for (at, c) in path.char_indices().filter(|(_, c)| c.is_ascii_alphanumeric()) {
        let (before, after) = (&path[..at], &path[at + 1..]);
        spellings.insert(format!("{before}%{:02x}{after}", u32::from(c)));
        spellings.insert(format!("{before}%{:02X}{after}", u32::from(c)));
        if c.is_ascii_lowercase() {
            spellings.insert(format!("{before}{}{after}", c.to_ascii_uppercase()));
        }
    }
    for tail in [
        "/", "//", "/.", "/..", "/./", "/x", "/x/..", ";", ";x", ";x=y", "/;", ".", "..", ".json", "%20", "%00",
        "%0a", "%0d%0a", "%2e", "?", "?x", "?x=1", "/?", "%3f", "%23", "\\", "~", "*", ",", ":", "@", "!", "$", "&",
        "'", "(", ")", "+", "=",
    ] {
        spellings.insert(format!("{path}{tail}"));
    }
    for head in ["/", "//", "/.", "/..", "/x/..", "https://localhost", "http://x", "https://x@y", "*", ".", "\\", ""] {
        let spelling = format!("{head}{path}");
        spellings.insert(if head.is_empty() { path[1..].to_owned() } else { spelling });
    }
    spellings.remove(path);
    spellings
}
