use super::*;
use data_encoding::HEXLOWER;
use proptest::prelude::*;

#[test]
fn a_dial_back_is_the_golden_one() {
    let bytes = dial_back(&Cookie::new([5; 20]), [6; 32], [7; 32]);
    assert_eq!(HEXLOWER.encode(&bytes), GOLDEN);
}

#[test]
fn a_dial_back_shows_its_cookie() {
    let cookie = Cookie::new([5; 20]);
    let bytes = dial_back(&cookie, [6; 32], [7; 32]);
    let Ok(Parsed::Hello(hello)) = parse(&bytes) else { panic!("a whole hello") };
    assert_eq!(hello.record_len, bytes.len());
    assert_eq!(Cookie::from_server_name(&hello.server_name.unwrap()), Some(cookie));
}

#[test]
fn half_a_hello_is_incomplete_at_every_byte() {
    let bytes = dial_back(&Cookie::new([5; 20]), [6; 32], [7; 32]);
    for len in 0..bytes.len() {
        assert_eq!(parse(&bytes[..len]), Ok(Parsed::Incomplete), "{len}");
    }
}

#[test]
fn bytes_after_the_record_are_left_alone() {
    let mut bytes = dial_back(&Cookie::new([5; 20]), [6; 32], [7; 32]);
    let len = bytes.len();
    bytes.extend([0xff; 100]);
    assert!(matches!(parse(&bytes), Ok(Parsed::Hello(hello)) if hello.record_len == len));
}

#[test]
fn what_is_not_tls_is_refused_at_its_first_byte() {
    for first in (0..=255).filter(|byte| *byte != HANDSHAKE) {
        assert_eq!(parse(&[first]), Err(HelloError::NotTls), "{first}");
    }
    assert_eq!(parse(b"\x16\x02"), Err(HelloError::NotTls));
}

#[test]
fn a_record_too_long_is_refused_from_its_header() {
    assert_eq!(parse(&[22, 3, 1, 0x07, 0xfc]), Err(HelloError::TooLong(2049)));
    assert_eq!(parse(&[22, 3, 1, 0x07, 0xfb]), Ok(Parsed::Incomplete));
}

#[test]
fn a_server_hello_is_refused_at_its_first_byte() {
    assert_eq!(parse(&[22, 3, 3, 0, 90, 2]), Err(HelloError::NotClientHello));
}

#[test]
fn a_hello_that_goes_on_in_another_record_is_refused() {
    let mut bytes = dial_back(&Cookie::new([5; 20]), [6; 32], [7; 32]);
    bytes[8] = bytes[8].wrapping_add(1);
    assert_eq!(parse(&bytes), Err(HelloError::NotClientHello));
}

#[test]
fn two_server_names_are_refused() {
    let name = extension(SERVER_NAME, &vector(2, &[&[0][..], &vector(2, b"a")].concat()));
    assert_eq!(names(&[&name[..], &name].concat()), Err(HelloError::Malformed));
    let two = [&[0][..], &vector(2, b"a"), &[0], &vector(2, b"b")].concat();
    assert_eq!(names(&extension(SERVER_NAME, &vector(2, &two))), Err(HelloError::Malformed));
}

#[test]
fn names_are_read_in_lower_case_and_protocols_in_order() {
    let name = extension(SERVER_NAME, &vector(2, &[&[0][..], &vector(2, b"A.B")].concat()));
    let alpn = extension(ALPN, &vector(2, &[&vector(1, b"klt/1")[..], &vector(1, b"x")].concat()));
    let read = names(&[&name[..], &alpn].concat());
    assert_eq!(read, Ok((Some("a.b".into()), vec![b"klt/1".to_vec(), b"x".to_vec()])));
}

#[test]
fn a_hello_without_a_name_is_read_as_one_without() {
    assert_eq!(names(&[]), Ok((None, Vec::new())));
}

proptest! {
    #[test]
    fn any_cookie_survives_its_first_flight(cookie: [u8; 20], random: [u8; 32], share: [u8; 32]) {
        let bytes = dial_back(&Cookie::new(cookie), random, share);
        let Ok(Parsed::Hello(hello)) = parse(&bytes) else { panic!("a whole hello") };
        prop_assert_eq!(hello.server_name, Some(Cookie::new(cookie).server_name()));
    }

    #[test]
    fn any_bytes_are_read_without_panic(bytes: Vec<u8>) {
        let _ = parse(&bytes);
    }

    #[test]
    fn a_changed_hello_is_read_without_panic(at in 0_usize..200, byte: u8, len in 0_usize..250) {
        let mut bytes = dial_back(&Cookie::new([5; 20]), [6; 32], [7; 32]);
        let at = at % bytes.len();
        bytes[at] = byte;
        bytes.truncate(len);
        let _ = parse(&bytes);
    }
}

fn names(extensions: &[u8]) -> Result<Names, HelloError> {
    let body = [&[3, 3][..], &[0; 32], &[0], &[0, 2, 0x13, 1], &[1, 0], &vector(2, extensions)].concat();
    let message = [&[CLIENT_HELLO], &vector(3, &body)[..]].concat();
    match parse(&[&[HANDSHAKE, 3, 1], &vector(2, &message)[..]].concat())? {
        Parsed::Hello(hello) => Ok((hello.server_name, hello.alpn)),
        Parsed::Incomplete => panic!("the hello is whole"),
    }
}

const GOLDEN: &str = concat!(
    "16030100b1010000ad0303060606060606060606060606060606060606060606060606060606060606060600",
    "00061301130213030100007e00000035003300003064617563716b626966617563716b626966617563716b62",
    "6966617563716b6269662e6b6c6e65742e696e7465726e616c000a00040002001d000d000800060403080408",
    "07002b0003020304003300260024001d00200707070707070707070707070707070707070707070707070707",
    "070707070707",
);
