//! Asking the server for a grant: the JSON of `POST /api/v1/grants`, the same types at both ends.

use serde::{Deserialize, Serialize};

/// What an operator asks for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GrantRequest {
    /// The device: its id in 32 hexadecimal digits, or its name.
    pub device: String,
    /// The port to reach.
    pub port: u16,
    /// The host to reach from the device; absent for the device itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host: Option<String>,
    /// The operator who will redeem it, by name; absent for the one who asks.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub r#for: Option<String>,
    /// The public key of the operator who will redeem it: a P-256 point of 65 bytes in base64url without padding.
    /// Absent for the key in that operator's certificate; when present it must be that key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cnf: Option<String>,
}

/// What the server answers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GrantReply {
    /// The grant's id in 32 hexadecimal digits.
    pub grant: String,
    /// The device's id in 32 hexadecimal digits.
    pub device: String,
    /// The blob: `klt1.…`.
    pub blob: String,
    /// The session must have begun by then: Unix seconds, by the server's clock.
    pub expires: u64,
    /// The session ends this many seconds after it began.
    pub session_seconds: u64,
}

/// Where grants are asked for.
pub const PATH: &str = "/api/v1/grants";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_names_only_what_it_asks_for() {
        let request = GrantRequest { device: "web-7".into(), port: 22, host: None, r#for: None, cnf: None };
        let text = serde_json::to_string(&request).unwrap();
        assert_eq!(text, r#"{"device":"web-7","port":22}"#);
        assert_eq!(serde_json::from_str::<GrantRequest>(&text).unwrap(), request);
    }

    #[test]
    fn a_request_with_an_unknown_field_is_refused() {
        assert!(serde_json::from_str::<GrantRequest>(r#"{"device":"x","port":1,"ports":2}"#).is_err());
    }
}
