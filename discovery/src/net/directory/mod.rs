//! Reads the computers of a directory: over TLS alone, page by page, each told as it comes.

mod controller;
mod server;

use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use ldap3::adapters::{Adapter, PagedResults};
use ldap3::asn1::{PL, StructureTag};
use ldap3::{Ldap, LdapConnAsync, LdapConnSettings, LdapError, Scope, StdStream};
use rustls::{ClientConfig, RootCertStore};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use super::names;
use crate::directory::{ATTRIBUTES, Bookmark, Entry, Mark, Member, filter};
use crate::dns::service::Target;
use controller::controllers;
pub use server::{Directory, Domain, Server};

/// What is read, and as whom.
#[derive(Debug, Clone)]
pub struct Reading {
    /// Where.
    pub directory: Directory,
    /// The name server to ask for controllers; that of this machine when none is given.
    pub dns: Option<SocketAddr>,
    /// Whether TLS begins at once with controllers, too, and not by StartTLS.
    pub ldaps: bool,
    /// Below which name to look; the server's own default when none is given.
    pub base: Option<String>,
    /// As whom; as nobody when none is given.
    pub account: Option<Account>,
    /// Who says who the server is.
    pub roots: RootCertStore,
    /// Only what was changed since, where the same server can be read.
    pub since: Option<Bookmark>,
}

/// A name and its password.
#[derive(Clone)]
pub struct Account {
    /// A distinguished name, or what the server takes for one.
    pub name: String,
    /// Its password: sent over TLS alone.
    pub password: String,
}

/// Why a directory could not be read.
#[derive(Debug, thiserror::Error)]
pub enum DirectoryError {
    /// The text is no server.
    #[error(
        "{0:?} is no directory: write ldaps://dc1.example.org, ldap://dc1.example.org or the domain, example.org"
    )]
    Server(String),
    /// The domain has no controllers that are known.
    #[error("the controllers of {domain} are not known from {server}: {why}")]
    Unknown {
        /// The domain.
        domain: String,
        /// Who was asked.
        server: SocketAddr,
        /// Why not.
        why: String,
    },
    /// This machine has no name server, and none was given.
    #[error("no name server is known that could say where {0} is: give one with --dns")]
    NoNameServer(String),
    /// TLS cannot be used with these settings.
    #[error("cannot use TLS: {0}")]
    Tls(#[from] rustls::Error),
    /// It is not reached, or breaks off.
    #[error("{server}: {error}")]
    Connection {
        /// The server.
        server: String,
        /// Why.
        error: Box<LdapError>,
    },
    /// It refuses.
    #[error("{server} refuses to {what}: {why} (LDAP result {code})")]
    Refused {
        /// The server.
        server: String,
        /// What it was asked to do.
        what: &'static str,
        /// What it says.
        why: String,
        /// Its result code (RFC 4511, appendix A).
        code: u32,
    },
    /// It has no default base.
    #[error("{0} does not say what it holds: give the base with --base")]
    NoBase(String),
}

/// Reads a directory and tells its computers; where the next reading may go on.
///
/// Referrals to other servers are not followed. Ends early when nobody listens.
///
/// # Errors
/// When no server is reached by TLS, or the one that is refuses or breaks off: what was told until then is not all.
pub async fn read_directory(
    reading: &Reading,
    members: &mpsc::Sender<Member>,
) -> Result<Option<Bookmark>, DirectoryError> {
    let mut connection = connect(reading).await?;
    let read = read(reading, &mut connection, members).await;
    // The server would notice by itself.
    let _ = connection.ldap.unbind().await;
    let server = connection.server.to_string();
    read.map(|mark| mark.map(|mark| Bookmark { mark, server }))
}

/// A server that has shown who it is.
struct Connection {
    server: Server,
    ldap: Ldap,
    driving: JoinHandle<()>,
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.driving.abort();
    }
}

async fn connect(reading: &Reading) -> Result<Connection, DirectoryError> {
    match &reading.directory {
        Directory::Server(server) => dial(server.clone(), reading, None).await,
        Directory::Domain(domain) => connect_to_one_of(domain, reading).await,
    }
}

/// Tries the controllers of a domain in their order. One that does not show who it is by TLS is not spoken to, and the next
/// is tried; what one refuses later, the others would refuse too, and passwords lock accounts.
async fn connect_to_one_of(domain: &Domain, reading: &Reading) -> Result<Connection, DirectoryError> {
    let dns = reading.dns.or_else(names::system_server);
    let dns = dns.ok_or_else(|| DirectoryError::NoNameServer(domain.to_string()))?;
    let last = reading.since.as_ref().and_then(|since| since.server.parse::<Server>().ok());
    let targets = controllers(domain, dns, last.as_ref().and_then(|server| server.0.host_str())).await?;
    let why = "none of them has an address".to_owned();
    let mut failed = DirectoryError::Unknown { domain: domain.to_string(), server: dns, why };
    for target in targets.iter().take(CONTROLLERS) {
        let server = server_of(target, reading.ldaps)?;
        for address in &target.addresses {
            match dial(server.clone(), reading, Some(*address)).await {
                Ok(connection) => return Ok(connection),
                Err(error) => {
                    tracing::warn!(%error, %address, "a controller is not reached; the next is tried");
                    failed = error;
                }
            }
        }
    }
    Err(failed)
}

fn server_of(target: &Target, ldaps: bool) -> Result<Server, DirectoryError> {
    match ldaps {
        // DNS names the port of the other way alone.
        true => format!("ldaps://{}", target.host).parse(),
        false => format!("ldap://{}:{}", target.host, target.port).parse(),
    }
}

/// Connects, at this address where one is known, and takes nobody whose certificate is not the server's.
async fn dial(
    server: Server,
    reading: &Reading,
    address: Option<IpAddr>,
) -> Result<Connection, DirectoryError> {
    let mut settings = LdapConnSettings::new().set_conn_timeout(CONNECT).set_starttls(true);
    settings = settings.set_config(tls(reading.roots.clone())?);
    let stream = tokio::time::timeout(CONNECT, stream(&server, address)).await;
    let stream = stream.map_err(LdapError::from).and_then(|stream| Ok(stream?.into_std()?));
    settings = settings.set_std_stream(StdStream::Tcp(stream.map_err(|error| server.failed(error))?));
    let (connection, ldap) = LdapConnAsync::from_url_with_settings(settings, &server.0)
        .await
        .map_err(|error| server.failed(error))?;
    let driving = tokio::spawn(async move {
        if let Err(error) = connection.drive().await {
            tracing::debug!(%error, "directory");
        }
    });
    Ok(Connection { server, ldap, driving })
}

/// A connection on which the first request does not wait, behind the end of the handshake, until that is acknowledged:
/// servers put this off by 40 ms.
async fn stream(server: &Server, address: Option<IpAddr>) -> io::Result<TcpStream> {
    let port = server.0.port().unwrap_or(if server.0.scheme() == "ldaps" { LDAPS } else { LDAP });
    let stream = match address {
        Some(address) => TcpStream::connect((address, port)).await?,
        None => TcpStream::connect(format!("{}:{port}", server.0.host_str().unwrap_or_default())).await?,
    };
    stream.set_nodelay(true)?;
    Ok(stream)
}

async fn read(
    reading: &Reading,
    Connection { server, ldap, .. }: &mut Connection,
    members: &mpsc::Sender<Member>,
) -> Result<Option<Mark>, DirectoryError> {
    // Another server counts its changes otherwise: of that everything is read.
    let since = reading.since.as_ref().filter(|since| since.server == server.to_string());
    let since = since.map(|since| since.mark);
    if let Some(Account { name, password }) = &reading.account {
        let bound = ldap.with_timeout(ANSWER).simple_bind(name, password).await;
        server.accepted("let that account in", bound.map_err(|error| server.failed(error))?)?;
    }
    let root = root(server, ldap).await?;
    let of_root = root.text("defaultnamingcontext").or_else(|| root.text("namingcontexts"));
    let base = reading.base.as_deref().or(of_root);
    let base = base.ok_or_else(|| DirectoryError::NoBase(server.to_string()))?;
    let latest = search(server, ldap, base, since, members).await?;
    // A controller's count was read before its entries: nothing falls between two readings.
    Ok(Mark::of_root(&root).or(latest).or(since))
}

/// What the server says about itself.
async fn root(server: &Server, ldap: &mut Ldap) -> Result<Entry, DirectoryError> {
    let asked = ["defaultNamingContext", "namingContexts", "highestCommittedUSN"];
    let found = ldap.with_timeout(ANSWER).search("", Scope::Base, "(objectClass=*)", asked).await;
    let ldap3::SearchResult(entries, result) = found.map_err(|error| server.failed(error))?;
    server.accepted("say what it holds", result)?;
    Ok(entries.into_iter().find_map(|found| entry(found.0)).unwrap_or_default())
}

/// Tells every computer; the latest time of a change.
async fn search(
    server: &Server,
    ldap: &mut Ldap,
    base: &str,
    since: Option<Mark>,
    members: &mpsc::Sender<Member>,
) -> Result<Option<Mark>, DirectoryError> {
    let failed = |error| server.failed(error);
    let paged: Vec<Box<dyn Adapter<'_, &str, [&str; 12]>>> = vec![Box::new(PagedResults::new(PAGE))];
    let wanted = filter(since);
    let searching =
        ldap.with_timeout(ANSWER).streaming_search_with(paged, base, Scope::Subtree, &wanted, ATTRIBUTES);
    let mut found = searching.await.map_err(failed)?;
    let mut latest = None;
    while let Some(next) = found.next().await.map_err(failed)? {
        // Neither a referral nor a word in between.
        let Some(entry) = (!next.is_ref() && !next.is_intermediate()).then(|| entry(next.0)).flatten() else {
            continue;
        };
        latest = latest.max(Mark::of_entry(&entry));
        if let Some(member) = Member::read(&entry)
            && members.send(member).await.is_err()
        {
            return Ok(None);
        }
    }
    server.accepted("show its computers", found.finish().await)?;
    Ok(latest)
}

/// Reads the parts of an entry (RFC 4511, 4.5.2); `None` when they are none.
fn entry(tag: StructureTag) -> Option<Entry> {
    let mut parts = constructed(tag)?.into_iter();
    let (name, attributes) = (primitive(parts.next()?)?, constructed(parts.next()?)?);
    let mut entry = Entry::new(String::from_utf8(name).ok()?);
    for attribute in attributes {
        let mut parts = constructed(attribute)?.into_iter();
        let (name, values) = (primitive(parts.next()?)?, constructed(parts.next()?)?);
        entry.insert(std::str::from_utf8(&name).ok()?, values.into_iter().filter_map(primitive));
    }
    Some(entry)
}

fn constructed(tag: StructureTag) -> Option<Vec<StructureTag>> {
    if let PL::C(parts) = tag.payload { Some(parts) } else { None }
}

fn primitive(tag: StructureTag) -> Option<Vec<u8>> {
    if let PL::P(bytes) = tag.payload { Some(bytes) } else { None }
}

/// Servers of directories are old: TLS 1.2 is taken too.
fn tls(roots: RootCertStore) -> Result<Arc<ClientConfig>, rustls::Error> {
    let builder = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()));
    let builder = builder.with_safe_default_protocol_versions()?;
    Ok(Arc::new(builder.with_root_certificates(roots).with_no_client_auth()))
}

impl fmt::Debug for Account {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Account").field("name", &self.name).field("password", &"[redacted]").finish()
    }
}

/// Controllers that are tried.
const CONTROLLERS: usize = 8;
const LDAP: u16 = 389;
const LDAPS: u16 = 636;
/// Until TLS is up.
const CONNECT: Duration = Duration::from_secs(10);
/// Until the next entry comes: a server that searches a large tree without an index takes its time.
const ANSWER: Duration = Duration::from_secs(60);
/// What Active Directory gives at most by default (MaxPageSize).
const PAGE: i32 = 1000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_password_is_shown() {
        let account = Account { name: "cn=poll".into(), password: "hunter2".into() };
        assert!(!format!("{account:?}").contains("hunter2"));
    }

    #[test]
    fn what_is_no_entry_is_passed_over() {
        let primitive = |text: &str| tag(PL::P(text.as_bytes().to_vec()));
        let values = || tag(PL::C(vec![primitive("PC-7")]));
        let attribute = tag(PL::C(vec![primitive("cn"), values()]));
        let read = entry(tag(PL::C(vec![primitive("cn=pc-7"), tag(PL::C(vec![attribute]))])));
        assert_eq!(read.unwrap().text("cn"), Some("PC-7"));
        for tag in [primitive("x"), tag(PL::C(vec![])), tag(PL::C(vec![values(), values()]))] {
            assert_eq!(entry(tag), None);
        }
    }

    fn tag(payload: PL) -> StructureTag {
        StructureTag { class: ldap3::asn1::TagClass::Universal, id: 16, payload }
    }
}
