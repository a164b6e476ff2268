use super::*;
use data_encoding::HEXLOWER;
use proptest::prelude::*;

#[test]
fn a_grant_is_the_golden_one() {
    assert_eq!(HEXLOWER.encode(&sample().encode()), GOLDEN);
}

#[test]
fn a_grant_survives_its_bytes() {
    for host in ["", "192.168.7.9", "fd00::1", "files.example.org", "under_score.lan"] {
        let grant = Grant { host: Host::parse(host).unwrap(), ..sample() };
        assert_eq!(Grant::read(&grant.encode()), Ok(grant), "{host}");
    }
}

#[test]
fn a_truncated_grant_is_refused() {
    let bytes = sample().encode();
    for len in 0..bytes.len() {
        assert!(Grant::read(&bytes[..len]).is_err(), "{len} bytes");
    }
}

#[test]
fn a_grant_too_long_is_refused_unread() {
    assert_eq!(Grant::read(&[0xff; LIMIT + 1]), Err(GrantError::TooLong(LIMIT + 1)));
}

#[test]
fn an_unknown_field_or_another_order_is_refused() {
    let bytes = sample().encode();
    let with_unknown = [&bytes[..], &[0xa0, 0x06, 1]].concat();
    assert_eq!(Grant::read(&with_unknown), Err(GrantError::NotCanonical));
    let (id, rest) = bytes.split_at(18);
    assert_eq!(Grant::read(&[rest, id].concat()), Err(GrantError::NotCanonical));
}

#[test]
fn every_field_outside_its_limits_is_refused_by_name() {
    type Spoil = fn(&mut Raw);
    let cases: [(&str, Spoil); 19] = [
        ("id", |raw| raw.id.truncate(15)),
        ("tenant", |raw| raw.tenant.clear()),
        ("device", |raw| raw.device.push(0)),
        ("host", |raw| raw.host = "Files.example.org".into()),
        ("host", |raw| raw.host = "::FFFF:1.2.3.4".into()),
        ("port", |raw| raw.port = 0),
        ("port", |raw| raw.port = 65_536),
        ("operator key", |raw| raw.cnf.truncate(32)),
        ("operator key", |raw| raw.cnf[0] = 2),
        ("operator", |raw| raw.operator.clear()),
        ("audience", |raw| raw.audience.clear()),
        ("route", |raw| raw.route = vec![vec![0; 16]; 9]),
        ("route", |raw| raw.route = vec![vec![0; 3]]),
        ("start", |raw| raw.start_ms = 60_001),
        ("session maximum", |raw| raw.session_ms = 0),
        ("idle limit", |raw| raw.idle_ms = 0),
        ("orphan limit", |raw| raw.orphan_ms = 600_001),
        ("number of connections", |raw| raw.connections = 1025),
        ("time of issue", |raw| raw.issued = 0),
    ];
    for (field, spoil) in cases {
        let mut raw = Raw::from(&sample());
        spoil(&mut raw);
        assert_eq!(Grant::read(&raw.encode_to_vec()), Err(GrantError::Field(field)));
    }
}

#[test]
fn a_grant_for_another_protocol_is_refused() {
    let raw = Raw { alpn: "klt/2".into(), ..Raw::from(&sample()) };
    assert_eq!(Grant::read(&raw.encode_to_vec()), Err(GrantError::Protocol));
}

#[test]
fn names_that_a_resolver_may_take_for_a_number_are_no_hosts() {
    for text in ["127.1", "0177.0.0.1", "0x7f.0.0.1", "2130706433", "0x7f000001", "a.0x", "1.2.3.4.5"] {
        assert_eq!(Host::parse(text), Err(NotAHost), "{text}");
    }
}

#[test]
fn names_outside_the_rules_are_no_hosts() {
    let long = format!("{}.org", "a.".repeat(130));
    for text in [".", "a..b", "a.", "-a", "a-", "a b", "a%eth0", "[::1]", "ü.example", &"a".repeat(64), &long]
    {
        assert_eq!(Host::parse(text), Err(NotAHost), "{text}");
    }
}

proptest! {
    #[test]
    fn any_grant_survives_its_bytes(
        id: [u8; 16], epoch: u64, port in 1_u16.., rate: u64, issued in 1_u64.., hops in 0_usize..=ROUTE_LIMIT,
        start in 1_u64..=60_000, session in 1_u64..=604_800_000, connections in 1..=CONNECTIONS_LIMIT,
    ) {
        let grant = Grant {
            id: GrantId::new(id),
            epoch,
            port: NonZeroU16::new(port).unwrap(),
            rate: NonZeroU64::new(rate),
            issued,
            route: vec![ServerId::new(id); hops],
            start: Duration::from_millis(start),
            session: Duration::from_millis(session),
            connections: NonZeroU32::new(connections).unwrap(),
            ..sample()
        };
        prop_assert_eq!(Grant::read(&grant.encode()), Ok(grant));
    }

    #[test]
    fn whatever_is_read_as_a_grant_encodes_to_the_same_bytes(
        mut bytes in Just(sample().encode().to_vec()), at in 0_usize..200, byte: u8,
    ) {
        let at = at % bytes.len();
        bytes[at] = byte;
        if let Ok(grant) = Grant::read(&bytes) {
            prop_assert_eq!(grant.encode(), bytes);
        }
    }

    #[test]
    fn any_bytes_are_read_without_panic(bytes: Vec<u8>) {
        let _ = Grant::read(&bytes);
    }

    #[test]
    fn any_text_is_read_as_a_host_or_not(text in ".{0,300}") {
        if let Ok(host) = Host::parse(&text) {
            prop_assert_eq!(Host::parse(&host.to_string()), Ok(host));
        }
    }
}

/// A grant every test can vary.
pub(crate) fn sample() -> Grant {
    let mut point = [0x0c; 65];
    point[0] = 4;
    Grant {
        id: GrantId::new([1; 16]),
        tenant: TenantId::new([2; 16]),
        device: DeviceId::new([3; 16]),
        host: Host::Device,
        port: NonZeroU16::new(22).unwrap(),
        cnf: PublicKey::P256(point),
        operator: OperatorId::new([4; 16]),
        audience: ServerId::new([5; 16]),
        route: Vec::new(),
        epoch: 6,
        start: START_LIMIT,
        session: DEFAULT_SESSION,
        idle: DEFAULT_IDLE,
        orphan: ORPHAN_LIMIT,
        rate: None,
        connections: DEFAULT_CONNECTIONS,
        issued: 1_700_000_000,
    }
}

const GOLDEN: &str = concat!(
    "0a10010101010101010101010101010101011210020202020202020202020202020202021a10030303030303",
    "0303030303030303030328163241040c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c",
    "0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c3a1004040404040404",
    "040404040404040404421005050505050505050505050505050505500658e0d4036080e8dd0d68c0ee6d70c0",
    "cf248001108a01056b6c742f31900180e2cfaa06",
);
