//! NTLM as far as the server's challenge (MS-NLMP 2.2.1): it names itself before anybody has proven anything.

use crate::fact::{Claim, NameKind};
use crate::name::Text;
use crate::read::Reader;

/// The first message: says that we speak NTLM, and nothing about us.
pub fn negotiate() -> Vec<u8> {
    let flags: u32 = UNICODE | REQUEST_TARGET | NTLM | TARGET_INFO | VERSION;
    let mut bytes = SIGNATURE.to_vec();
    bytes.extend(1_u32.to_le_bytes());
    bytes.extend(flags.to_le_bytes());
    // No domain, no workstation, no version.
    bytes.extend([0; 24]);
    bytes
}

/// Reads the challenge inside an answer, wherever SPNEGO has put it; `None` when there is none.
pub fn challenge(bytes: &[u8]) -> Option<Vec<Claim>> {
    let at = bytes.windows(SIGNATURE.len()).position(|window| window == SIGNATURE)?;
    let message = bytes.get(at..)?;
    let mut reader = Reader::new(message.get(SIGNATURE.len()..)?);
    (reader.le32()? == 2).then_some(())?;
    reader.bytes(8)?;
    let flags = reader.le32()?;
    // The challenge itself and what is reserved.
    reader.bytes(16)?;
    let (len, _, offset) = (reader.le16()?, reader.le16()?, reader.le32()?);
    let system = if flags & VERSION == 0 { None } else { version(&mut reader) };
    let begin = usize::try_from(offset).ok()?;
    let info = message.get(begin..begin.checked_add(usize::from(len))?)?;
    Some(pairs(info).into_iter().chain(system).collect())
}

fn version(reader: &mut Reader<'_>) -> Option<Claim> {
    let (major, minor, build) = (reader.byte()?, reader.byte()?, reader.le16()?);
    // Samba and others leave it empty, or say 6.1.0.
    (build != 0)
        .then(|| Text::new(&format!("Windows {major}.{minor} build {build}")))
        .flatten()
        .map(Claim::System)
}

/// Attributes and values (2.2.2.1), up to the one that ends them.
fn pairs(info: &[u8]) -> Vec<Claim> {
    let (mut reader, mut claims) = (Reader::new(info), Vec::new());
    while let (Some(id), Some(len)) = (reader.le16(), reader.le16())
        && let Some(value) = reader.bytes(len.into())
        && claims.len() < PAIRS
    {
        let kind = match id {
            0 => break,
            1 => NameKind::NetBios,
            2 | 4 => NameKind::Domain,
            3 => NameKind::Dns,
            _ => continue,
        };
        claims.extend(utf16(value).map(|text| (kind, text)));
    }
    // A machine that is in no domain says that it is one itself.
    let is_own = |text: &Text| claims.contains(&(NameKind::NetBios, text.clone()));
    let of_others = claims.iter().filter(|(kind, text)| *kind != NameKind::Domain || !is_own(text));
    of_others.map(|(kind, text)| Claim::Name(*kind, text.clone())).collect()
}

fn utf16(bytes: &[u8]) -> Option<Text> {
    let units = bytes.as_chunks::<2>().0.iter().map(|unit| u16::from_le_bytes(*unit));
    let text: String = char::decode_utf16(units).map(|c| c.unwrap_or(char::REPLACEMENT_CHARACTER)).collect();
    Text::new(&text)
}

const SIGNATURE: &[u8] = b"NTLMSSP\0";
/// Flags of MS-NLMP 2.2.2.5.
const UNICODE: u32 = 1;
const REQUEST_TARGET: u32 = 4;
const NTLM: u32 = 0x200;
const TARGET_INFO: u32 = 0x0080_0000;
const VERSION: u32 = 0x0200_0000;
/// More than there are kinds.
const PAIRS: usize = 16;

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    #[test]
    fn a_challenge_names_machine_domain_and_build() {
        let bytes = sample();
        let shown: Vec<_> = challenge(&bytes).unwrap().into_iter().map(shown).collect();
        assert_eq!(shown, ["NetBios PC-7", "Dns pc-7.example.org", "Windows 10.0 build 20348"]);
    }

    #[test]
    fn a_machine_in_no_domain_has_none() {
        let bytes = said(&[(2, "PC-7"), (1, "PC-7"), (4, "")]);
        let shown: Vec<_> = challenge(&bytes).unwrap().into_iter().map(shown).collect();
        assert_eq!(shown, ["NetBios PC-7", "Windows 10.0 build 20348"]);
    }

    #[test]
    fn what_is_cut_is_no_challenge() {
        let bytes = sample();
        let whole = challenge(&bytes).unwrap().len();
        assert!(
            (0..bytes.len()).all(|len| challenge(&bytes[..len]).is_none_or(|claims| claims.len() <= whole))
        );
        assert_eq!(challenge(&negotiate()), None, "that is the first message, not the second");
        assert_eq!(challenge(b"NTLMSSP\0"), None);
    }

    /// What Windows Server 2022 says, behind some bytes of SPNEGO.
    pub(crate) fn sample() -> Vec<u8> {
        said(&[(1, "PC-7"), (3, "pc-7.example.org"), (7, "1234")])
    }

    fn said(pairs: &[(u16, &str)]) -> Vec<u8> {
        let pair = |(id, text): (u16, &str)| {
            let value: Vec<u8> = text.encode_utf16().flat_map(u16::to_le_bytes).collect();
            [&id.to_le_bytes()[..], &u16::try_from(value.len()).unwrap().to_le_bytes(), &value].concat()
        };
        let info: Vec<u8> = pairs.iter().copied().chain([(0, "")]).flat_map(pair).collect();
        let len = u16::try_from(info.len()).unwrap().to_le_bytes();
        let head = [
            &b"spnego"[..],
            SIGNATURE,
            &2_u32.to_le_bytes(),
            &[0; 8],
            &(VERSION | UNICODE).to_le_bytes(),
            &[9; 8],
            &[0; 8],
            &len,
            &len,
            &56_u32.to_le_bytes(),
            &[10, 0, 0x7c, 0x4f, 0, 0, 0, 15],
        ];
        [head.concat(), info].concat()
    }

    fn shown(claim: Claim) -> String {
        match claim {
            Claim::Name(kind, name) => format!("{kind:?} {name}"),
            Claim::System(system) => system.to_string(),
            other => format!("{other:?}"),
        }
    }
}
