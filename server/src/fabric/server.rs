//! The server's own certificate, and the reserve that takes its place while the server runs.
//!
//! ```text
//! made ──────────── 307 days ────────────▶ reserve made ── 60 days ──▶ the reserve is shown ── 30 days ──▶ end
//! ```
//! Both end in the fabric's root, so whoever verifies one verifies the other; no restart, and nobody is told. The days
//! before the reserve is shown are those in which a missing authority or a full disk is noticed and nothing is lost.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use data_encoding::HEXLOWER;
use klnet_wire::identity::authority::{Leaf, SERVER_LIFE};
use klnet_wire::identity::enroll::unix;
use klnet_wire::identity::pem::{identity_from_pem, identity_to_pem};
use klnet_wire::identity::tls::{Identity, Shown};
use klnet_wire::identity::trust::Validity;
use klnet_wire::identity::{Principal, Role};
use klnet_wire::signing::SigningKey;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::{Fabric, FabricError, read_as, write};
use crate::unix::seconds;

/// What is to be done about the certificate now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Due {
    Nothing,
    /// A reserve is to be made.
    Reserve,
    /// The reserve is to be shown.
    Succession,
    /// There is nothing good: a new one is to be made and shown.
    Replacement,
}

impl Due {
    fn at(now: u64, current: Option<Validity>, reserve: Option<Validity>) -> Self {
        let good = |validity: &Validity| (validity.not_before..=validity.not_after).contains(&now);
        let left = |validity: Validity| Duration::from_secs(validity.not_after.saturating_sub(now));
        match (current.filter(good), reserve.filter(good)) {
            (None, None) => Self::Replacement,
            (None, Some(_)) => Self::Succession,
            (Some(current), None) if left(current) <= RESERVE_BEFORE => Self::Reserve,
            (Some(current), Some(_)) if left(current) <= SUCCESSION_BEFORE => Self::Succession,
            (Some(_), _) => Self::Nothing,
        }
    }
}

impl Fabric {
    /// The certificate to show for these host names now. What is due is done first: a reserve is made, takes its place,
    /// or a new certificate is made because the stored one is for other names or its time is not now.
    ///
    /// # Errors
    /// [`FabricError`] when a new one cannot be made or written.
    pub fn server_identity(&self, hosts: &[String], now: SystemTime) -> Result<Identity, FabricError> {
        if !self.is_made_for(hosts) {
            self.discard(RESERVE)?;
            self.make(CURRENT, hosts, now)?;
            write(&self.folder, HOSTS, hosts.join("\n").as_bytes())?;
        }
        let (current, reserve) = (self.stored(CURRENT), self.stored(RESERVE));
        let validity = |identity: &Option<Identity>| Validity::of(identity.as_ref()?.chain.first()?).ok();
        match (Due::at(seconds(now), validity(&current), validity(&reserve)), current) {
            (Due::Nothing, Some(current)) => Ok(current),
            (Due::Reserve, Some(current)) => {
                // What is shown is good for a long time yet.
                if let Err(error) = self.make(RESERVE, hosts, now) {
                    warn!(%error, "a reserve of the server's certificate is not made; it is tried again");
                }
                Ok(current)
            }
            (Due::Succession, _) => {
                let (from, to) = (self.folder.join(RESERVE), self.folder.join(CURRENT));
                fs::rename(&from, to).map_err(|error| FabricError::Io { path: from, error })?;
                self.stored(CURRENT).map_or_else(|| self.make(CURRENT, hosts, now), Ok)
            }
            _ => self.make(CURRENT, hosts, now),
        }
    }

    /// Revokes the certificate that is shown and its reserve: whoever has their keys is refused wherever the next
    /// revocation list comes. A running server shows another one once it is reloaded.
    ///
    /// # Errors
    /// What the file system says.
    pub fn revoke_server(folder: &Path) -> Result<Vec<String>, FabricError> {
        let fabric = Self::load(folder)?;
        let mut serials = fabric.revoked_servers.clone();
        let shown = [CURRENT, RESERVE].map(|name| fabric.stored(name));
        let shown =
            shown.iter().flatten().filter_map(|identity| Principal::named_in(identity.chain.first()?));
        let newly: Vec<_> = shown.map(|principal| principal.serial).collect();
        serials.extend(newly.iter().cloned());
        let lines: Vec<_> = serials.iter().map(|serial| HEXLOWER.encode(serial)).collect();
        write(folder, REVOKED, (lines.join("\n") + "\n").as_bytes())?;
        for name in [CURRENT, RESERVE] {
            fabric.discard(name)?;
        }
        Ok(newly.iter().map(|serial| HEXLOWER.encode(serial)).collect())
    }

    fn is_made_for(&self, hosts: &[String]) -> bool {
        fs::read_to_string(self.folder.join(HOSTS)).is_ok_and(|made_for| made_for == hosts.join("\n"))
    }

    /// What is stored, if it is a server's of this fabric; whether its time is now is another question.
    fn stored(&self, name: &str) -> Option<Identity> {
        let identity = identity_from_pem(&fs::read_to_string(self.folder.join(name)).ok()?)?;
        if identity.chain.last() != Some(self.trust().root()) {
            return None; // of before a rotation
        }
        let validity = Validity::of(identity.chain.first()?).ok()?;
        let start = unix(SystemTime::UNIX_EPOCH + Duration::from_secs(validity.not_before));
        self.trust().verify(&identity.chain, &[Role::Server], start).is_ok().then_some(identity)
    }

    fn make(&self, name: &str, hosts: &[String], now: SystemTime) -> Result<Identity, FabricError> {
        let key = SigningKey::generate_p256();
        let (fabric, tenant, id) = (self.trust().fabric(), self.tenant, *self.server.as_bytes());
        let principal = Principal { fabric, tenant, role: Role::Server, id, serial: Vec::new() };
        let leaf = Leaf::new(principal, hosts.to_vec(), now, SERVER_LIFE);
        let identity = Identity { chain: self.authority.issue(key.public(), &leaf)?, key };
        write(&self.folder, name, identity_to_pem(&identity).as_bytes())?;
        Ok(identity)
    }

    fn discard(&self, name: &str) -> Result<(), FabricError> {
        let path = self.folder.join(name);
        match fs::remove_file(&path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                Err(FabricError::Io { path, error })
            }
            _ => Ok(()),
        }
    }
}

/// The serial numbers that were revoked.
pub(super) fn revoked(folder: &Path) -> Result<Vec<Vec<u8>>, FabricError> {
    if !folder.join(REVOKED).exists() {
        return Ok(Vec::new());
    }
    read_as(folder, REVOKED, "serial numbers in hexadecimal, one a line", |bytes| {
        let text = std::str::from_utf8(bytes).ok()?;
        text.lines().map(|line| HEXLOWER.decode(line.as_bytes()).ok()).collect()
    })
}

/// Shows the certificate whose time it is, for as long as the server runs.
pub(crate) async fn keep_shown(
    fabric: Arc<Fabric>,
    hosts: Vec<String>,
    shown: Arc<Shown>,
    shutdown: CancellationToken,
) {
    while !shutdown.is_cancelled() {
        tokio::select! {
            () = tokio::time::sleep(LOOK_EACH) => {}
            () = shutdown.cancelled() => return,
        }
        match fabric.server_identity(&hosts, SystemTime::now()) {
            Ok(identity) if shown.show(&identity) => info!("the server shows its next certificate"),
            Ok(_) => {}
            Err(error) => warn!(%error, "the server's certificate is not replaced; it is tried again"),
        }
    }
}

/// Key and chain of what is shown.
pub(super) const CURRENT: &str = "server.identity";
pub(super) const RESERVE: &str = "server.reserve";
const REVOKED: &str = "server.revoked";
/// The names that both are for.
const HOSTS: &str = "server.hosts";
/// A reserve is made so long before the end.
const RESERVE_BEFORE: Duration = Duration::from_secs(90 * 86_400);
/// The reserve is shown so long before the end.
const SUCCESSION_BEFORE: Duration = Duration::from_secs(30 * 86_400);
/// How often it is looked: also how long a clock that was set keeps a wrong certificate shown.
const LOOK_EACH: Duration = Duration::from_secs(60);

#[cfg(test)]
mod tests {
    use klnet_wire::identity::tls::{ALPN_HTTP, Clients, client_config, server_config};
    use rustls::pki_types::ServerName;
    use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};
    use tokio_rustls::{TlsAcceptor, TlsConnector};

    use super::*;

    #[test]
    fn three_years_pass_without_a_day_on_which_the_server_is_not_verified() {
        let (folder, start) = (tempfile::tempdir().unwrap(), SystemTime::now());
        let fabric = Fabric::init(folder.path(), start).unwrap();
        let mut shown = Vec::new();
        for day in 0..3 * 365 {
            let now = start + DAY * day;
            let identity = fabric.server_identity(&hosts(), now).unwrap();
            fabric.trust().verify(&identity.chain, &[Role::Server], unix(now)).unwrap();
            let reserve = folder.path().join(RESERVE).exists();
            if shown.last().is_none_or(|(_, chain)| *chain != identity.chain) {
                shown.push((day, identity.chain));
            }
            let age = day - shown.last().unwrap().0;
            assert_eq!(reserve, shown.len() > 1 && age >= 247 || age >= 307, "day {day}, age {age}");
        }
        let days: Vec<_> = shown.iter().map(|(day, _)| *day).collect();
        assert_eq!(days, [0, 367, 674, 981], "then each reserve is 60 days old when it is shown");
    }

    #[test]
    fn a_clock_that_was_wrong_leaves_no_certificate_of_its_time() {
        let (folder, now) = (tempfile::tempdir().unwrap(), SystemTime::now());
        let fabric = Fabric::init(folder.path(), now).unwrap();
        let future = now + DAY * 3650;
        for then in [now, future, now, now - DAY * 1000, now] {
            let identity = fabric.server_identity(&hosts(), then).unwrap();
            let verified = fabric.trust().verify(&identity.chain, &[Role::Server], unix(then));
            assert!(verified.is_ok() || then < now, "{verified:?}");
        }
    }

    #[test]
    fn a_revoked_certificate_and_its_reserve_are_never_shown_again() {
        let (folder, now) = (tempfile::tempdir().unwrap(), SystemTime::now());
        let fabric = Fabric::init(folder.path(), now).unwrap();
        let stolen = fabric.server_identity(&hosts(), now).unwrap();
        fabric.make(RESERVE, &hosts(), now).unwrap();
        assert_eq!(Fabric::revoke_server(folder.path()).unwrap().len(), 2);
        let fabric = Fabric::load(folder.path()).unwrap();
        let serial = Principal::named_in(&stolen.chain[0]).unwrap().serial;
        assert!(fabric.revoked_servers().contains(&serial));
        assert_ne!(fabric.server_identity(&hosts(), now).unwrap().chain, stolen.chain);
        assert!(Fabric::revoke_server(folder.path()).unwrap().len() == 1 && fabric.stored(RESERVE).is_none());
    }

    #[test]
    fn another_host_name_has_another_certificate_and_no_old_reserve() {
        let (folder, now) = (tempfile::tempdir().unwrap(), SystemTime::now());
        let fabric = Fabric::init(folder.path(), now).unwrap();
        let first = fabric.server_identity(&hosts(), now).unwrap();
        assert_eq!(fabric.server_identity(&hosts(), now).unwrap().chain, first.chain);
        fabric.server_identity(&hosts(), now + DAY * 310).unwrap();
        assert!(folder.path().join(RESERVE).exists());
        let other = fabric.server_identity(&["127.0.0.1".to_owned()], now + DAY * 310).unwrap();
        assert!(other.chain != first.chain && !folder.path().join(RESERVE).exists());
    }

    #[tokio::test]
    async fn a_listener_shows_the_next_certificate_without_a_restart() {
        let (folder, now) = (tempfile::tempdir().unwrap(), SystemTime::now());
        let fabric = Fabric::init(folder.path(), now).unwrap();
        let shown = Shown::new(&fabric.server_identity(&hosts(), now).unwrap());
        let clients = Clients::Optional(&[Role::Operator]);
        let tls = server_config(&shown, fabric.trust().clone(), None, clients, &[ALPN_HTTP]).unwrap();
        let acceptor = TlsAcceptor::from(tls);
        let (mut before, mut held) = met(&fabric, &acceptor).await;
        assert!(!shown.show(&fabric.server_identity(&hosts(), now).unwrap()), "it is the same one");
        assert!(shown.show(&fabric.make(CURRENT, &hosts(), now).unwrap()));
        let (after, _) = met(&fabric, &acceptor).await;
        assert_ne!(before.1, after.1);
        held.write_all(b"still here").await.unwrap();
        let mut heard = [0; 10];
        before.0.read_exact(&mut heard).await.unwrap();
    }

    type Client = tokio_rustls::client::TlsStream<tokio::io::DuplexStream>;
    type Server = tokio_rustls::server::TlsStream<tokio::io::DuplexStream>;

    /// A client and whom it met, by serial number.
    async fn met(fabric: &Fabric, acceptor: &TlsAcceptor) -> ((Client, Vec<u8>), Server) {
        let (near, far) = duplex(64 * 1024);
        let tls = client_config(None, fabric.trust().clone(), &[ALPN_HTTP]).unwrap();
        let name = ServerName::try_from("localhost").unwrap();
        let (client, server) =
            tokio::join!(TlsConnector::from(tls).connect(name, near), acceptor.accept(far));
        let client = client.unwrap();
        let leaf = client.get_ref().1.peer_certificates().unwrap()[0].clone();
        ((client, Principal::named_in(&leaf).unwrap().serial), server.unwrap())
    }

    fn hosts() -> Vec<String> {
        vec!["localhost".to_owned()]
    }

    const DAY: Duration = Duration::from_secs(86_400);
}
