//! Renewal: a certificate, and proof of its key, traded for the next certificate of the same key.
//!
//! Nothing here needs a TLS handshake with the old certificate, so an expired one opens no other door.

use std::time::Duration;

use data_encoding::BASE64URL_NOPAD;
use rustls_pki_types::{CertificateDer, UnixTime};
use serde::{Deserialize, Serialize};

use super::authority::{IssueError, request};
use super::enroll::{EnrollError, REQUEST_LIMIT, certificates};
use super::role::{Principal, Role};
use super::tls::Identity;
use super::trust::{Trust, Validity};

/// What the holder of a certificate sends: `POST /api/v1/renew`. The answer has the form of enrolment's.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RenewRequest {
    /// The certificate to renew, and what issued it: DER, base64url.
    pub chain: Vec<String>,
    /// PKCS #10 request in DER, base64url, for the same key and signed by it.
    pub request: String,
}

impl RenewRequest {
    /// Asks for the next certificate of `identity`.
    ///
    /// # Errors
    /// [`IssueError`] when the request cannot be built.
    pub fn new(identity: &Identity) -> Result<Self, IssueError> {
        let chain = identity.chain.iter().map(|certificate| BASE64URL_NOPAD.encode(certificate));
        Ok(Self { chain: chain.collect(), request: BASE64URL_NOPAD.encode(&request(&identity.key)?) })
    }

    /// The PKCS #10 request; `None` when it is not base64url or longer than [`REQUEST_LIMIT`].
    pub fn request_der(&self) -> Option<Vec<u8>> {
        let decoded = BASE64URL_NOPAD.decode(self.request.as_bytes()).ok()?;
        (decoded.len() <= REQUEST_LIMIT).then_some(decoded)
    }

    /// Whom the certificate names, if `trust` vouches for it and it may still be renewed at `now`.
    ///
    /// # Errors
    /// [`EnrollError`] says what is wrong with it.
    pub fn holder(&self, trust: &Trust, now: UnixTime) -> Result<Principal, EnrollError> {
        let chain = self.chain()?;
        let principal = trust.verify_lapsed(&chain, &[Role::Agent, Role::Operator], now, RENEWAL_GRACE)?;
        // A person who was away for so long is invited again.
        if principal.role == Role::Operator {
            trust.verify(&chain, &[Role::Operator], now)?;
        }
        Ok(principal)
    }

    fn chain(&self) -> Result<Vec<CertificateDer<'static>>, EnrollError> {
        certificates(&self.chain)
    }
}

impl Validity {
    /// When a certificate is renewed, Unix seconds: at two thirds of its life, earlier or later by up to a thirtieth
    /// of it. `place` from 0 to 1 says where in between, so that a fleet enrolled in one hour does not return in one.
    pub fn renewal(&self, place: f64) -> u64 {
        let life = Duration::from_secs(self.not_after.saturating_sub(self.not_before));
        let spread = life / 15;
        let after = life * 2 / 3 + spread.mul_f64(place.clamp(0.0, 1.0)) - spread / 2;
        self.not_before.saturating_add(after.as_secs())
    }

    /// Whether the time is over at `unix` seconds.
    pub const fn is_over(&self, unix: u64) -> bool {
        unix > self.not_after
    }
}

/// How long after its end an agent's certificate may still be renewed: half a year in a drawer.
pub const RENEWAL_GRACE: Duration = Duration::from_secs(180 * 86_400);

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use super::*;
    use crate::id::{Id, TenantId};
    use crate::identity::authority::{AGENT_LIFE, Authority, Leaf, make_root};
    use crate::identity::enroll::unix;
    use crate::identity::trust::ChainError;
    use crate::signing::SigningKey;

    #[test]
    fn an_agent_may_renew_until_180_days_after_the_end_and_an_operator_until_the_end() {
        let (authority, start) = (authority(), SystemTime::now());
        for (role, grace) in [(Role::Agent, RENEWAL_GRACE), (Role::Operator, Duration::ZERO)] {
            let asked = RenewRequest::new(&identity(&authority, role, start)).unwrap();
            let holder = |after: Duration| asked.holder(authority.trust(), unix(start + after));
            assert_eq!(holder(Duration::ZERO).unwrap().role, role);
            assert!(holder(AGENT_LIFE + grace).is_ok(), "{role}: until the last second");
            let late = holder(AGENT_LIFE + grace + Duration::from_secs(2));
            assert!(matches!(late, Err(EnrollError::Chain(ChainError::Expired(_)))), "{role}: {late:?}");
        }
    }

    #[test]
    fn a_server_or_a_stranger_renews_nothing() {
        let (ours, theirs, now) = (authority(), authority(), SystemTime::now());
        let server = RenewRequest::new(&identity(&ours, Role::Server, now)).unwrap();
        assert!(server.holder(ours.trust(), unix(now)).is_err());
        let stranger = RenewRequest::new(&identity(&theirs, Role::Agent, now)).unwrap();
        assert!(stranger.holder(ours.trust(), unix(now)).is_err());
    }

    #[test]
    fn a_fleet_renews_spread_over_six_days_around_day_sixty() {
        const DAY: u64 = 86_400;
        let validity = Validity { not_before: 1000, not_after: 1000 + 90 * DAY };
        assert_eq!(
            [0.0, 0.5, 1.0].map(|place| validity.renewal(place)),
            [57, 60, 63].map(|day| 1000 + day * DAY)
        );
    }

    fn identity(authority: &Authority, role: Role, now: SystemTime) -> Identity {
        let (fabric, key) = (authority.trust().fabric(), SigningKey::generate_p256());
        let id = *Id::<()>::random().as_bytes();
        let principal = Principal { fabric, tenant: TenantId::random(), role, id, serial: Vec::new() };
        let leaf = Leaf::new(principal, Vec::new(), now, AGENT_LIFE);
        Identity { chain: authority.issue(key.public(), &leaf).unwrap(), key }
    }

    fn authority() -> Authority {
        let (root_key, now) = (SigningKey::generate_p256(), SystemTime::now());
        let trust = make_root(&root_key, now).unwrap();
        Authority::make(trust, &root_key, SigningKey::generate_p256(), now).unwrap()
    }
}
