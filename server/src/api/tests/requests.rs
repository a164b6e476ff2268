//! Requests that are no request: too large, of a web page, malformed, too fast, too slow.

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::{Instant, pause};

use super::site::Site;
use crate::api::rate::Pace;
use crate::api::{BODY_LIMIT, BODY_TIMEOUT};

#[tokio::test]
async fn a_body_beyond_the_limit_is_refused() {
    let site = Site::start().await;
    let answer = site.post(None, "/api/v1/enroll", &" ".repeat(BODY_LIMIT + 1)).await;
    assert_eq!(answer.status, 413, "{answer:?}");
    // Without a length, too: one chunk after the other.
    let chunk = format!("4000\r\n{}\r\n", " ".repeat(0x4000));
    let head = "POST /api/v1/enroll HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n";
    let chunked = format!("{head}Transfer-Encoding: chunked\r\n\r\n{}0\r\n\r\n", chunk.repeat(5));
    assert_eq!(site.send(None, &chunked).await.status, 413);
    let fits = site.post(None, "/api/v1/enroll", &" ".repeat(BODY_LIMIT)).await;
    assert_eq!(fits.status, 400, "it fits, but is no request");
}

#[tokio::test]
async fn a_body_that_does_not_come_is_waited_for_only_so_long() {
    let site = Site::start().await;
    let mut stream = site.connect(None).await;
    let head = "POST /api/v1/enroll HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 9\r\n\r\n{";
    stream.write_all(head.as_bytes()).await.unwrap();
    stream.flush().await.unwrap();
    // Another exchange makes sure that the header has been read.
    assert_eq!(site.get(None, "/api/v1/health").await.status, 200);
    pause();
    let begun = Instant::now();
    let mut answer = [0; 12];
    stream.read_exact(&mut answer).await.unwrap();
    assert_eq!(&answer, b"HTTP/1.1 408");
    assert!(begun.elapsed() <= BODY_TIMEOUT + Duration::from_secs(1), "{:?}", begun.elapsed());
}

#[tokio::test]
async fn whoever_is_revoked_while_the_body_comes_is_refused() {
    let site = Site::start().await;
    let administrator = site.administrator().await;
    let second = site.operator(site.fabric.tenant(), &["administrator"]).await;
    let mut stream = site.connect(Some(&second)).await;
    let head =
        "POST /api/v1/groups HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 12\r\n";
    // A server that says 100 has let the request in (RFC 9110, 10.1.1).
    stream.write_all(format!("{head}Expect: 100-continue\r\n\r\n").as_bytes()).await.unwrap();
    let mut answer = [0; 25];
    stream.read_exact(&mut answer).await.unwrap();
    assert_eq!(&answer, b"HTTP/1.1 100 Continue\r\n\r\n");
    let by = site.caller(&administrator);
    site.fleet.revoke_operator(&by, site.caller(&second).operator, "").await.unwrap();
    stream.write_all(br#"{"name":"x"}"#).await.unwrap();
    let mut answer = [0; 12];
    stream.read_exact(&mut answer).await.unwrap();
    assert_eq!(&answer, b"HTTP/1.1 403");
    assert_eq!(site.fleet.groups(by.tenant).len(), 1, "only the root group");
}

#[tokio::test]
async fn what_a_web_page_sends_is_refused() {
    let site = Site::start().await;
    let administrator = site.administrator().await;
    let post = |header: &str| {
        let body = r#"{"name":"x"}"#;
        let head = "POST /api/v1/groups HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 12\r\n";
        format!("{head}{header}\r\n\r\n{body}")
    };
    let json = "Content-Type: application/json";
    for origin in ["null", "https://evil.test", "https://localhost", "https://x", ""] {
        let answer = site.send(Some(&administrator), &post(&format!("{json}\r\nOrigin: {origin}"))).await;
        assert_eq!(answer.status, 403, "{origin:?}: {answer:?}");
    }
    // What a form can send without asking first.
    for kind in ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data"] {
        let answer = site.send(Some(&administrator), &post(&format!("Content-Type: {kind}"))).await;
        assert_eq!(answer.status, 415, "{kind}");
    }
    assert_eq!(site.send(Some(&administrator), &post("X: y")).await.status, 415);
    assert_eq!(site.send(Some(&administrator), &post(json)).await.status, 200, "the negative control");
}

#[tokio::test]
async fn a_request_has_exactly_one_host() {
    let site = Site::start().await;
    let get = |hosts: &str| format!("GET /api/v1/health HTTP/1.1\r\n{hosts}Connection: close\r\n\r\n");
    assert_eq!(site.send(None, &get("Host: x\r\n")).await.status, 200);
    assert_eq!(site.send(None, &get("Host: x\r\nHost: y\r\n")).await.status, 404);
    assert_eq!(site.send(None, &get("")).await.status, 404);
}

#[tokio::test]
async fn every_answer_forbids_keeping_framing_and_guessing() {
    let site = Site::start().await;
    for path in ["/api/v1/health", "/api/v1/devices", "/nothing"] {
        let head = site.get(None, path).await.head;
        for header in [
            "cache-control: no-store",
            "content-security-policy: default-src 'none'; frame-ancestors 'none'",
            "x-content-type-options: nosniff",
        ] {
            assert!(head.contains(header), "{path}: {head}");
        }
        assert!(!head.contains("access-control-allow"), "{path}: {head}");
    }
}

#[tokio::test]
async fn malformed_bodies_are_refused_and_never_panic() {
    let site = Site::start().await;
    let administrator = site.administrator().await;
    let deep = "[".repeat(30_000);
    let bodies = [
        "",
        "{",
        "null",
        "[]",
        "0",
        "\"\"",
        "{}",
        "{\"name\":1}",
        "{\"name\":\"x\",\"name\":\"y\"}",
        "\u{0}",
        deep.as_str(),
        "{\"name\":\"x\",\"extra\":1}",
        "{\"name\":\"a/b\"}",
        "{\"name\":\"\\u0000\"}",
        "{\"name\":\"\\ud800\"}",
        "{\"name\":\"' or 1=1 --\"}",
        "{\"name\":\"$(reboot)\"}",
        "{\"name\":\"x\",\"parent\":\"/none\"}",
    ];
    for body in bodies {
        let status = site.post(Some(&administrator), "/api/v1/groups", body).await.status;
        assert!([400, 404].contains(&status), "{status} {body:?}");
    }
    for query in ["limit=x", "limit=-1", "limit=99999999999", "before=%ff", "x=1", "limit=1&limit=2"] {
        let answer = site.get(Some(&administrator), &format!("/api/v1/audit?{query}")).await;
        assert_eq!(answer.status, 400, "{query}: {answer:?}");
    }
    assert_eq!(site.get(Some(&administrator), "/api/v1/audit?limit=1").await.status, 200);
}

#[tokio::test]
async fn enrolment_is_paced_by_source_and_nothing_else_is() {
    let site = Site::start().await;
    let mut stream = site.connect(None).await;
    let body = r#"{"token":"","request":"","host_name":"","os":""}"#;
    let head = "POST /api/v1/enroll HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n";
    let request = format!("{head}Content-Length: {}\r\n\r\n{body}", body.len());
    let (mut let_through, mut answers) = (0, String::new());
    while !answers.contains(" 429 ") {
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = vec![0; 4096];
        let length = stream.read(&mut answer).await.unwrap();
        answers = String::from_utf8_lossy(&answer[..length]).into_owned();
        let_through += 1;
        assert!(let_through < 2 * Pace::ENROLMENT.burst, "no end to it");
    }
    assert!(let_through > Pace::ENROLMENT.burst);
    assert!(answers.to_ascii_lowercase().contains("retry-after: "), "{answers}");
    assert_eq!(site.get(None, "/api/v1/discovery").await.status, 200);
}

#[tokio::test]
async fn a_device_name_comes_back_as_json_and_nothing_else() {
    let site = Site::start().await;
    let administrator = site.administrator().await;
    let device = site.device(&site.caller(&administrator)).await;
    let answer =
        site.get(Some(&administrator), &format!("/api/v1/devices/{}", super::site::id(&device))).await;
    assert!(answer.head.contains("content-type: application/json"), "{answer:?}");
    assert!(serde_json::from_str::<serde_json::Value>(&answer.body).is_ok());
    let named = site.json(Some(&administrator), "/api/v1/devices?name=web-7").await;
    assert_eq!(named.as_array().unwrap().len(), 1);
    let none = site.json(Some(&administrator), "/api/v1/devices?name=web").await;
    assert_eq!(none.as_array().unwrap().len(), 0);
}
