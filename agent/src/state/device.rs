//! The device's identity, as enrolment left it.

use std::fs;
use std::io;

use bytes::Bytes;
use klnet_wire::identity::enroll::{Enrolled, parse_pin, print_pin};
use klnet_wire::identity::pem::{chain_from_pem, chain_to_pem, key_to_pem};
use klnet_wire::identity::secret_file::others_may_read;
use klnet_wire::identity::state::{AGENT, CHAIN, KEY, TRUST};
use klnet_wire::identity::tls::Identity;
use klnet_wire::identity::trust::public_key_of;
use klnet_wire::identity::{Principal, Role, Trust};
use klnet_wire::lineage::TrustSet;
use klnet_wire::signed::PublicKey;
use klnet_wire::signing::SigningKey;
use prost::Message;
use rustls::pki_types::CertificateDer;
use serde::{Deserialize, Serialize};

use super::sync::SYNC;
use super::{Folder, StateError};
use crate::directory::Candidate;

/// An enrolled device.
#[derive(Debug, Clone)]
pub struct Device {
    /// Base of the API and of discovery: `https://HOST[:PORT]`.
    pub server: String,
    /// The name given at enrolment instead of the host name.
    pub name: Option<String>,
    /// Whom the certificate names.
    pub principal: Principal,
    /// Chain and key.
    pub identity: Identity,
    /// The fabric's root.
    pub trust: Trust,
}

/// `agent.json`.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    server: String,
    root: String,
    tenant: String,
    device: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    name: Option<String>,
}

impl Device {
    /// Puts together what enrolment gave, and what was asked for it.
    pub fn new(server: String, name: Option<String>, enrolled: &Enrolled, key: SigningKey) -> Self {
        let identity = Identity { chain: enrolled.chain.clone(), key };
        let (principal, trust) = (enrolled.principal.clone(), enrolled.trust.clone());
        Self { server, name, principal, identity, trust }
    }

    /// Host and port of the API, out of the URL.
    pub fn host_and_port(&self) -> Candidate {
        let rest = self.server.trim_start_matches("https://").trim_end_matches('/');
        let explicit = rest.rsplit_once(':').and_then(|(host, port)| Some((host, port.parse().ok()?)));
        let (host, port) = explicit.unwrap_or((rest, HTTPS_PORT));
        Candidate { host: host.to_owned(), port }
    }

    fn file(&self) -> File {
        File {
            server: self.server.clone(),
            root: print_pin(&self.trust.pin()),
            tenant: self.principal.tenant.to_string(),
            device: self.principal.id::<()>().to_string(),
            name: self.name.clone(),
        }
    }
}

impl Folder {
    /// Whether the folder holds an identity.
    pub fn is_enrolled(&self) -> bool {
        self.file(AGENT).exists()
    }

    /// Stores an identity in the place of every other one, also one that was staged or on trial. `agent.json` is the last
    /// file written and the first removed: an identity is whole, or none.
    ///
    /// # Errors
    /// [`StateError::Io`].
    pub fn save(&self, device: &Device) -> Result<(), StateError> {
        self.remove(AGENT)?;
        self.forget_others()?;
        // Of the identity before.
        self.remove(TRUST)?;
        self.remove(SYNC)?;
        self.write(KEY, key_to_pem(&device.identity.key).as_bytes())?;
        self.write(CHAIN, chain_to_pem(&device.identity.chain).as_bytes())?;
        let text = serde_json::to_string_pretty(&device.file()).expect("strings can be written as JSON");
        self.write(AGENT, text.as_bytes())
    }

    /// Replaces the certificates of the identity that is stored: after a crash there are the old ones or the new ones.
    ///
    /// # Errors
    /// [`StateError::Io`]; the old ones are there still.
    pub fn save_chain(&self, chain: &[CertificateDer<'_>]) -> Result<(), StateError> {
        self.write(CHAIN, chain_to_pem(chain).as_bytes())
    }

    /// Stores the roots that the fabric's lineage led to.
    ///
    /// # Errors
    /// [`StateError::Io`].
    pub fn save_trust(&self, trust: &Trust) -> Result<(), StateError> {
        self.write(TRUST, &trust.to_set().encode_to_vec())
    }

    /// The roots that were stored; one that is damaged is found again, from the root of the enrolment.
    fn trust(&self) -> Option<Trust> {
        let set = TrustSet::decode(Bytes::from(fs::read(self.file(TRUST)).ok()?)).ok()?;
        Trust::of_set(&set).ok()
    }

    /// The key of an enrolment: the same one until the device is enrolled, so that an answer that was lost is given again.
    /// With `another` it is not the one that a token has for the first enrolment.
    ///
    /// # Errors
    /// [`StateError::Io`] or [`StateError::Key`].
    pub fn enrolment_key(&self, another: bool) -> Result<SigningKey, StateError> {
        if let Some(key) = self.keys.made(&self.read(ENROLMENT_KEY).unwrap_or_default())? {
            return Ok(key);
        }
        let key = self.keys.make(another)?;
        self.write(ENROLMENT_KEY, key_to_pem(&key).as_bytes())?;
        Ok(key)
    }

    /// The key of an enrolment is the device's now.
    ///
    /// # Errors
    /// [`StateError::Io`].
    pub fn end_enrolment(&self) -> Result<(), StateError> {
        self.remove(ENROLMENT_KEY)
    }

    pub(super) fn remove(&self, name: &str) -> Result<(), StateError> {
        let path = self.file(name);
        match fs::remove_file(&path).and_then(|()| self.sync_names()) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(StateError::Io { path, error }),
            _ => Ok(()),
        }
    }

    /// Has the disk take which files there are.
    pub(super) fn sync_names(&self) -> io::Result<()> {
        #[cfg(unix)]
        fs::File::open(&self.path)?.sync_all()?;
        Ok(())
    }

    /// Gives every file in the folder to the folder's owner.
    ///
    /// An administrator enrols as root, while the service runs under an account of its own.
    ///
    /// # Errors
    /// [`StateError::Io`].
    #[cfg(unix)]
    pub fn give_to_owner(&self) -> Result<(), StateError> {
        use std::os::unix::fs::{MetadataExt, lchown};
        let io = |error| StateError::Io { path: self.path.clone(), error };
        let owner = fs::metadata(&self.path).map_err(io)?;
        for entry in fs::read_dir(&self.path).map_err(io)? {
            let entry = entry.map_err(io)?;
            if entry.metadata().map_err(io)?.uid() != owner.uid() {
                lchown(entry.path(), Some(owner.uid()), Some(owner.gid())).map_err(io)?;
            }
        }
        Ok(())
    }

    /// Reads the identity, and checks that its parts belong together.
    ///
    /// # Errors
    /// [`StateError`].
    pub fn device(&self) -> Result<Device, StateError> {
        let file = self.agent_file()?;
        self.check_permissions()?;
        let chain = chain_from_pem(&self.read(CHAIN)?)
            .ok_or_else(|| self.damaged(CHAIN, "not certificates in PEM"))?;
        let (Some(leaf), Some(root)) = (chain.first(), chain.last()) else {
            return Err(self.damaged(CHAIN, "it holds no certificate"));
        };
        let principal = Principal::named_in(leaf).filter(|principal| principal.role == Role::Agent);
        let principal = principal.ok_or_else(|| self.damaged(CHAIN, "it is not a device's certificate"))?;
        let trust = match self.trust() {
            Some(trust) => trust,
            None => Trust::new(root.clone())?,
        };
        let key = self.key(&public_key_of(leaf)?)?;
        if trust.fabric() != principal.fabric
            || (trust.version() == 0 && parse_pin(&file.root) != Some(trust.pin()))
        {
            return Err(self.damaged(CHAIN, "its root is not the one in agent.json"));
        }
        if file.device != principal.id::<()>().to_string() || file.tenant != principal.tenant.to_string() {
            return Err(self.damaged(AGENT, "it names another device than the certificate"));
        }
        let identity = Identity { chain, key };
        Ok(Device { server: file.server, name: file.name, principal, identity, trust })
    }

    fn agent_file(&self) -> Result<File, StateError> {
        let text = match self.read(AGENT) {
            Err(StateError::Io { error, .. }) if error.kind() == io::ErrorKind::NotFound => {
                return Err(StateError::NotEnrolled(self.path.clone()));
            }
            text => text?,
        };
        serde_json::from_str(&text).map_err(|error| self.damaged(AGENT, &error.to_string()))
    }

    fn check_permissions(&self) -> Result<(), StateError> {
        let path = self.file(KEY);
        match fs::metadata(&path) {
            Ok(metadata) if others_may_read(&metadata) => Err(StateError::Permissions(path)),
            Ok(_) => Ok(()),
            Err(error) => Err(StateError::Io { path, error }),
        }
    }

    /// The key whose public half the certificate has.
    fn key(&self, public: &PublicKey) -> Result<SigningKey, StateError> {
        let text = self.read(KEY)?;
        match self.keys.known(&text, public) {
            Some(key) => Ok(key),
            None if !self.keys.are_in_token() && text.starts_with("pkcs11:") => {
                Err(StateError::NoToken(self.file(KEY)))
            }
            None => Err(self.damaged(KEY, "it is not the private key of the certificate in chain.pem")),
        }
    }

    fn damaged(&self, name: &str, reason: &str) -> StateError {
        StateError::Damaged { path: self.file(name), reason: reason.to_owned() }
    }
}

const ENROLMENT_KEY: &str = "enrolment.key";

/// Where the API is unless the URL says otherwise.
const HTTPS_PORT: u16 = 443;
