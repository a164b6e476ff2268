use socket2::SockRef;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpListener;

use super::*;
use crate::label::Cookie;

#[tokio::test]
async fn a_hello_in_one_segment_is_read_and_left_in_the_socket() {
    let (mut client, mut server) = pair().await;
    client.write_all(&record()).await.unwrap();
    client.write_all(b"what follows").await.unwrap();
    let hello = first_hello(&server, LONG).await.unwrap();
    assert_eq!(hello.server_name, Some(COOKIE.server_name()));
    assert_eq!(hello.record_len, record().len());
    consume(&mut server, hello.record_len).await.unwrap();
    let mut rest = [0; 12];
    server.read_exact(&mut rest).await.unwrap();
    assert_eq!(&rest, b"what follows");
}

#[tokio::test]
async fn a_hello_in_one_byte_segments_is_read_without_spinning() {
    let (mut client, server) = pair().await;
    SockRef::from(&client).set_tcp_nodelay(true).unwrap();
    let record = record();
    let writing = async {
        for byte in &record {
            client.write_all(&[*byte]).await.unwrap();
            tokio::task::yield_now().await;
        }
    };
    let mut wakes = 0;
    let (hello, ()) = tokio::join!(peek(&server, &mut wakes), writing);
    assert!(hello.is_ok());
    let segments = u32::try_from(record.len()).unwrap();
    assert!(wakes <= segments + 2, "looked {wakes} times at {segments} segments");
}

#[tokio::test(start_paused = true)]
async fn half_a_hello_is_given_up_at_its_deadline_without_spinning() {
    let (mut client, server) = pair().await;
    client.write_all(&record()[..100]).await.unwrap();
    let mut wakes = 0;
    let waited = tokio::time::timeout(LONG, peek(&server, &mut wakes)).await;
    assert!(waited.is_err());
    assert!(wakes <= 2, "looked {wakes} times at one segment");
    assert!(matches!(first_hello(&server, LONG).await, Err(PeekError::Late(_))));
}

#[tokio::test]
async fn half_a_hello_and_a_close_end_at_once() {
    for sent in [0, 1, 4, 100, record().len() - 1] {
        let (mut client, server) = pair().await;
        client.write_all(&record()[..sent]).await.unwrap();
        drop(client);
        let result = first_hello(&server, LONG).await;
        assert!(matches!(result, Err(PeekError::Closed)), "{sent} bytes: {result:?}");
    }
}

#[tokio::test]
async fn a_reset_ends_at_once() {
    let (client, server) = pair().await;
    crate::net::socket::close_by_reset(&client);
    drop(client);
    assert!(matches!(first_hello(&server, LONG).await, Err(PeekError::Io(_) | PeekError::Closed)));
}

#[tokio::test]
async fn garbage_ends_at_once() {
    for garbage in [&b"GET / HTTP/1.1\r\n\r\n"[..], b"SSH-2.0-x\r\n", &[0x16, 3, 1, 0xff, 0xff], &[0; 4096]] {
        let (mut client, server) = pair().await;
        client.write_all(garbage).await.unwrap();
        assert!(matches!(first_hello(&server, LONG).await, Err(PeekError::Hello(_))), "{garbage:?}");
    }
}

const COOKIE: Cookie = Cookie::new([7; 20]);
const LONG: Duration = Duration::from_secs(60);

fn record() -> Vec<u8> {
    crate::hello::dial_back(&COOKIE, [1; 32], [2; 32])
}

async fn pair() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
    (client, listener.accept().await.unwrap().0)
}
