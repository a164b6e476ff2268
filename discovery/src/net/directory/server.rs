//! Which directory: one server that is named, or whichever controller of a domain answers.

use std::fmt;
use std::str::FromStr;

use ldap3::{LdapError, LdapResult};
use url::Url;

use super::DirectoryError;
use crate::name::Text;

/// A directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Directory {
    /// On this server.
    Server(Server),
    /// Of this domain, on one of its controllers.
    Domain(Domain),
}

/// A directory server: `ldaps://host[:port]`, or `ldap://host[:port]`, where TLS begins with StartTLS.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Server(pub(super) Url);

/// The name of a domain, such as `corp.example.org`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Domain(Text);

impl Domain {
    /// Under which name its controllers are (MS-ADTS, 6.3.2.3).
    pub(super) fn controllers(&self) -> String {
        format!("_ldap._tcp.dc._msdcs.{}", self.0)
    }

    pub(super) fn as_str(&self) -> &str {
        self.0.as_str()
    }
}

impl Server {
    pub(super) fn failed(&self, error: LdapError) -> DirectoryError {
        DirectoryError::Connection { server: self.to_string(), error: Box::new(error) }
    }

    pub(super) fn accepted(&self, what: &'static str, result: LdapResult) -> Result<(), DirectoryError> {
        if result.rc == 0 {
            return Ok(());
        }
        // What it says is text from the network like any other.
        let said = Text::new(&result.text).map(|text| text.to_string());
        let why = said.unwrap_or_else(|| words(result.rc).to_owned());
        Err(DirectoryError::Refused { server: self.to_string(), what, why, code: result.rc })
    }
}

impl FromStr for Directory {
    type Err = DirectoryError;

    fn from_str(text: &str) -> Result<Self, DirectoryError> {
        match text.contains("://") {
            true => text.parse().map(Self::Server),
            false => text.parse().map(Self::Domain),
        }
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
        server.map(Self).ok_or_else(|| no_directory(text))
    }
}

impl FromStr for Domain {
    type Err = DirectoryError;

    fn from_str(text: &str) -> Result<Self, DirectoryError> {
        let is_label = |label: &str| {
            let is_good = |c: char| c.is_ascii_alphanumeric() || c == '-';
            (1..=63).contains(&label.len()) && label.chars().all(is_good)
        };
        let name = text.trim_end_matches('.');
        let is_name = name.contains('.') && name.len() < 200 && name.split('.').all(is_label);
        // Four numbers are an address, which no domain is.
        let is_domain = is_name && name.parse::<std::net::Ipv4Addr>().is_err();
        is_domain.then(|| Text::host(name)).flatten().map(Self).ok_or_else(|| no_directory(text))
    }
}

fn no_directory(text: &str) -> DirectoryError {
    DirectoryError::Server(text.chars().take(256).collect())
}

impl fmt::Display for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.as_str().trim_end_matches('/'))
    }
}

impl fmt::Display for Domain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
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
    fn what_has_no_scheme_is_a_domain() {
        let Ok(Directory::Domain(domain)) = "Corp.example.org.".parse() else { panic!("a domain") };
        assert_eq!(domain.controllers(), "_ldap._tcp.dc._msdcs.corp.example.org");
        for text in ["corp", "10.0.0.1", "corp..org", "a b.org", "ldaps:corp.org", "", ".", &"a.".repeat(120)]
        {
            assert!(text.parse::<Directory>().is_err(), "{text}");
        }
    }
}
