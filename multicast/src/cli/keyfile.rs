//! Key files: `NAME.sender` is secret, `NAME.receiver` is for every receiver.
//!
//! Both are text, one `name value` a line, so that they survive being mailed or pasted.

use std::collections::BTreeMap;
use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use data_encoding::HEXLOWER;
use klnet_wire::signed::PublicKey;
use klnet_wire::signing::SigningKey;
use zeroize::Zeroizing;

use super::failure::Failure;
use crate::id::ReceiverId;
use crate::key::{EpochKey, Secret, random};
use crate::net::{Membership, SenderKeys};

/// What `NAME.sender` holds.
#[derive(Debug)]
pub(super) struct SenderFile {
    pub(super) group: SocketAddr,
    pub(super) keys: SenderKeys,
    pub(super) signer: SigningKey,
}

/// What `NAME.receiver` holds.
#[derive(Debug)]
pub(super) struct ReceiverFile {
    pub(super) group: SocketAddr,
    epoch: EpochKey,
    feedback: Secret,
    announcer: PublicKey,
    signer: PublicKey,
}

/// Writes both files; none may be there.
pub(super) fn create(name: &Path, group: Option<SocketAddr>) -> Result<ExitCode, Failure> {
    let group = group.unwrap_or_else(draw_group);
    if !group.ip().is_multicast() {
        return Err(Failure::Usage(format!("{} is no multicast address", group.ip())));
    }
    let (signer, announcer) = (SigningKey::generate_ed25519(), SigningKey::generate_ed25519());
    let (secret, feedback) = (Secret::random(), Secret::random());
    let shared = format!(
        "group {group}\nsecret {}\nfeedback {}\n",
        HEXLOWER.encode(secret.as_bytes()),
        HEXLOWER.encode(feedback.as_bytes())
    );
    let private = |key: &SigningKey| {
        Zeroizing::new(HEXLOWER.encode(&key.to_pkcs8().expect("a key that was just made is in no token")))
    };
    let public = |key: &SigningKey| HEXLOWER.encode(key.public().as_bytes());
    let sender =
        format!("{SENDER}\n{shared}signer {}\nannouncer {}\n", *private(&signer), *private(&announcer));
    let receiver =
        format!("{RECEIVER}\n{shared}signer {}\nannouncer {}\n", public(&signer), public(&announcer));
    for (suffix, text) in [("sender", Zeroizing::new(sender)), ("receiver", Zeroizing::new(receiver))] {
        let mut path = name.as_os_str().to_owned();
        path.push(format!(".{suffix}"));
        let path = PathBuf::from(path);
        write_new(&path, text.as_bytes()).map_err(|error| Failure::KeyFile { path: path.clone(), error })?;
        println!("{}", path.display());
    }
    Ok(ExitCode::SUCCESS)
}

impl SenderFile {
    /// Reads a sender's file.
    pub(super) fn read(path: &Path) -> Result<Self, Failure> {
        let fields = Fields::read(path, SENDER)?;
        let key = |name| SigningKey::from_pkcs8(&fields.hex(name)?).ok();
        let file = || {
            let epoch = EpochKey { epoch: EPOCH, secret: fields.secret("secret")? };
            let keys =
                SenderKeys { epoch, feedback: fields.secret("feedback")?, announcer: key("announcer")? };
            Some(Self { group: fields.get("group")?.parse().ok()?, keys, signer: key("signer")? })
        };
        file().ok_or(Failure::NotAKey { path: path.to_owned(), what: "a sender's key file" })
    }
}

impl ReceiverFile {
    /// Reads a receiver's file.
    pub(super) fn read(path: &Path) -> Result<Self, Failure> {
        let fields = Fields::read(path, RECEIVER)?;
        let key = |name| PublicKey::try_from(fields.hex(name)?.as_slice()).ok();
        let file = || {
            Some(Self {
                group: fields.get("group")?.parse().ok()?,
                epoch: EpochKey { epoch: EPOCH, secret: fields.secret("secret")? },
                feedback: fields.secret("feedback")?,
                announcer: key("announcer")?,
                signer: key("signer")?,
            })
        };
        file().ok_or(Failure::NotAKey { path: path.to_owned(), what: "a receiver's key file" })
    }

    /// The membership of one receiver.
    pub(super) fn membership(&self, receiver: ReceiverId) -> Membership {
        Membership {
            receiver,
            key: self.feedback.receiver(receiver),
            epochs: vec![self.epoch.clone()],
            announcers: vec![self.announcer.clone()],
            signers: vec![self.signer.clone()],
            audiences: Vec::new(),
        }
    }
}

/// The lines of a key file.
struct Fields(BTreeMap<String, Zeroizing<String>>);

impl Fields {
    fn read(path: &Path, title: &'static str) -> Result<Self, Failure> {
        let text = fs::read_to_string(path)
            .map(Zeroizing::new)
            .map_err(|error| Failure::KeyFile { path: path.to_owned(), error })?;
        let mut lines = text.lines();
        if lines.next() != Some(title) {
            return Err(Failure::NotAKey { path: path.to_owned(), what: title });
        }
        let fields = lines.filter_map(|line| line.split_once(' '));
        Ok(Self(fields.map(|(name, value)| (name.to_owned(), Zeroizing::new(value.to_owned()))).collect()))
    }

    fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(|value| value.as_str())
    }

    fn hex(&self, name: &str) -> Option<Zeroizing<Vec<u8>>> {
        HEXLOWER.decode(self.get(name)?.as_bytes()).ok().map(Zeroizing::new)
    }

    fn secret(&self, name: &str) -> Option<Secret> {
        Some(Secret::new(self.hex(name)?.as_slice().try_into().ok()?))
    }
}

/// Writes a file that only its owner may read, and that was not there.
fn write_new(path: &Path, text: &[u8]) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    file.write_all(text)?;
    file.sync_all()
}

/// An address of the half of 239.192.0.0/14 that is for groups of senders. Its 17 free bits are in the 23 that reach the
/// Ethernet address, so that two groups never share one (RFC 1112, 6.4; RFC 2365).
fn draw_group() -> SocketAddr {
    let [bit, high, low]: [u8; 3] = random();
    SocketAddr::new(IpAddr::V4(Ipv4Addr::new(239, 194 + (bit & 1), high, low)), PORT)
}

const SENDER: &str = "klcast sender 1";
const RECEIVER: &str = "klcast receiver 1";
/// These groups have one epoch: a new one is a new pair of files.
const EPOCH: u16 = 1;
/// Where agents listen for multicast.
const PORT: u16 = 15_001;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_files_are_of_one_group_and_keep_secrets() {
        let folder = tempfile::tempdir().unwrap();
        let name = folder.path().join("lan");
        create(&name, None).unwrap();
        let (sender, receiver) = (
            SenderFile::read(&name.with_extension("sender")).unwrap(),
            read(&name.with_extension("receiver")),
        );
        assert_eq!(sender.group, receiver.group);
        assert_eq!(sender.keys.epoch, receiver.epoch);
        assert_eq!(*sender.signer.public(), receiver.signer);
        let mode = std::os::unix::fs::PermissionsExt::mode(
            &fs::metadata(name.with_extension("sender")).unwrap().permissions(),
        );
        assert_eq!(mode & 0o077, 0);
        let text = fs::read_to_string(name.with_extension("receiver")).unwrap();
        assert!(!text.contains(&HEXLOWER.encode(&sender.signer.to_pkcs8().unwrap())));
        assert!(create(&name, None).is_err(), "nothing is written over");
    }

    #[test]
    fn a_file_of_the_other_kind_or_cut_short_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let name = folder.path().join("lan");
        create(&name, Some("[ff15::8000:1]:15001".parse().unwrap())).unwrap();
        assert!(SenderFile::read(&name.with_extension("receiver")).is_err());
        let path = name.with_extension("receiver");
        let text = fs::read_to_string(&path).unwrap();
        fs::write(&path, &text[..text.len() - 10]).unwrap();
        assert!(ReceiverFile::read(&path).is_err());
        assert!(create(&folder.path().join("x"), Some("10.0.0.1:1".parse().unwrap())).is_err());
    }

    fn read(path: &Path) -> ReceiverFile {
        ReceiverFile::read(path).unwrap()
    }
}
