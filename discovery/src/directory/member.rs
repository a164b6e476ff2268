//! The account of a computer.

use super::Entry;
use crate::mac::Mac;
use crate::name::Text;

/// A computer that is in a directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    /// What names the account for as long as it exists, whatever it is called and wherever it is moved.
    pub id: [u8; 16],
    /// Its name in DNS.
    pub dns: Option<Text>,
    /// Its short name.
    pub short: Option<Text>,
    /// The domain, as the end of its distinguished name says it.
    pub domain: Option<Text>,
    /// Where it is in the tree: the distinguished name of what it is in.
    pub unit: Option<Text>,
    /// Its operating system.
    pub system: Option<Text>,
    /// Cards that the directory knows of.
    pub macs: Vec<Mac>,
}

impl Member {
    /// Reads an entry; `None` when it has no identifier.
    pub fn read(entry: &Entry) -> Option<Self> {
        let id = entry.first("objectguid").and_then(|value| value.try_into().ok());
        let id = id.or_else(|| uuid(entry.text("entryuuid").or_else(|| entry.text("ipauniqueid"))?))?;
        let first = |attribute: &str| entry.first(attribute).and_then(Text::from_bytes);
        let host = |attribute: &str| entry.text(attribute).and_then(Text::host);
        // An account of Active Directory ends in a dollar sign.
        let account = entry.text("samaccountname").and_then(|name| Text::new(name.trim_end_matches('$')));
        let versions = [first("operatingsystem"), first("operatingsystemversion")];
        let versions: Vec<_> = versions.iter().flatten().map(Text::as_str).collect();
        let macs = entry.all("macaddress").filter_map(|value| std::str::from_utf8(value).ok()?.parse().ok());
        let unit = parent(&entry.name);
        Some(Self {
            id,
            dns: host("dnshostname").or_else(|| host("fqdn")),
            short: account.or_else(|| first("cn")),
            domain: unit.and_then(domain),
            unit: unit.and_then(Text::new),
            system: Text::new(&versions.join(" ")),
            macs: macs.filter(|mac: &Mac| mac.is_of_a_host()).take(CARDS).collect(),
        })
    }
}

/// The text of a UUID.
fn uuid(text: &str) -> Option<[u8; 16]> {
    let digits: Vec<u8> = text.bytes().filter(u8::is_ascii_hexdigit).collect();
    let digits: [u8; 32] = digits.try_into().ok()?;
    // 32 digits and the dashes between them are all there is.
    (text.len() == 36).then_some(())?;
    let mut id = [0; 16];
    for (byte, pair) in id.iter_mut().zip(digits.as_chunks::<2>().0) {
        *byte = u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()?;
    }
    Some(id)
}

/// A distinguished name without its first part: behind the first comma that is not escaped (RFC 4514, 2.4).
fn parent(name: &str) -> Option<&str> {
    let mut escaped = false;
    let end = name.char_indices().find(|(_, c)| {
        let is_end = *c == ',' && !escaped;
        escaped = *c == '\\' && !escaped;
        is_end
    });
    end.map(|(at, _)| name[at + 1..].trim_start()).filter(|parent| !parent.is_empty())
}

/// The name that the last parts say together (RFC 2247).
fn domain(name: &str) -> Option<Text> {
    let label = |part: &str| -> Option<String> {
        let (kind, label) = part.trim().split_once('=')?;
        kind.eq_ignore_ascii_case("dc").then(|| label.to_owned())
    };
    let labels: Vec<_> = name.split(',').filter_map(label).collect();
    Text::host(&labels.join("."))
}

/// Of one computer.
const CARDS: usize = 16;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_computer_of_active_directory_is_read() {
        let mut entry = Entry::new("CN=PC-7,OU=Sales\\, north,DC=corp,DC=example,DC=org");
        for (attribute, value) in [
            ("objectGUID", &[7; 16][..]),
            ("DNSHostName", b"PC-7.corp.example.org"),
            ("sAMAccountName", b"PC-7$"),
            ("operatingSystem", b"Windows Server 2022 Standard"),
            ("operatingSystemVersion", b"10.0 (20348)"),
        ] {
            entry.insert(attribute, [value.to_vec()]);
        }
        let member = Member::read(&entry).unwrap();
        let shown = [&member.dns, &member.short, &member.domain, &member.unit, &member.system];
        let shown: Vec<_> = shown.map(|text| text.as_ref().unwrap().as_str()).into();
        assert_eq!(
            shown,
            [
                "pc-7.corp.example.org",
                "PC-7",
                "corp.example.org",
                "OU=Sales\\, north,DC=corp,DC=example,DC=org",
                "Windows Server 2022 Standard 10.0 (20348)"
            ]
        );
        assert_eq!(member.id, [7; 16]);
    }

    #[test]
    fn a_host_of_another_directory_is_read() {
        let mut entry = Entry::new("cn=web-7,ou=hosts,dc=example,dc=org");
        entry.insert("entryUUID", [b"0f0e0d0c-0b0a-0908-0706-050403020100".to_vec()]);
        entry.insert("cn", [b"web-7".to_vec(), b"www".to_vec()]);
        entry.insert(
            "macAddress",
            [b"02:00:00:00:00:07".to_vec(), b"ff:ff:ff:ff:ff:ff".to_vec(), b"?".to_vec()],
        );
        let member = Member::read(&entry).unwrap();
        assert_eq!((member.id[0], member.id[15]), (15, 0));
        assert_eq!((member.macs, member.dns), (vec![Mac([2, 0, 0, 0, 0, 7])], None));
        assert_eq!(member.short.unwrap().as_str(), "web-7");
    }

    #[test]
    fn without_an_identifier_there_is_no_account() {
        let mut entry = Entry::new("cn=web-7");
        assert_eq!(Member::read(&entry), None);
        for id in
            ["", "0f0e0d0c", "zf0e0d0c-0b0a-0908-0706-050403020100", "+0f0e0d0c-0b0a-0908-0706-050403020100"]
        {
            entry.insert("entryUUID", [id.as_bytes().to_vec()]);
            assert_eq!(Member::read(&entry), None, "{id}");
        }
    }

    #[test]
    fn the_parent_is_behind_the_first_comma_that_is_one() {
        assert_eq!(parent("CN=a\\,b\\\\,OU=c"), Some("OU=c"));
        assert_eq!(parent("CN=a\\,b"), None);
        assert_eq!(parent("CN=a,"), None);
        assert_eq!(domain("OU=c"), None);
    }
}
