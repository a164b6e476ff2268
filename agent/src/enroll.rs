//! Enrolment: this device makes its key, shows a token, and is given an identity in a fabric it knows by its root.

use std::fmt;
use std::time::SystemTime;

use data_encoding::BASE64URL_NOPAD;
use klnet_wire::identity::authority::{IssueError, request};
use klnet_wire::identity::enroll::{EnrollError as ReplyError, EnrollReply, EnrollRequest};
use klnet_wire::identity::{Role, trust::Pin};
use klnet_wire::net::https::{ApiError, Client};

use crate::platform;
use crate::state::{Device, Folder, StateError};

/// What the pasted line says.
#[derive(Debug)]
pub struct Invitation {
    /// Base of the API: `https://HOST[:PORT]`.
    pub server: String,
    /// SHA-256 of the fabric's root certificate: no trust on first use.
    pub root: Pin,
    /// Shown once, and consumed.
    pub token: Token,
    /// What the device is to be called; its host name unless given.
    pub name: Option<String>,
}

/// A token's secret; never printed.
pub struct Token(pub String);

/// Why the device was not enrolled. Nothing was stored.
#[derive(Debug, thiserror::Error)]
pub enum EnrollError {
    /// There is an identity already.
    #[error("this device is enrolled already, as {device} at {server}; --force replaces that identity")]
    Enrolled {
        /// Its identifier.
        device: String,
        /// Its server.
        server: String,
    },
    /// The state folder is not usable.
    #[error(transparent)]
    State(#[from] StateError),
    /// The certificate request was not made.
    #[error(transparent)]
    Request(#[from] IssueError),
    /// The server was not reached, or refuses.
    #[error(transparent)]
    Api(#[from] ApiError),
    /// The server's answer does not pass.
    #[error(transparent)]
    Reply(#[from] ReplyError),
}

/// Enrols the device and stores its identity once everything in the answer is verified.
///
/// # Errors
/// [`EnrollError`]; an identity that exists is kept unless `force`, and until the new one is verified; the key of one that
/// may replace it is always another. After an error that tells of no answer the same invitation may be good still: the
/// same key asks again.
pub async fn enroll(folder: &Folder, invitation: &Invitation, force: bool) -> Result<Device, EnrollError> {
    let _lock = folder.lock()?;
    if folder.is_enrolled() && !force {
        return Err(already(folder)?);
    }
    let key = folder.enrolment_key(force)?;
    let asked = EnrollRequest {
        token: invitation.token.0.clone(),
        request: BASE64URL_NOPAD.encode(&request(&key)?),
        host_name: invitation.name.clone().unwrap_or_else(platform::host_name),
        os: platform::os(),
    };
    let client = Client::pinned(&invitation.server, invitation.root)?;
    let reply: EnrollReply = client.post(PATH, &asked).await?;
    let enrolled = reply.verify(&invitation.root, key.public(), Role::Agent, SystemTime::now())?;
    let device = Device::new(invitation.server.clone(), invitation.name.clone(), &enrolled, key);
    folder.save_keys(&enrolled.keys)?;
    folder.save_servers(&enrolled.servers)?;
    folder.save(&device)?;
    folder.end_enrolment()?;
    #[cfg(unix)]
    folder.give_to_owner()?;
    Ok(device)
}

fn already(folder: &Folder) -> Result<EnrollError, StateError> {
    let device = folder.device()?;
    Ok(EnrollError::Enrolled { device: device.principal.id::<()>().to_string(), server: device.server })
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token([redacted])")
    }
}

/// Where a new device asks.
pub const PATH: &str = "/api/v1/enroll";
