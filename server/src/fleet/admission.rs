//! Admission: a secret that was shown once, traded for a certificate by one conditional write.

use std::net::SocketAddr;
use std::time::SystemTime;

use klnet_wire::id::{DeviceId, GroupId, TenantId};
use klnet_wire::identity::authority::{AGENT_LIFE, Leaf, OPERATOR_LIFE, request_key};
use klnet_wire::identity::enroll::{EnrollReply, EnrollRequest};
use klnet_wire::identity::{Principal, Role};
use klnet_wire::signed::PublicKey;
use rustls::pki_types::CertificateDer;

use super::record::{DeviceRecord, OperatorRecord, Pending, TokenRecord};
use super::secret::{Secret, fingerprint};
use super::{Change, Fleet, FleetError, Kind, Stored, keys, names};
use crate::store::Guard;
use crate::unix::seconds;

impl Fleet {
    /// Enrols a device: one use of its token, the device and the audit entry are one commit. Whoever asks again with
    /// the same token and key, because the answer was lost, is given the same certificate.
    ///
    /// # Errors
    /// `Denied` for a token that is unknown, used up or expired, without saying which; `Invalid` for a bad request.
    pub async fn enroll(&self, request: EnrollRequest, from: SocketAddr) -> Result<EnrollReply, FleetError> {
        let secret = Secret::parse(&request.token).ok_or_else(no_token)?;
        let key = key_of(request.request_der())?;
        if let Some(chain) = self.admitted(&secret, &key) {
            return Ok(self.reply(&chain));
        }
        let (tenant, _) = self.usable_token(&secret)?;
        let id = DeviceId::random();
        let leaf = self.leaf(tenant, Role::Agent, *id.as_bytes());
        let (pending, chain) = self.issue(&key, &leaf, secret.hash().to_vec())?;
        // Whoever enrols here waits for their turn; another server may count the same token down at the same time: look
        // again until it is ours or used up.
        let _turn = self.admissions.lock().await;
        for _ in 0..CONTENTION_LIMIT {
            let (_, token) = self.usable_token(&secret)?;
            let device = DeviceRecord {
                name: names::told(&request.host_name),
                os: names::told(&request.os),
                group: token.record.group.clone(),
                key: key.as_bytes().to_vec(),
                enrolled: seconds(SystemTime::now()),
                pending: Some(pending.clone()),
                ..DeviceRecord::default()
            };
            match self.commit(enrolment(tenant, id, &secret, token, &device, &key, from)).await {
                Ok(_) => return Ok(self.reply(&chain)),
                Err(error) if error.kind() == Kind::Conflict => {}
                Err(error) => return Err(error),
            }
        }
        Err(FleetError::new(Kind::Unavailable, "too many devices enrol with this token at once; try again"))
    }

    /// Gives an invited operator their certificate, once.
    ///
    /// # Errors
    /// `Denied` for an invitation that is unknown, used or expired, without saying which; `Invalid` for a bad request.
    pub async fn login(&self, request: EnrollRequest, from: SocketAddr) -> Result<EnrollReply, FleetError> {
        let secret = Secret::parse(&request.token).ok_or_else(no_invitation)?;
        let key = key_of(request.request_der())?;
        let (tenant, id, Stored { record, rev }) = self.invited(&secret.hash()).ok_or_else(no_invitation)?;
        if record.revoked != 0 || record.invited_until < seconds(SystemTime::now()) {
            return Err(no_invitation());
        }
        let leaf = self.leaf(tenant, Role::Operator, *id.as_bytes());
        let (Pending { serial, .. }, chain) = self.issue(&key, &leaf, Vec::new())?;
        let name = record.name.clone();
        let record =
            OperatorRecord { key: key.as_bytes().to_vec(), invitation: Vec::new(), serial, ..record };
        let operator = keys::operator(tenant, id);
        let change = Change::new(tenant, &name, "operator.login", &name)
            .detail("from", from.ip())
            .detail("machine", names::told(&request.host_name))
            .detail("key", fingerprint(&key))
            .guard(Guard::ModRev(operator.clone(), rev))
            .put(operator, &record);
        match self.commit(change).await {
            Err(error) if error.kind() == Kind::Conflict => Err(no_invitation()),
            Err(error) => Err(error),
            Ok(_) => Ok(self.reply(&chain)),
        }
    }

    fn usable_token(&self, secret: &Secret) -> Result<(TenantId, Stored<TokenRecord>), FleetError> {
        let found = self.token(&secret.hash_hex());
        let usable = |token: &TokenRecord| token.uses_left > 0 && token.expires >= seconds(SystemTime::now());
        found.filter(|(_, token)| usable(&token.record)).ok_or_else(no_token)
    }

    /// The certificate that a device was given for this token and key, while it has not used it.
    fn admitted(&self, secret: &Secret, key: &PublicKey) -> Option<Vec<CertificateDer<'static>>> {
        let (tenant, id, record) = self.model().admitted(&secret.hash(), key)?;
        let leaf = self.leaf(tenant, Role::Agent, *id.as_bytes());
        record.pending.filter(|_| record.revoked == 0)?.chain(self.fabric.authority(), &leaf)
    }

    /// What a certificate made now for this holder says.
    pub(super) fn leaf(&self, tenant: TenantId, role: Role, id: [u8; 16]) -> Leaf {
        let life = if role == Role::Agent { AGENT_LIFE } else { OPERATOR_LIFE };
        let fabric = self.fabric.trust().fabric();
        let principal = Principal { fabric, tenant, role, id, serial: Vec::new() };
        Leaf::new(principal, Vec::new(), SystemTime::now(), life)
    }

    /// Issues a certificate, and gives its chain.
    pub(super) fn issue(
        &self,
        key: &PublicKey,
        leaf: &Leaf,
        token: Vec<u8>,
    ) -> Result<(Pending, Vec<CertificateDer<'static>>), FleetError> {
        let authority = self.fabric.authority();
        let issued = Pending::issue(authority, key, leaf, token);
        let pending = issued.map_err(|error| FleetError::invalid(error.to_string()))?;
        let chain = authority.chain_of(CertificateDer::from(pending.leaf.clone()));
        Ok((pending, chain))
    }

    pub(super) fn reply(&self, chain: &[CertificateDer<'_>]) -> EnrollReply {
        EnrollReply::new(chain, self.fabric.signed_keys(), &self.directory.signed())
    }
}

/// The key that a PKCS #10 request is for, and is signed by.
pub(super) fn key_of(request: Option<Vec<u8>>) -> Result<PublicKey, FleetError> {
    let der = request.ok_or_else(|| FleetError::invalid("the certificate request cannot be read"))?;
    request_key(&der).map_err(|error| FleetError::invalid(error.to_string()))
}

fn enrolment(
    tenant: TenantId,
    id: DeviceId,
    secret: &Secret,
    token: Stored<TokenRecord>,
    device: &DeviceRecord,
    key: &PublicKey,
    from: SocketAddr,
) -> Change {
    let (hash, Stored { record, rev }) = (secret.hash_hex(), token);
    let group = GroupId::try_from(record.group.as_slice()).unwrap_or(super::groups::root(tenant));
    let token_key = keys::token(tenant, &hash);
    let change = Change::new(tenant, &format!("token {}", &hash[..16]), "device.enroll", &device.name)
        .detail("device", id)
        .detail("from", from.ip())
        .detail("key", fingerprint(key))
        .guard(Guard::ModRev(token_key.clone(), rev))
        .guard(Guard::Absent(keys::device(tenant, id)))
        .guard(Guard::Present(keys::group(tenant, group)))
        .put(keys::device(tenant, id), device);
    match record.uses_left {
        0 | 1 => change.delete(token_key),
        left => change.put(token_key, &TokenRecord { uses_left: left - 1, ..record }),
    }
}

fn no_token() -> FleetError {
    FleetError::denied(
        "this enrolment token is unknown, used up or expired; ask for a new one: klctl token create",
    )
}

fn no_invitation() -> FleetError {
    FleetError::denied("this invitation is unknown, used or expired; ask for a new one: klctl operator add")
}

/// How often a device tries when others use the same token at the same time.
const CONTENTION_LIMIT: usize = 64;
