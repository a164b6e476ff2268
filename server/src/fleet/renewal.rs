//! Renewal: a certificate and proof of its key, traded for the next one by one conditional write.

use std::net::SocketAddr;
use std::time::SystemTime;

use klnet_wire::id::{DeviceId, OperatorId, TenantId};
use klnet_wire::identity::authority::{AGENT_LIFE, Leaf, issued_at};
use klnet_wire::identity::enroll::{EnrollReply, unix};
use klnet_wire::identity::renew::RenewRequest;
use klnet_wire::identity::{Principal, Role};
use klnet_wire::signed::PublicKey;
use rustls::pki_types::CertificateDer;

use super::admission::key_of;
use super::certificate::Use;
use super::record::{DeviceRecord, OperatorRecord, Pending};
use super::{Change, Fleet, FleetError, Kind, Stored, keys};
use crate::store::Guard;
use crate::unix::seconds;

/// What the store holds of a holder's certificates.
struct Held<'a> {
    key: &'a [u8],
    revoked: u64,
    serial: &'a [u8],
    pending: Option<&'a Pending>,
}

/// What is to be stored.
struct Next {
    serial: Vec<u8>,
    pending: Pending,
    chain: Vec<CertificateDer<'static>>,
}

impl Fleet {
    /// Renews the certificate of a device or an operator. Whoever asks again with the same certificate, because the
    /// answer was lost, is given the same one.
    ///
    /// # Errors
    /// `Denied` for a certificate that is not of this fabric, too old, not the newest, of another key, or of one who
    /// is revoked or not known; `Invalid` for a bad request.
    pub async fn renew(&self, request: &RenewRequest, from: SocketAddr) -> Result<EnrollReply, FleetError> {
        let holder = request.holder(self.fabric.ever(), unix(SystemTime::now()));
        let holder = holder.map_err(|error| FleetError::denied(error.to_string()))?;
        let key = key_of(request.request_der())?;
        // Its own change of group, or a reply that was lost, may come between.
        for _ in 0..CONTENTION_LIMIT {
            let renewed = match holder.role {
                Role::Agent => self.renew_device(&holder, &key, from).await,
                _ => self.renew_operator(&holder, &key, from).await,
            };
            match renewed {
                Err(error) if error.kind() == Kind::Conflict => {}
                renewed => return Ok(self.reply(&renewed?)),
            }
        }
        Err(FleetError::new(Kind::Unavailable, "too much changes at once; try again"))
    }

    async fn renew_device(
        &self,
        holder: &Principal,
        key: &PublicKey,
        from: SocketAddr,
    ) -> Result<Vec<CertificateDer<'static>>, FleetError> {
        let (tenant, id): (TenantId, DeviceId) = (holder.tenant, holder.id());
        let stored = self.model().devices.get(&(tenant, id)).cloned();
        let Stored { record, rev } =
            stored.ok_or_else(|| FleetError::denied("this device is not known here"))?;
        let (serial, pending) = (record.serial.as_slice(), record.pending.as_ref());
        let held = Held { key: &record.key, revoked: record.revoked, serial, pending };
        let Some(Next { serial, pending, chain }) = self.next(&held, holder, key)? else {
            return self.given_again(&held, holder);
        };
        let place = keys::device(tenant, id);
        let record = DeviceRecord { serial, pending: Some(pending), ..record };
        let change = Change::new(tenant, &format!("device {}", record.name), "device.renew", &record.name)
            .detail("device", id)
            .detail("from", from.ip())
            .guard(Guard::ModRev(place.clone(), rev))
            .put(place, &record);
        self.commit(change).await.map(|_| chain)
    }

    async fn renew_operator(
        &self,
        holder: &Principal,
        key: &PublicKey,
        from: SocketAddr,
    ) -> Result<Vec<CertificateDer<'static>>, FleetError> {
        let (tenant, id): (TenantId, OperatorId) = (holder.tenant, holder.id());
        let stored = self.model().operators.get(&(tenant, id)).cloned();
        let Stored { record, rev } =
            stored.ok_or_else(|| FleetError::denied("this operator is not known here"))?;
        let (serial, pending) = (record.serial.as_slice(), record.pending.as_ref());
        let held = Held { key: &record.key, revoked: record.revoked, serial, pending };
        let Some(Next { serial, pending, chain }) = self.next(&held, holder, key)? else {
            return self.given_again(&held, holder);
        };
        let place = keys::operator(tenant, id);
        let record = OperatorRecord { serial, pending: Some(pending), ..record };
        let change = Change::new(tenant, &record.name, "operator.renew", &record.name)
            .detail("from", from.ip())
            .guard(Guard::ModRev(place.clone(), rev))
            .put(place, &record);
        self.commit(change).await.map(|_| chain)
    }

    /// The certificate to store and give; `None` when one was issued already that was not used yet.
    fn next(&self, held: &Held<'_>, holder: &Principal, key: &PublicKey) -> Result<Option<Next>, FleetError> {
        if held.revoked != 0 {
            return Err(FleetError::denied(format!("this {} was revoked", who(holder))));
        }
        if held.key != key.as_bytes() {
            return Err(FleetError::denied("the request is not for the key of this certificate"));
        }
        let serial = match Use::of(&holder.serial, held.serial, held.pending) {
            Use::Superseded => return Err(superseded(holder)),
            Use::First => holder.serial.clone(),
            Use::Known if self.unused(held, holder).is_some() => return Ok(None),
            Use::Known => held.serial.to_vec(),
        };
        let leaf = self.leaf_of(holder);
        let (pending, chain) = self.issue(key, &leaf, Vec::new())?;
        Ok(Some(Next { serial, pending, chain }))
    }

    fn given_again(
        &self,
        held: &Held<'_>,
        holder: &Principal,
    ) -> Result<Vec<CertificateDer<'static>>, FleetError> {
        // Its time may just have come.
        self.unused(held, holder).ok_or_else(|| FleetError::new(Kind::Conflict, "the certificate ages"))
    }

    fn unused(&self, held: &Held<'_>, holder: &Principal) -> Option<Vec<CertificateDer<'static>>> {
        held.pending?.chain(self.fabric.authority(), &self.leaf_of(holder))
    }

    fn leaf_of(&self, holder: &Principal) -> Leaf {
        self.leaf(holder.tenant, holder.role, holder.id)
    }

    /// A device has shown a certificate for the first time: from now on it is the newest, and the one before is
    /// worth nothing.
    ///
    /// # Errors
    /// `Unavailable` when that cannot be stored; the device may come all the same, and it is stored next time.
    pub async fn certificate_used(&self, holder: &Principal) -> Result<(), FleetError> {
        let (tenant, id): (TenantId, DeviceId) = (holder.tenant, holder.id());
        let first = |stored: &&Stored<DeviceRecord>| {
            let DeviceRecord { serial, pending, .. } = &stored.record;
            Use::of(&holder.serial, serial, pending.as_ref()) == Use::First
        };
        let unused = self.model().devices.get(&(tenant, id)).filter(first).cloned();
        let Some(Stored { record, rev }) = unused else { return Ok(()) };
        let place = keys::device(tenant, id);
        let superseded = superseded_by(&holder.serial, &record);
        let record = DeviceRecord { serial: holder.serial.clone(), pending: None, superseded, ..record };
        let change =
            Change::new(tenant, &format!("device {}", record.name), "device.certificate", &record.name)
                .detail("device", id)
                .guard(Guard::ModRev(place.clone(), rev))
                .put(place, &record);
        self.commit(change).await.map(drop)
    }
}

/// Why a certificate is refused that was replaced.
pub(super) fn superseded(holder: &Principal) -> FleetError {
    let message = format!(
        "this certificate was replaced by a newer one that is in use: this {} is a copy, or its disk was set back",
        who(holder)
    );
    FleetError::new(Kind::Superseded, message)
}

/// Certificates of a device that were good until it used this one, and have not ended.
fn superseded_by(used: &[u8], record: &DeviceRecord) -> Vec<Vec<u8>> {
    let pending = record.pending.iter().map(|pending| &pending.serial);
    let known = record.superseded.iter().chain([&record.serial]).chain(pending);
    let ends = |serial: &[u8]| issued_at(serial).saturating_add(AGENT_LIFE.as_secs());
    let now = seconds(SystemTime::now());
    let superseded = known.filter(|serial| !serial.is_empty() && serial.as_slice() != used);
    superseded.filter(|serial| ends(serial) >= now).cloned().collect()
}

const fn who(holder: &Principal) -> &'static str {
    match holder.role {
        Role::Agent => "device",
        _ => "operator's profile",
    }
}

/// How often it is tried when something else changes at the same time.
const CONTENTION_LIMIT: usize = 16;
