use super::*;
use crate::grant::{Host, NotAHost};

#[test]
fn no_form_of_a_forbidden_ipv4_address_passes() {
    let mut forms = 0;
    for (text, why) in FORBIDDEN_V4 {
        let address: Ipv4Addr = text.parse().unwrap();
        assert_eq!(check(address.into(), &own()), Err(*why), "{text}");
        for form in carriers(address) {
            let refused = check(form.into(), &own());
            assert!(refused == Err(*why) || refused == Err(ForbiddenAddress::Hidden), "{form}: {refused:?}");
            forms += 1;
        }
    }
    assert!(forms >= 200, "{forms} forms");
}

#[test]
fn no_forbidden_ipv6_address_passes() {
    for (text, why) in FORBIDDEN_V6 {
        assert_eq!(check(text.parse().unwrap(), &own()), Err(*why), "{text}");
    }
}

#[test]
fn no_spelling_of_a_forbidden_address_is_a_host_that_passes() {
    let mut spellings: Vec<String> = FORBIDDEN_V6.iter().flat_map(|(text, _)| spellings_v6(text)).collect();
    for (text, _) in FORBIDDEN_V4 {
        let address: Ipv4Addr = text.parse().unwrap();
        spellings.extend(spellings_v4(address));
        spellings.extend(carriers(address).iter().flat_map(|form| spellings_v6(&form.to_string())));
    }
    let mut distinct = spellings.clone();
    distinct.sort();
    distinct.dedup();
    assert!(distinct.len() >= 400, "{} spellings", distinct.len());
    for text in distinct {
        match Host::parse(&text) {
            Err(NotAHost) => {}
            Ok(Host::Address(address)) => assert!(check(address, &own()).is_err(), "{text}"),
            Ok(host) => panic!("{text} became {host:?}"),
        }
    }
}

#[test]
fn addresses_of_ordinary_hosts_pass() {
    for text in [
        "10.0.0.5",
        "172.16.3.4",
        "192.168.1.1",
        "100.64.0.1",
        "198.18.0.7",
        "8.8.8.8",
        "192.0.3.1",
        "fd00::5",
        "2606:4700::1111",
        "fd00:ec2::253",
        "64:ff9b::8.8.8.8",
        "::ffff:10.0.0.5",
        "2002:808:808::1",
        "2001:1::1",
    ] {
        assert_eq!(check(text.parse().unwrap(), &own()), Ok(()), "{text}");
    }
}

#[test]
fn an_own_address_given_in_mapped_form_is_still_known() {
    let own = OwnAddresses::new(["::ffff:10.9.9.9".parse().unwrap()]);
    assert_eq!(check("10.9.9.9".parse().unwrap(), &own), Err(ForbiddenAddress::Own));
}

fn own() -> OwnAddresses {
    OwnAddresses::new(["10.1.2.3", "fd00:1::9", "93.184.216.34"].map(|text| text.parse().unwrap()))
}

/// IPv6 addresses that lead to an IPv4 address, or hide that they do.
fn carriers(address: Ipv4Addr) -> Vec<Ipv6Addr> {
    let [a, b, c, d] = address.octets();
    let (high, low) = (u16::from_be_bytes([a, b]), u16::from_be_bytes([c, d]));
    let mut forms = vec![
        Ipv6Addr::new(0, 0, 0, 0, 0, 0xffff, high, low),
        Ipv6Addr::new(0, 0, 0, 0, 0xffff, 0, high, low),
        Ipv6Addr::new(0x64, 0xff9b, 0, 0, 0, 0, high, low),
        Ipv6Addr::new(0x64, 0xff9b, 1, 0, 0, 0, high, low),
        Ipv6Addr::new(0x2002, high, low, 0, 0, 0, 0, 1),
        Ipv6Addr::new(0x2001, 0, high, low, 0, 0, 0, 0),
        Ipv6Addr::new(0x2001, 0, 0x4136, 0xe378, 0x8000, 0x63bf, !high, !low),
        Ipv6Addr::new(0xfd00, 7, 0, 0, 0, 0x5efe, high, low),
        Ipv6Addr::new(0x2606, 7, 0, 0, 0x200, 0x5efe, high, low),
    ];
    // `::` and `::1` mean something of their own, and stand in the table of IPv6.
    if address.to_bits() > 1 {
        forms.push(Ipv6Addr::new(0, 0, 0, 0, 0, 0, high, low));
    }
    forms
}

/// What `inet_aton` and browsers take for an address.
fn spellings_v4(address: Ipv4Addr) -> Vec<String> {
    let [a, b, c, d] = address.octets();
    let number = address.to_bits();
    let (low24, low16) = (number & 0x00ff_ffff, number & 0xffff);
    vec![
        address.to_string(),
        format!("{number}"),
        format!("0x{number:x}"),
        format!("0X{number:08X}"),
        format!("0{number:o}"),
        format!("{a}.{low24}"),
        format!("{a}.{b}.{low16}"),
        format!("0x{a:x}.0x{b:x}.0x{c:x}.0x{d:x}"),
        format!("0{a:o}.0{b:o}.0{c:o}.0{d:o}"),
        format!("{a:03}.{b:03}.{c:03}.{d:03}"),
        format!("0x{a:x}.{b}.0{c:o}.{d}"),
        format!("{address}."),
        format!(" {address}"),
        format!("{address}:80"),
        format!("{address}%lo"),
        format!("[{address}]"),
        format!("{a}.{b}.{c}.0x{d:x}"),
        format!("{a}\u{3002}{b}\u{3002}{c}\u{3002}{d}"),
    ]
}

fn spellings_v6(text: &str) -> Vec<String> {
    let address: Ipv6Addr = text.parse().unwrap();
    let full = address.segments().map(|segment| format!("{segment:04x}")).join(":");
    vec![
        address.to_string(),
        address.to_string().to_uppercase(),
        full,
        format!("[{address}]"),
        format!("{address}%eth0"),
        format!("{address}%251"),
        format!("{address}/128"),
    ]
}

use ForbiddenAddress::{
    Broadcast, Hidden, LinkLocal, Loopback, Metadata, Multicast, Own, Reserved, Unspecified,
};

const FORBIDDEN_V4: &[(&str, ForbiddenAddress)] = &[
    ("0.0.0.0", Unspecified),
    ("0.1.2.3", Unspecified),
    ("127.0.0.1", Loopback),
    ("127.0.0.53", Loopback),
    ("127.255.255.254", Loopback),
    ("169.254.0.1", LinkLocal),
    ("169.254.255.255", LinkLocal),
    ("169.254.169.254", Metadata),
    ("168.63.129.16", Metadata),
    ("100.100.100.200", Metadata),
    ("192.0.0.192", Metadata),
    ("192.0.0.1", Reserved),
    ("192.0.2.1", Reserved),
    ("198.51.100.7", Reserved),
    ("203.0.113.7", Reserved),
    ("224.0.0.1", Multicast),
    ("239.255.255.250", Multicast),
    ("240.0.0.1", Reserved),
    ("255.255.255.254", Reserved),
    ("255.255.255.255", Broadcast),
    ("10.1.2.3", Own),
    ("93.184.216.34", Own),
];

const FORBIDDEN_V6: &[(&str, ForbiddenAddress)] = &[
    ("::", Unspecified),
    ("::1", Loopback),
    ("fe80::1", LinkLocal),
    ("febf:ffff::1", LinkLocal),
    ("fec0::1", LinkLocal),
    ("ff02::1", Multicast),
    ("ff05::1:3", Multicast),
    ("ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", Multicast),
    ("fd00:ec2::254", Metadata),
    ("fd20:ce::254", Metadata),
    ("2001:db8::1", Reserved),
    ("3fff:fff::1", Reserved),
    ("100::1", Reserved),
    ("2001::1", Hidden),
    ("2001:0:4136:e378:8000:63bf:3fff:fdd2", Hidden),
    ("64:ff9b:1::a00:1", Hidden),
    // ISATAP under prefixes that are forbidden themselves, with an IPv4 address that is not.
    ("fe80::5efe:808:808", LinkLocal),
    ("fe80::200:5efe:808:808", LinkLocal),
    ("fec0::5efe:808:808", LinkLocal),
    ("ff02::5efe:808:808", Multicast),
    ("2001:0:1:2:0:5efe:808:808", Hidden),
    ("64:ff9b:1::5efe:808:808", Hidden),
    ("2001:db8::5efe:808:808", Reserved),
    ("100::5efe:808:808", Reserved),
    ("fd00:1::9", Own),
];
