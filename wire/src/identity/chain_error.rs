//! Why a certificate chain does not pass.

use std::time::Duration;

use rustls_pki_types::UnixTime;

use super::role::Role;

/// Why a certificate chain does not pass.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ChainError {
    /// Something in it cannot be read, or it is absurdly long.
    #[error("the certificate chain cannot be read")]
    Malformed,
    /// Its time is over, by this clock.
    #[error("the certificate expired {} ago by this clock", human(*.0))]
    Expired(Duration),
    /// Its time has not come, by this clock.
    #[error("the certificate becomes valid only in {}: this clock is slow, or the issuer's is fast", human(*.0))]
    NotYetValid(Duration),
    /// Its issuer has revoked it.
    #[error("the certificate was revoked")]
    Revoked,
    /// Its issuer's list of revoked certificates is not known.
    #[error("no revocation list of the certificate's issuer is known")]
    NoList,
    /// The list that is known is past its time.
    #[error("the revocation list of the certificate's issuer is out of date since {}", human(*.0))]
    StaleList(Duration),
    /// It does not end in a root of the fabric that is known here.
    #[error("the certificate was not issued by this fabric: {0}")]
    NotIssued(String),
    /// The chain lacks the pinned root.
    #[error("the server does not show the pinned root certificate: wrong server, or wrong --root")]
    NotPinned,
    /// It names nobody we know how to read.
    #[error("the certificate names no principal of a fabric")]
    NoPrincipal,
    /// It is of another fabric.
    #[error("the certificate belongs to another fabric")]
    OtherFabric,
    /// It is another device's than the one that was dialled.
    #[error("the certificate is of another device")]
    OtherDevice,
    /// Its holder is something else.
    #[error("the certificate is of role {is}, which is not accepted here")]
    WrongRole {
        /// The role it has.
        is: Role,
    },
}

impl From<webpki::Error> for ChainError {
    fn from(error: webpki::Error) -> Self {
        let between = |later: UnixTime, earlier: UnixTime| {
            Duration::from_secs(later.as_secs().saturating_sub(earlier.as_secs()))
        };
        match error {
            webpki::Error::CertExpired { time, not_after } => Self::Expired(between(time, not_after)),
            webpki::Error::CertNotValidYet { time, not_before } => {
                Self::NotYetValid(between(not_before, time))
            }
            other => Self::NotIssued(other.to_string()),
        }
    }
}

fn human(duration: Duration) -> String {
    match duration.as_secs() {
        seconds @ 0..=119 => format!("{seconds} s"),
        seconds @ 120..=7199 => format!("{} min", seconds / 60),
        seconds @ 7200..=172_799 => format!("{} h", seconds / 3600),
        seconds => format!("{} days", seconds / 86_400),
    }
}
