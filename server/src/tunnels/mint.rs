//! Minting a grant: whether this operator may, whether the device is there, and the same signed bytes to everyone.

use std::num::NonZeroU16;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use klnet_tunnel::blob::Blob;
use klnet_tunnel::grant::{DEFAULT_CONNECTIONS, Grant, Host, ORPHAN_LIMIT, START_LIMIT};
use klnet_tunnel::label::LabelSecret;
use klnet_tunnel::net::relay::{AdmitFailure, Stopped};
use klnet_tunnel::net::request::{GrantReply, GrantRequest};
use klnet_tunnel::relay::{AdmitError, Scope, Whose};
use klnet_wire::id::{GrantId, OperatorId};
use klnet_wire::message::Message;
use klnet_wire::signed::{PublicKey, Signed};
use ring::rand::{SecureRandom, SystemRandom};
use tokio::time::timeout;

use super::{Tunnels, target_of};
use crate::fleet::record::GrantRecord;
use crate::fleet::{Caller, Change, Device, FleetError, Kind, OperatorRole, keys};
use crate::metrics::Why;
use crate::unix::seconds;

impl Tunnels {
    /// Grants an operator a tunnel, and gives the blob that redeems it.
    ///
    /// # Errors
    /// `Denied` by roles or by the device's own policy, `NotFound` device, `Unavailable` while it is offline, `Limit`.
    pub async fn grant(&self, by: &Caller, request: &GrantRequest) -> Result<GrantReply, FleetError> {
        let granted = self.try_grant(by, request).await;
        match &granted {
            Ok(_) => drop(self.metrics.grants.inc()),
            Err(error) => {
                self.metrics.grants_refused.get_or_create(&Why { why: why(error.kind()) }).inc();
                self.audit_refusal(by, request, error).await;
            }
        }
        granted
    }

    async fn try_grant(&self, by: &Caller, request: &GrantRequest) -> Result<GrantReply, FleetError> {
        let (host, port) = target(request)?;
        may(by, &host, port)?;
        let (operator, cnf) = self.redeemer(by, request)?;
        let device = self.fleet.device(by.tenant, &request.device)?;
        if device.revoked.is_some() {
            return Err(FleetError::denied(format!("device {} was revoked", device.name)));
        }
        let epoch = self.sessions.epoch(device.id).ok_or_else(|| offline(&device))?;
        let grant = Grant {
            id: GrantId::random(),
            tenant: by.tenant,
            device: device.id,
            host,
            port,
            cnf,
            operator,
            audience: self.fabric.server(),
            route: Vec::new(),
            epoch,
            start: START_LIMIT,
            session: self.config.tunnel_session,
            idle: self.config.tunnel_idle,
            orphan: ORPHAN_LIMIT,
            rate: None,
            connections: DEFAULT_CONNECTIONS,
            issued: seconds(SystemTime::now()),
        };
        self.commit_intent(by, &device, &grant).await?;
        let _opening = self.books.opening(grant.tenant, grant.id, grant.device);
        let signed = self.fabric.sign_grant(grant.encode());
        let secret = fresh_secret();
        self.admit(&device, &grant, &signed, &secret).await?;
        if let Err(revoked) = self.still_may(by, &grant) {
            return Err(self.forget(&grant, revoked).await);
        }
        self.reply(&device, grant, signed, secret)
    }

    /// The intent is stored before anyone hears of the grant, and only while device and operators are not revoked.
    async fn commit_intent(&self, by: &Caller, device: &Device, grant: &Grant) -> Result<(), FleetError> {
        // A device that has just come with its first certificate is stored anew at the same time.
        self.fleet.commit_anew(|| self.intent(by, device, grant)).await
    }

    fn intent(&self, by: &Caller, device: &Device, grant: &Grant) -> Result<Change, FleetError> {
        let record = GrantRecord { device: grant.device.to_vec(), killed: false };
        let change = Change::new(by.tenant, &by.name, "tunnel.grant", &device.name)
            .detail("grant", grant.id)
            .detail("device", grant.device)
            .detail("target", target_of(grant))
            .detail("for", self.fleet.operator(by.tenant, &grant.operator.to_string())?.name)
            .put(keys::grant(grant.tenant, grant.id), &record)
            .put(keys::open(grant.tenant, grant.id), &record)
            .guard(self.fleet.device_unchanged(by.tenant, grant.device)?)
            .guard(self.fleet.operator_unchanged(by.tenant, by.operator)?);
        match grant.operator == by.operator {
            true => Ok(change),
            false => Ok(change.guard(self.fleet.operator_unchanged(by.tenant, grant.operator)?)),
        }
    }

    /// Gives the same signed bytes to the relay and to the device, and waits for the device's word.
    async fn admit(
        &self,
        device: &Device,
        grant: &Grant,
        signed: &Signed,
        secret: &LabelSecret,
    ) -> Result<(), FleetError> {
        let now = seconds(SystemTime::now());
        let mut asked = self.answers.ask(grant.id, grant.device);
        // GRANT goes first, so that the OPEN which admission asks for finds it at the device.
        self.sessions
            .send(grant.device, Some(grant.epoch), Message::Grant(signed.clone()))
            .map_err(|error| FleetError::new(Kind::Unavailable, error.to_string()))?;
        let admitted = self.relay.admit(now, Arc::new(grant.clone()), secret.clone()).await;
        if let Err(error) = admitted {
            let refused = self.not_admitted(device, grant, error);
            return Err(self.forget(grant, refused).await);
        }
        let refused = match timeout(ANSWER_TIMEOUT, asked.answer()).await {
            Ok(Some(Ok(()))) => return Ok(()),
            Ok(Some(Err(reason))) => FleetError::denied(format!("the device refuses: {reason}")),
            Ok(None) | Err(_) => FleetError::new(Kind::Unavailable, SILENT),
        };
        Err(self.forget(grant, refused).await)
    }

    /// Says which limit it was, and whose, so that the operator knows what to close or whom to ask.
    fn not_admitted(&self, device: &Device, grant: &Grant, failure: AdmitFailure) -> FleetError {
        let limits = self.config.limits.relay();
        let (what, whose, limit) = match failure {
            AdmitFailure::Stopped(error) => return stopped(error),
            AdmitFailure::Refused(AdmitError::TooMany(whose)) => ("grants", whose, limits.grants_of(whose)),
            AdmitFailure::Refused(AdmitError::Crowded(whose)) => {
                ("connections", whose, limits.connections_of(whose))
            }
            AdmitFailure::Refused(refused) => {
                return FleetError::new(Kind::Unavailable, format!("the relay refuses: {refused}"));
            }
        };
        self.metrics.limited(what, whose);
        let name = match whose {
            Whose::Device => format!("device {}", device.name),
            Whose::Operator => format!("operator {}", self.operator_name(grant.tenant, grant.operator)),
            Whose::Tenant => "the tenant".to_owned(),
            Whose::Relay => "the relay".to_owned(),
        };
        FleetError::new(Kind::Limit, format!("{name} has reached the limit of live {what}: {limit}"))
    }

    /// A revocation after the intent was stored may have reached the relay before the grant did. One that the model
    /// does not show yet will reach it after.
    fn still_may(&self, by: &Caller, grant: &Grant) -> Result<(), FleetError> {
        if self.fleet.is_denied(grant.tenant, grant.device) {
            return Err(FleetError::denied("the device was revoked meanwhile"));
        }
        let operators = [by.operator, grant.operator];
        let revoked = operators.iter().any(|operator| {
            let operator = self.fleet.operator(grant.tenant, &operator.to_string());
            operator.is_ok_and(|operator| operator.revoked.is_some())
        });
        match revoked {
            true => Err(FleetError::denied("the operator was revoked meanwhile")),
            false => Ok(()),
        }
    }

    /// Takes back a grant that did not come to be, at the relay and at the device.
    async fn forget(&self, grant: &Grant, error: FleetError) -> FleetError {
        self.revoke_at(grant.device, &[grant.id], "the grant was taken back");
        match self.relay.revoke(Scope::Grant(grant.id)).await {
            Ok(()) => error,
            Err(stopped) => self::stopped(stopped),
        }
    }

    fn reply(
        &self,
        device: &Device,
        grant: Grant,
        signed: Signed,
        secret: LabelSecret,
    ) -> Result<GrantReply, FleetError> {
        let announced = self.directory.announced();
        let relay = announced.hosts.first().and_then(|host| Host::parse(host).ok());
        let relay = relay
            .ok_or_else(|| FleetError::new(Kind::Unavailable, "this server's own host name is unusable"))?;
        let agent = self.fleet.device_key(device.tenant, device.id).ok_or_else(|| offline(device))?;
        let (id, session) = (grant.id, grant.session);
        let expires = grant.issued + grant.start.as_secs();
        let ports = announced.tunnel_ports.clone();
        let blob = Blob { signed, grant, relay, ports, secret, agent, expires };
        Ok(GrantReply {
            grant: id.to_string(),
            device: device.id.to_string(),
            blob: blob.to_string(),
            expires,
            session_seconds: session.as_secs(),
        })
    }

    /// Who will redeem the grant, and the key by which the device will know them.
    fn redeemer(&self, by: &Caller, request: &GrantRequest) -> Result<(OperatorId, PublicKey), FleetError> {
        let operator = match &request.r#for {
            None => by.operator,
            Some(name) => {
                let operator = self.fleet.operator(by.tenant, name)?;
                if operator.id != by.operator && !by.roles.allow(OperatorRole::Administrator) {
                    return Err(FleetError::denied("only administrators grant tunnels to other operators"));
                }
                if operator.revoked.is_some() {
                    return Err(FleetError::denied(format!("operator {name} was revoked")));
                }
                operator.id
            }
        };
        let enrolled = self.fleet.operator_key(by.tenant, operator);
        let enrolled = enrolled.ok_or_else(|| FleetError::invalid("that operator has not logged in yet"))?;
        match &request.cnf {
            Some(cnf) if data_encoding::BASE64URL_NOPAD.encode(enrolled.as_bytes()) != *cnf => {
                Err(FleetError::denied("the key is not the one in the operator's certificate"))
            }
            _ => Ok((operator, enrolled)),
        }
    }

    async fn audit_refusal(&self, by: &Caller, request: &GrantRequest, error: &FleetError) {
        let subject = crate::fleet::told(&request.device);
        let change = Change::new(by.tenant, &by.name, "tunnel.refused", subject)
            .detail("port", request.port)
            .detail("host", crate::fleet::told(request.host.as_deref().unwrap_or("")))
            .detail("reason", crate::fleet::told(&error.to_string()));
        if let Err(error) = self.fleet.note(change).await {
            tracing::warn!(%error, "a refused grant could not be audited");
        }
    }
}

fn target(request: &GrantRequest) -> Result<(Host, NonZeroU16), FleetError> {
    let port = NonZeroU16::new(request.port).ok_or_else(|| FleetError::invalid("port 0 is no port"))?;
    let host = match &request.host {
        None => Host::Device,
        Some(host) => Host::parse(host).map_err(|error| FleetError::invalid(error.to_string()))?,
    };
    Ok((host, port))
}

fn may(by: &Caller, host: &Host, port: NonZeroU16) -> Result<(), FleetError> {
    let needed = match host {
        Host::Device if port.get() == RDP_PORT => &[OperatorRole::Rdp][..],
        Host::Device => &[OperatorRole::Tunnel],
        _ if port.get() == RDP_PORT => &[OperatorRole::TunnelHosts, OperatorRole::Rdp],
        _ => &[OperatorRole::TunnelHosts],
    };
    match needed.iter().find(|role| !by.roles.allow(**role)) {
        None => Ok(()),
        Some(role) => {
            Err(FleetError::denied(format!("this needs the role {role}, which {} does not have", by.name)))
        }
    }
}

fn offline(device: &Device) -> FleetError {
    let seen = device.presence.last_seen.and_then(|seen| seen.elapsed().ok());
    let seen = seen.map_or("never seen".to_owned(), |ago| format!("last seen {} s ago", ago.as_secs()));
    let why = device.presence.ended.as_ref().map_or(String::new(), |why| format!("; {why}"));
    FleetError::new(Kind::Unavailable, format!("device {} is offline: {seen}{why}", device.name))
}

pub(super) fn stopped(error: Stopped) -> FleetError {
    FleetError::new(Kind::Unavailable, error.to_string())
}

fn fresh_secret() -> LabelSecret {
    let mut secret = [0; 32];
    SystemRandom::new().fill(&mut secret).expect("the operating system gives randomness");
    LabelSecret::new(secret)
}

const fn why(kind: Kind) -> &'static str {
    match kind {
        Kind::NotFound => "not found",
        Kind::Conflict => "conflict",
        Kind::Denied | Kind::Superseded => "denied",
        Kind::Invalid => "invalid",
        Kind::Limit => "limit",
        Kind::Unavailable => "unavailable",
    }
}

/// Remote Desktop Protocol, as registered with IANA.
const RDP_PORT: u16 = 3389;
/// How long a device may take to take a grant.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);
const SILENT: &str = "the device did not answer in time";
