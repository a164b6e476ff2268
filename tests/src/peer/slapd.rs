//! slapd: a directory with computers as Active Directory has them.

use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Result;
use tempfile::TempDir;

use super::PATH;
use crate::lab::{Host, Process, run};

/// A running slapd that shows its computers to [`Slapd::ACCOUNT`] alone.
#[derive(Debug)]
pub struct Slapd {
    folder: TempDir,
    process: Process,
}

/// How a slapd is spoken to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Transport {
    /// By LDAPS and StartTLS; it takes passwords over TLS alone.
    Tls,
    /// Without TLS; it takes a password from anybody.
    Clear,
}

impl Slapd {
    /// Who may read.
    pub const ACCOUNT: &str = "cn=poll,dc=example,dc=org";
    /// The password of that account.
    pub const PASSWORD: &str = "not-for-everybody";
    /// Below which everything is.
    pub const BASE: &str = "dc=example,dc=org";

    /// Serves `computers`, `pc-0.example.org` and so on, at the address of the host.
    ///
    /// # Errors
    /// When it cannot be filled or does not start.
    pub fn with_computers(host: &Host, computers: usize) -> Result<Self> {
        Self::serving(host, Transport::Tls, &tree(computers))
    }

    /// Serves `computers`, and entries below `ou=servers,dc=example,dc=org` that are given as LDIF.
    ///
    /// # Errors
    /// When it cannot be filled or does not start.
    pub fn with_more(host: &Host, transport: Transport, computers: usize, more: &str) -> Result<Self> {
        Self::serving(host, transport, &(tree(computers) + more))
    }

    fn serving(host: &Host, transport: Transport, entries: &str) -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let at = folder.path();
        let key = rcgen::generate_simple_self_signed([host.address().to_string()])?;
        std::fs::write(at.join("cert.pem"), key.cert.pem())?;
        std::fs::write(at.join("key.pem"), key.signing_key.serialize_pem())?;
        std::fs::write(at.join("password"), format!("{}\n", Self::PASSWORD))?;
        std::fs::create_dir(at.join("db"))?;
        std::fs::write(at.join("slapd.conf"), settings(at, transport))?;
        std::fs::write(at.join("data.ldif"), entries)?;
        let mut fill = host.command("slapadd");
        run(fill
            .env("PATH", PATH)
            .args(["-q", "-f"])
            .arg(at.join("slapd.conf"))
            .arg("-l")
            .arg(at.join("data.ldif")))?;
        let mut serve = host.command("slapd");
        let urls = match transport {
            Transport::Tls => "ldap:/// ldaps:///",
            Transport::Clear => "ldap:///",
        };
        // 256: connections, and what is asked on them.
        serve.env("PATH", PATH).args(["-d", "256", "-h", urls, "-f"]).arg(at.join("slapd.conf"));
        let mut process = Process::spawn("slapd", &mut serve)?;
        process.wait_for_line("slapd starting", Duration::from_secs(20))?;
        Ok(Self { folder, process })
    }

    /// The certificate it shows, in PEM.
    pub fn certificate(&self) -> PathBuf {
        self.folder.path().join("cert.pem")
    }

    /// Whether anybody has sent a password.
    ///
    /// # Errors
    /// When its log cannot be read.
    pub fn was_told_a_password(&self) -> Result<bool> {
        Ok(self.process.output()?.contains("BIND dn="))
    }

    /// A file with the password in its first line.
    pub fn password(&self) -> PathBuf {
        self.folder.path().join("password")
    }
}

fn settings(at: &Path, transport: Transport) -> String {
    let schemas = ["core", "cosine", "inetorgperson", "nis", "msuser"];
    let schemas: String = schemas.map(|name| format!("include /etc/ldap/schema/{name}.schema\n")).concat();
    let (at, account, password, base) = (at.display(), Slapd::ACCOUNT, Slapd::PASSWORD, Slapd::BASE);
    let tls = match transport {
        Transport::Tls => format!(
            "TLSCertificateFile {at}/cert.pem\nTLSCertificateKeyFile {at}/key.pem\nsecurity simple_bind=128\n"
        ),
        Transport::Clear => String::new(),
    };
    format!(
        "{schemas}modulepath /usr/lib/ldap\nmoduleload back_mdb\n{tls}database mdb\nsuffix \"{base}\"\nrootdn \"{account}\"\nrootpw {password}\ndirectory {at}/db\n\
         maxsize 4294967296\naccess to * by users read by * auth\n"
    )
}

fn tree(computers: usize) -> String {
    let mut text = "dn: dc=example,dc=org\nobjectClass: domain\ndc: example\n\n\
                    dn: ou=servers,dc=example,dc=org\nobjectClass: organizationalUnit\nou: servers\n\n"
        .to_owned();
    for number in 0..computers {
        write!(
            text,
            "dn: cn=PC-{number},ou=servers,dc=example,dc=org\nobjectClass: computer\ncn: PC-{number}\n\
             sn: PC-{number}\ninstanceType: 4\nobjectCategory: cn=computer,dc=example,dc=org\n\
             nTSecurityDescriptor: -\nobjectGUID: {number:016}\ndNSHostName: PC-{number}.example.org\n\
             operatingSystem: Windows 11\nmodifyTimestamp: 20260101000000Z\n\n"
        )
        .expect("a string takes everything");
    }
    text
}
