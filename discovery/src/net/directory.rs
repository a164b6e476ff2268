//! Reads the computers of a directory: over TLS alone, page by page, each told as it comes.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use ldap3::adapters::{Adapter, PagedResults};
use ldap3::asn1::{PL, StructureTag};
use ldap3::{Ldap, LdapConnAsync, LdapConnSettings, LdapError, LdapResult, Scope};
use rustls::{ClientConfig, RootCertStore};
use tokio::sync::mpsc;
use url::Url;

use crate::directory::{ATTRIBUTES, Entry, Mark, Member, filter};

/// A directory server: `ldaps://host[:port]`, or `ldap://host[:port]`, where TLS begins with StartTLS.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Server(Url);

/// What is read, and as whom.
#[derive(Debug, Clone)]
pub struct Reading {
    /// The server.
    pub server: Server,
    /// Below which name to look; the server's own default when none is given.
    pub base: Option<String>,
    /// As whom; as nobody when none is given.
    pub account: Option<Account>,
    /// Who says who the server is.
    pub roots: RootCertStore,
    /// Only what was changed since.
    pub since: Option<Mark>,
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
    #[error("{0:?} is no directory server: write ldaps://dc1.example.org or ldap://dc1.example.org")]
    Server(String),
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
/// When the server is not reached by TLS, refuses, or breaks off: what was told until then is not all.
pub async fn read_directory(
    reading: &Reading,
    members: &mpsc::Sender<Member>,
) -> Result<Option<Mark>, DirectoryError> {
    let config = tls(reading.roots.clone())?;
    let failed = |error| reading.server.failed(error);
    let settings = LdapConnSettings::new().set_conn_timeout(CONNECT).set_starttls(true).set_config(config);
    let (connection, mut ldap) =
        LdapConnAsync::from_url_with_settings(settings, &reading.server.0).await.map_err(failed)?;
    let driving = tokio::spawn(async move {
        if let Err(error) = connection.drive().await {
            tracing::debug!(%error, "directory");
        }
    });
    let read = read(reading, &mut ldap, members).await;
    // The server would notice by itself.
    let _ = ldap.unbind().await;
    driving.abort();
    read
}

async fn read(
    reading: &Reading,
    ldap: &mut Ldap,
    members: &mpsc::Sender<Member>,
) -> Result<Option<Mark>, DirectoryError> {
    let server = &reading.server;
    if let Some(Account { name, password }) = &reading.account {
        let bound = ldap.with_timeout(ANSWER).simple_bind(name, password).await;
        server.accepted("let that account in", bound.map_err(|error| server.failed(error))?)?;
    }
    let root = root(server, ldap).await?;
    let of_root = root.text("defaultnamingcontext").or_else(|| root.text("namingcontexts"));
    let base = reading.base.as_deref().or(of_root);
    let base = base.ok_or_else(|| DirectoryError::NoBase(server.to_string()))?;
    let latest = search(reading, base, ldap, members).await?;
    // A controller's count was read before its entries: nothing falls between two readings.
    Ok(Mark::of_root(&root).or(latest).or(reading.since))
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
    reading: &Reading,
    base: &str,
    ldap: &mut Ldap,
    members: &mpsc::Sender<Member>,
) -> Result<Option<Mark>, DirectoryError> {
    let server = &reading.server;
    let failed = |error| server.failed(error);
    let paged: Vec<Box<dyn Adapter<'_, &str, [&str; 12]>>> = vec![Box::new(PagedResults::new(PAGE))];
    let wanted = filter(reading.since);
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

impl Server {
    fn failed(&self, error: LdapError) -> DirectoryError {
        DirectoryError::Connection { server: self.to_string(), error: Box::new(error) }
    }

    fn accepted(&self, what: &'static str, result: LdapResult) -> Result<(), DirectoryError> {
        if result.rc == 0 {
            return Ok(());
        }
        // What it says is text from the network like any other.
        let said = crate::name::Text::new(&result.text).map(|text| text.to_string());
        let why = said.unwrap_or_else(|| words(result.rc).to_owned());
        Err(DirectoryError::Refused { server: self.to_string(), what, why, code: result.rc })
    }
}

impl FromStr for Server {
    type Err = DirectoryError;

    fn from_str(text: &str) -> Result<Self, DirectoryError> {
        let server = Url::parse(text).ok().filter(|url| {
            let has_host = url.host_str().is_some_and(|host| !host.is_empty());
            let is_bare =
                url.username().is_empty() && url.password().is_none() && matches!(url.path(), "" | "/");
            matches!(url.scheme(), "ldap" | "ldaps") && has_host && is_bare && url.query().is_none()
        });
        server.map(Self).ok_or_else(|| DirectoryError::Server(text.chars().take(256).collect()))
    }
}

impl fmt::Display for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.as_str().trim_end_matches('/'))
    }
}

impl fmt::Debug for Account {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Account").field("name", &self.name).field("password", &"[redacted]").finish()
    }
}

/// What the usual results mean (RFC 4511, appendix A.2).
const fn words(code: u32) -> &'static str {
    match code {
        3 => "it took longer than the server allows",
        4 => "there are more entries than the server gives",
        8 => "it wants an account",
        11 => "a limit of its administrators",
        32 => "there is no such name",
        49 => "name or password is wrong",
        50 => "the account may not",
        51 | 52 => "it is busy or not available",
        _ => "it does not say why",
    }
}

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
    fn only_a_server_is_one() {
        for text in ["ldaps://dc1.example.org", "ldap://dc1.example.org:3389", "ldap://[fd00::1]/"] {
            let server: Server = text.parse().unwrap();
            assert_eq!(server.to_string(), text.trim_end_matches('/'));
        }
        for text in [
            "dc1.example.org",
            "ldapi:///x",
            "ldap:",
            "ldap://",
            "http://a",
            "ldaps://a:b@c",
            "ldap://a/dc=b",
        ] {
            assert!(text.parse::<Server>().is_err(), "{text}");
        }
    }

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
