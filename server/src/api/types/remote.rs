//! JSON that clients without schemas share with this API, described here. Serde does not compile when fields differ.

use klnet_tunnel::net::request::{GrantReply, GrantRequest};
use klnet_wire::identity::enroll::{EnrollReply, EnrollRequest};
use klnet_wire::identity::renew::RenewRequest;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What a new device or an invited operator asks.
#[derive(Deserialize, JsonSchema)]
#[serde(transparent)]
#[schemars(inline)]
pub struct Enroll(#[serde(with = "EnrollRequestFields")] pub EnrollRequest);

/// What they are given.
#[derive(Serialize, JsonSchema)]
#[serde(transparent)]
#[schemars(inline)]
pub struct Enrolled(#[serde(with = "EnrollReplyFields")] pub EnrollReply);

/// What the holder of a certificate asks who wants the next one.
#[derive(Deserialize, JsonSchema)]
#[serde(transparent)]
#[schemars(inline)]
pub struct Renew(#[serde(with = "RenewRequestFields")] pub RenewRequest);

/// Asks for a tunnel.
#[derive(Deserialize, JsonSchema)]
#[serde(transparent)]
#[schemars(inline)]
pub struct AskGrant(#[serde(with = "GrantRequestFields")] pub GrantRequest);

/// The tunnel that was granted.
#[derive(Serialize, JsonSchema)]
#[serde(transparent)]
#[schemars(inline)]
pub struct Granted(#[serde(with = "GrantReplyFields")] pub GrantReply);

/// What a new device or an invited operator asks.
#[derive(Serialize, Deserialize, JsonSchema)]
#[serde(remote = "EnrollRequest", deny_unknown_fields)]
#[schemars(rename = "EnrollRequest")]
struct EnrollRequestFields {
    /// The token, or the secret of the invitation.
    token: String,
    /// PKCS #10 request in DER, base64url.
    request: String,
    /// Host name of the device, or of the operator's machine.
    host_name: String,
    /// Its operating system.
    os: String,
}

/// What the holder of a certificate asks who wants the next one.
#[derive(Serialize, Deserialize, JsonSchema)]
#[serde(remote = "RenewRequest", deny_unknown_fields)]
#[schemars(rename = "RenewRequest")]
struct RenewRequestFields {
    /// The certificate to renew, and what issued it: DER, base64url. A device's may have ended 180 days ago.
    chain: Vec<String>,
    /// PKCS #10 request in DER, base64url, for the same key and signed by it.
    request: String,
}

/// What a new device or an invited operator is given.
#[derive(Serialize, Deserialize, JsonSchema)]
#[serde(remote = "EnrollReply")]
#[schemars(rename = "EnrollReply")]
struct EnrollReplyFields {
    /// Leaf, authority, root: DER, base64url.
    chain: Vec<String>,
    /// Signed key set, base64url.
    keys: String,
    /// Signed server list, base64url.
    servers: String,
}

/// Asks for a tunnel.
#[derive(Serialize, Deserialize, JsonSchema)]
#[serde(remote = "GrantRequest", deny_unknown_fields)]
#[schemars(rename = "GrantRequest")]
struct GrantRequestFields {
    /// The device: its id, or its name.
    device: String,
    /// The port to reach.
    port: u16,
    /// The host to reach from the device; absent for the device itself.
    #[serde(default)]
    host: Option<String>,
    /// The operator who will redeem it, by name; absent for the one who asks.
    #[serde(default)]
    r#for: Option<String>,
    /// That operator's public key: a P-256 point in base64url; absent for the one in their certificate.
    #[serde(default)]
    cnf: Option<String>,
}

/// The tunnel that was granted.
#[derive(Serialize, Deserialize, JsonSchema)]
#[serde(remote = "GrantReply")]
#[schemars(rename = "GrantReply")]
struct GrantReplyFields {
    /// The grant's id.
    grant: String,
    /// The device's id.
    device: String,
    /// The blob `klt1.…`.
    blob: String,
    /// The session must have begun by then.
    expires: u64,
    /// The session ends this many seconds after it began.
    session_seconds: u64,
}
