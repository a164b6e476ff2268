//! The SOCKS5 port: curl and a client of the tests' own, against a relay, a target and a small API.

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::process::{Child, Command};

use crate::world::{Echo, echoes};
use crate::{Bench, Events};

#[tokio::test]
async fn curl_reaches_a_page_of_the_device_by_each_of_its_names() {
    let (bench, page) = (Bench::new().await, page().await);
    let (_command, mut events) = open(&bench, &[]);
    let proxy = events.listening().await;
    for host in ["localhost", "127.0.0.1", "[::1]", "web-7", "WEB-7"] {
        let mut curl = Command::new("curl");
        curl.args(["-sS", "--noproxy", "", "--socks5-hostname", &proxy, &format!("http://{host}:{page}/")]);
        let Ok(output) = curl.output().await else { return eprintln!("skipped: this machine has no curl") };
        let errors = String::from_utf8_lossy(&output.stderr);
        assert_eq!(String::from_utf8_lossy(&output.stdout), "a page\n", "{host}: {errors}");
    }
    assert_eq!(bench.api.grants(), 1, "they are one destination");
}

#[tokio::test]
async fn curl_hears_that_a_name_has_no_address_from_the_device() {
    let bench = Bench::new().await;
    let (_command, mut events) = open(&bench, &[]);
    let proxy = events.listening().await;
    let mut curl = Command::new("curl");
    curl.args(["-sS", "--noproxy", "", "--socks5-hostname", &proxy, "http://printer.invalid/"]);
    let Ok(output) = curl.output().await else { return eprintln!("skipped: this machine has no curl") };
    assert_eq!(output.status.code(), Some(97), "a SOCKS proxy's refusal");
    assert_eq!(bench.api.grants(), 1, "and it was asked for by name");
    let failed = events.next_of("failed").await;
    assert_eq!(failed["what"], "no connection to web-7:printer.invalid:80");
}

#[tokio::test]
async fn every_destination_has_a_grant_of_its_own_and_keeps_it() {
    let (bench, first, second) = (Bench::new().await, Echo::start().await, Echo::start().await);
    let (_command, mut events) = open(&bench, &[]);
    let proxy = events.listening().await;
    for echo in [&first, &second, &first, &second] {
        let (reply, mut stream) = ask(&proxy, &connect(LOCALHOST, echo.port)).await;
        assert_eq!(reply, 0);
        echoes(&mut stream, b"hello").await;
    }
    assert_eq!(bench.api.grants(), 2);
}

#[tokio::test]
async fn a_refusal_says_why_in_the_codes_of_rfc_1928() {
    let bench = Bench::new().await;
    let (_command, mut events) = open(&bench, &["--patience", "0"]);
    let proxy = events.listening().await;
    let nobody = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap().port();
    assert_eq!(ask(&proxy, &connect(LOCALHOST, nobody)).await.0, 5, "connection refused");
    assert_eq!(ask(&proxy, &connect([169, 254, 169, 254], 80)).await.0, 2, "forbidden by the device");
    assert_eq!(ask(&proxy, &connect([127, 0, 0, 53], 53)).await.0, 2, "no name of the device itself");
    bench.api.refuse_with(403);
    assert_eq!(ask(&proxy, &connect([192, 0, 2, 7], 80)).await.0, 2, "no role");
    bench.api.refuse_with(503);
    assert_eq!(ask(&proxy, &connect([192, 0, 2, 8], 80)).await.0, 3, "the device is away");
    let bind = [5, 2, 0, 1, 192, 0, 2, 7, 0, 80];
    assert_eq!(ask(&proxy, &bind).await.0, 7, "BIND is not supported");
}

#[tokio::test]
async fn what_is_no_socks_client_gets_no_byte() {
    let bench = Bench::new().await;
    let (_command, mut events) = open(&bench, &[]);
    let mut stream = TcpStream::connect(events.listening().await).await.unwrap();
    stream.write_all(b"GET / HTTP/1.1\r\n\r\n").await.unwrap();
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer).await;
    assert!(answer.is_empty());
    assert_eq!(bench.api.grants(), 0);
}

#[tokio::test]
async fn a_socks_port_is_for_one_device() {
    let bench = Bench::new().await;
    for args in
        [&["--socks", "web-7:22"][..], &["--socks", "web-7", "web-7:22"], &["--socks", "web-7", "man"]]
    {
        assert_eq!(bench.exit_code(args).await, 2, "{args:?}");
    }
}

fn open(bench: &Bench, args: &[&str]) -> (Child, Events) {
    let mut command = bench.command(&["--json", "--socks", "web-7"]).args(args).spawn().unwrap();
    let events = Events::of(&mut command);
    (command, events)
}

/// Sends a request, and gives the reply's code and what follows it.
async fn ask(proxy: &str, request: &[u8]) -> (u8, TcpStream) {
    let mut stream = TcpStream::connect(proxy).await.unwrap();
    stream.write_all(&[5, 1, 0]).await.unwrap();
    let mut method = [0; 2];
    stream.read_exact(&mut method).await.unwrap();
    assert_eq!(method, [5, 0]);
    stream.write_all(request).await.unwrap();
    let mut reply = [0; 10];
    stream.read_exact(&mut reply).await.unwrap();
    assert_eq!((reply[0], reply[2]), (5, 0));
    (reply[1], stream)
}

fn connect([a, b, c, d]: [u8; 4], port: u16) -> Vec<u8> {
    [&[5, 1, 0, 1, a, b, c, d][..], &port.to_be_bytes()].concat()
}

/// A web server with one page, and its port.
async fn page() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") {
                head.push(stream.read_u8().await.unwrap());
            }
            let answer = "HTTP/1.1 200 OK\r\nContent-Length: 7\r\nConnection: close\r\n\r\na page\n";
            stream.write_all(answer.as_bytes()).await.unwrap();
        }
    });
    port
}

const LOCALHOST: [u8; 4] = [127, 0, 0, 1];
