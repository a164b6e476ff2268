//! Other spellings of paths lead nowhere.

use std::collections::BTreeSet;

use klnet_wire::identity::tls::Identity;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;

use super::site::{Site, id};

#[tokio::test]
async fn five_hundred_other_spellings_of_paths_lead_nowhere() {
    let site = Site::start().await;
    // With every right, so that nothing but the spelling stands in the way.
    let administrator = site.administrator().await;
    let operator = id(&administrator);
    let mut line = Line { site: &site, administrator: &administrator, stream: None };
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
            let answer = line.post(&spelling).await;
            let refused = ["HTTP/1.1 400 ", "HTTP/1.1 404 "].iter().any(|status| answer.starts_with(status));
            assert!(refused && !answer.contains(REACHED), "{spelling:?}: {answer}");
            tried += 1;
        }
        // The negative control: the one right spelling gets as far as its handler.
        let answer = line.post(path).await;
        assert!(answer.contains(REACHED), "{path}: {answer}");
    }
    assert!(tried >= 500, "only {tried} spellings");
}

/// What only the reader of a route's body says.
const REACHED: &str = "the body is not";

/// A connection that is opened anew when the server has closed it.
struct Line<'a> {
    site: &'a Site,
    administrator: &'a Identity,
    stream: Option<TlsStream<TcpStream>>,
}

impl Line<'_> {
    async fn post(&mut self, path: &str) -> String {
        let head = format!("POST {path} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n");
        let request = format!("{head}Content-Length: 7\r\n\r\n{{\"x\":1}}");
        let mut stream = match self.stream.take() {
            Some(stream) => stream,
            None => self.site.connect(Some(self.administrator)).await,
        };
        stream.write_all(request.as_bytes()).await.unwrap();
        let (mut answer, mut buffer) = (String::new(), [0; 4096]);
        // An answer of this API ends with its JSON; one by the HTTP parser itself with the connection.
        while !answer.ends_with('}') {
            match stream.read(&mut buffer).await {
                Ok(0) | Err(_) => return answer,
                Ok(length) => answer.push_str(&String::from_utf8_lossy(&buffer[..length])),
            }
        }
        // The head says when no other request may follow.
        self.stream = Some(stream).filter(|_| !answer.contains("connection: close"));
        answer
    }
}

fn spellings(path: &str) -> BTreeSet<String> {
    let mut spellings = BTreeSet::new();
    let slashes = path.match_indices('/').map(|(at, _)| at);
    for at in slashes {
        let (before, after) = path.split_at(at);
        let rest = &after[1..];
        for slash in
            ["//", "///", "/./", "/../", "/x/../", "%2f", "%2F", "%252f", "\\", "/\\", "/;/", ";/", "/%2e/"]
        {
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
        "/", "//", "/.", "/..", "/./", "/x/..", ";", ";x", ";x=y", "/;", ".", "..", ".json", "%20", "%00",
        "%0a", "%0d%0a", "%2e", "?", "?x", "?x=1", "/?", "%3f", "%23", "\\", "~", "*", ",", ":", "@", "!",
        "$", "&", "'", "(", ")", "+", "=",
    ] {
        spellings.insert(format!("{path}{tail}"));
    }
    for head in
        ["/", "//", "/.", "/..", "/x/..", "https://localhost", "http://x", "https://x@y", "*", ".", "\\", ""]
    {
        let spelling = format!("{head}{path}");
        spellings.insert(if head.is_empty() { path[1..].to_owned() } else { spelling });
    }
    spellings.remove(path);
    spellings
}
