use proptest::prelude::*;

use super::*;

#[test]
fn a_client_without_authentication_is_asked_for_its_request() {
    assert_eq!(talk(&[5, 1, 0]), ([Output::Send(vec![5, 0])].to_vec(), 3));
    assert_eq!(talk(&[5, 3, 1, 2, 0]), ([Output::Send(vec![5, 0])].to_vec(), 5));
}

#[test]
fn a_client_that_insists_on_authentication_is_refused() {
    for greeting in [&[5, 0][..], &[5, 2, 1, 2]] {
        assert_eq!(talk(greeting).0, [Output::Refuse(vec![5, 0xff])]);
    }
}

#[test]
fn addresses_and_names_are_connected_to() {
    // The requests of RFC 1928, section 4, for each type of address.
    for (request, host, port) in [
        (&[5, 1, 0, 1, 192, 0, 2, 7, 0, 80][..], "192.0.2.7", 80),
        (
            &[5, 1, 0, 3, 11, b'p', b'r', b'i', b'n', b't', b'e', b'r', b'.', b'l', b'a', b'n', 1, 187],
            "printer.lan",
            443,
        ),
        (
            &[5, 1, 0, 4, 0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 7, 0x1f, 0x90],
            "2001:db8::7",
            8080,
        ),
        (&[5, 1, 0, 3, 4, b'L', b'a', b'n', b'.', 0, 80], "lan", 80),
        (&[5, 1, 0, 3, 3, b':', b':', b'1', 0, 80], "::1", 80),
    ] {
        assert_eq!(ask(request), Output::Connect(to(host, port)));
    }
}

#[test]
fn what_is_not_offered_is_refused_with_its_code() {
    let v4 = |command| [5, command, 0, 1, 192, 0, 2, 7, 0, 80];
    assert_eq!(ask(&v4(2)), Output::Refuse(vec![5, 7, 0, 1, 0, 0, 0, 0, 0, 0]), "BIND");
    assert_eq!(ask(&v4(3)), Output::Refuse(Reply::Command.encode()), "UDP ASSOCIATE");
    assert_eq!(ask(&[5, 1, 0, 2, 0]), Output::Refuse(Reply::AddressType.encode()));
    assert_eq!(ask(&[5, 1, 0, 3, 0, 0, 80]), Output::Refuse(Reply::HostUnreachable.encode()), "no name");
    assert_eq!(ask(&[5, 1, 0, 3, 1, b'/', 0, 80]), Output::Refuse(Reply::HostUnreachable.encode()));
    assert_eq!(ask(&[5, 1, 0, 1, 192, 0, 2, 7, 0, 0]), Output::Refuse(Reply::Refused.encode()), "port 0");
}

#[test]
fn what_is_another_protocol_is_closed_without_a_byte() {
    assert_eq!(talk(&[4, 1, 0, 80]).0, [Output::Close], "SOCKS 4");
    assert_eq!(talk(b"GET / HTTP/1.1\r\n").0, [Output::Close]);
    assert_eq!(ask(&[4, 1, 0, 1, 192, 0, 2, 7, 0, 80]), Output::Close);
    assert_eq!(ask(&[5, 1, 1, 1, 192, 0, 2, 7, 0, 80]), Output::Close, "a reserved byte");
}

#[test]
fn the_success_of_rfc_1928_is_the_golden_one() {
    assert_eq!(Reply::Succeeded.encode(), [5, 0, 0, 1, 0, 0, 0, 0, 0, 0]);
    assert_eq!(Reply::Expired.encode()[1], 6);
}

#[test]
fn what_follows_a_request_is_not_taken() {
    let mut bytes = [&[5, 1, 0][..], &[5, 1, 0, 1, 192, 0, 2, 7, 0, 80]].concat();
    let len = bytes.len();
    bytes.extend(b"GET / HTTP/1.1");
    assert_eq!(talk(&bytes).1, len);
}

#[test]
fn the_longest_input_is_as_long_as_the_limit() {
    let greeting = [&[5, 255][..], &[0; 255]].concat();
    let request = [&[5, 1, 0, 3, 255][..], &[b'a'; 255], &[0, 80]].concat();
    let (outputs, taken) = talk(&[greeting, request, vec![0; 100]].concat());
    assert_eq!(taken, INPUT_LIMIT);
    assert_eq!(outputs.len(), 2);
}

proptest! {
    #[test]
    fn every_name_and_port_is_read(name in "[a-z]([a-z0-9-]{0,20}[a-z0-9])?(\\.[a-z]{1,10}){0,3}", port in 1_u16..) {
        let length = u8::try_from(name.len()).unwrap();
        let request = [&[5, 1, 0, 3, length], name.as_bytes(), &port.to_be_bytes()].concat();
        prop_assert_eq!(ask(&request), Output::Connect(to(&name, port)));
    }

    #[test]
    fn any_bytes_in_any_pieces_are_judged_alike(mut bytes: Vec<u8>, valid: bool, step in 1_usize..20) {
        if valid {
            bytes.splice(0..0, [5, 1, 0, 5, 1, 0]);
        }
        prop_assert_eq!(in_pieces(&bytes, step), talk(&bytes));
    }
}

/// What a client's bytes lead to, and how many of them were taken.
fn talk(bytes: &[u8]) -> (Vec<Output>, usize) {
    in_pieces(bytes, bytes.len().max(1))
}

fn in_pieces(bytes: &[u8], step: usize) -> (Vec<Output>, usize) {
    let (mut negotiation, mut outputs, mut taken) = (Negotiation::new(), Vec::new(), 0);
    while negotiation.needs() > 0 && taken < bytes.len() {
        let end = (taken + step).min(bytes.len());
        taken += negotiation.handle_input(&bytes[taken..end]);
        outputs.extend(negotiation.poll_output());
    }
    (outputs, taken)
}

/// What a request leads to after the usual greeting.
fn ask(request: &[u8]) -> Output {
    let (mut outputs, _) = talk(&[&[5, 1, 0], request].concat());
    assert_eq!(outputs.remove(0), Output::Send(vec![5, 0]));
    outputs.remove(0)
}

fn to(host: &str, port: u16) -> Destination {
    Destination { host: Host::parse(host).unwrap(), port: NonZeroU16::new(port).unwrap() }
}
