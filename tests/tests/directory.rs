//! `klpoll directory` beside a real slapd with computers as Active Directory has them, and hosts of RFC 2307.

mod field;

use std::fmt::Write;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use field::{Field, Polled};
use klnet_tests::lab::Process;
use klnet_tests::need_programs;
use serde_json::Value;
use tempfile::TempDir;

#[test]
fn every_computer_is_read_page_by_page_by_ldaps_and_by_starttls() -> Result<()> {
    let Some(site) = Site::or_skip("directory", TLS)? else { return Ok(()) };
    for scheme in ["ldaps", "ldap"] {
        let hosts = lines(&site.klpoll(scheme, &["--json"])?)?;
        ensure!(hosts.len() == COMPUTERS + 1, "{} by {scheme}", hosts.len());
        let seven = hosts.iter().find(|host| host["name"] == "pc-7.example.org").context("pc-7")?;
        ensure!(seven["system"] == "Windows 11" && seven["sources"][0] == "directory", "{seven}");
        ensure!(seven["unit"] == "ou=servers,dc=example,dc=org", "{seven}");
        ensure!(hosts.iter().any(|host| host["macs"][0] == "02:00:00:00:00:07"), "the host of RFC 2307");
    }
    let table = site.klpoll("ldaps", &["--base", "cn=web-7,ou=servers,dc=example,dc=org"])?;
    ensure!(table.out.contains("02:00:00:00:00:07") && table.out.ends_with("1 host\n"), "{}", table.out);
    Ok(())
}

#[test]
fn the_next_reading_asks_for_what_was_changed_since() -> Result<()> {
    let Some(site) = Site::or_skip("incremental", TLS)? else { return Ok(()) };
    let mark = site.folder.path().join("mark").display().to_string();
    let arguments = ["--json", "--since", &mark];
    ensure!(lines(&site.klpoll("ldaps", &arguments)?)?.len() == COMPUTERS + 1, "the first reads everything");
    ensure!(
        names(&site.klpoll("ldaps", &arguments)?)? == ["web-7"],
        "the latest may not have been all of its second"
    );
    site.modify("cn=PC-3,ou=servers,dc=example,dc=org", "operatingSystem", "Windows 12")?;
    ensure!(names(&site.klpoll("ldaps", &arguments)?)? == ["pc-3.example.org", "web-7"]);
    ensure!(names(&site.klpoll("ldaps", &arguments)?)? == ["pc-3.example.org"], "the mark went on");
    Ok(())
}

#[test]
fn no_password_is_sent_before_the_server_has_shown_who_it_is() -> Result<()> {
    let Some(plain) = Site::or_skip("no-tls", NO_TLS)? else { return Ok(()) };
    let polled = plain.klpoll("ldap", &[])?;
    ensure!(polled.code == Some(4), "{:?} {}", polled.code, polled.err);
    ensure!(!plain.was_told_a_password()?, "a server without TLS was told the password");

    let Some(other) = Site::or_skip("other-root", TLS)? else { return Ok(()) };
    for scheme in ["ldap", "ldaps"] {
        let ca = plain.ca.to_string_lossy();
        let polled = other.klpoll_with(scheme, &ca, &[])?;
        ensure!(polled.code == Some(4), "{:?} {}", polled.code, polled.err);
    }
    ensure!(!other.was_told_a_password()?, "a server of another root was told the password");
    // What would have been seen.
    ensure!(other.klpoll("ldap", &[])?.code == Some(0) && other.was_told_a_password()?);
    Ok(())
}

#[test]
fn a_directory_that_refuses_says_so_in_its_words() -> Result<()> {
    let Some(site) = Site::or_skip("refused", TLS)? else { return Ok(()) };
    let refused = |arguments: &[&str], code: i32, why: &str| -> Result<()> {
        let polled = site.klpoll("ldaps", arguments)?;
        ensure!(polled.code == Some(code) && polled.err.contains(why), "{:?}: {}", polled.code, polled.err);
        ensure!(polled.out.is_empty(), "what is not whole is not shown");
        Ok(())
    };
    refused(&["--base", "dc=elsewhere"], 3, "refuses to show its computers: there is no such name")?;
    std::fs::write(&site.password, "wrong\n")?;
    refused(&[], 3, "refuses to let that account in: name or password is wrong")
}

/// A slapd on the crowd.
struct Site {
    field: Field,
    folder: TempDir,
    ca: std::path::PathBuf,
    password: std::path::PathBuf,
    slapd: Process,
}

impl Site {
    fn or_skip(name: &str, security: &str) -> Result<Option<Self>> {
        if !need_programs(&["slapd", "slapadd", "ldapmodify"]) {
            return Ok(None);
        }
        let Some(field) = Field::or_skip(name)? else { return Ok(None) };
        let folder = tempfile::tempdir()?;
        let at = folder.path();
        let key = rcgen::generate_simple_self_signed([field.router.to_string()])?;
        let (ca, password) = (at.join("cert.pem"), at.join("password"));
        std::fs::write(&ca, key.cert.pem())?;
        std::fs::write(at.join("key.pem"), key.signing_key.serialize_pem())?;
        std::fs::write(&password, format!("{PASSWORD}\n"))?;
        let slapd = slapd(&field, at, security)?;
        Ok(Some(Self { field, folder, ca, password, slapd }))
    }

    fn klpoll(&self, scheme: &str, arguments: &[&str]) -> Result<Polled> {
        self.klpoll_with(scheme, &self.ca.to_string_lossy(), arguments)
    }

    fn klpoll_with(&self, scheme: &str, ca: &str, arguments: &[&str]) -> Result<Polled> {
        let (server, password) =
            (format!("{scheme}://{}", self.field.router), self.password.to_string_lossy());
        let own = ["directory", &server, "--ca", ca, "--bind", ACCOUNT, "--password-file", &password];
        self.field.klpoll(&[&own, arguments].concat())
    }

    /// slapd logs each bind with the name that was said.
    fn was_told_a_password(&self) -> Result<bool> {
        Ok(self.slapd.output()?.contains("BIND dn="))
    }

    fn modify(&self, entry: &str, attribute: &str, value: &str) -> Result<()> {
        let change = self.folder.path().join("change.ldif");
        std::fs::write(
            &change,
            format!("dn: {entry}\nchangetype: modify\nreplace: {attribute}\n{attribute}: {value}\n"),
        )?;
        let server = format!("ldaps://{}", self.field.router);
        let mut command = self.field.poller.command("ldapmodify");
        command.args(["-x", "-H", &server, "-D", ACCOUNT, "-w", PASSWORD, "-f"]).arg(change);
        let modified = Polled::of(command.env("LDAPTLS_CACERT", &self.ca))?;
        ensure!(modified.code == Some(0), "{}", modified.err);
        Ok(())
    }
}

/// slapd with its database filled, listening.
fn slapd(field: &Field, folder: &Path, security: &str) -> Result<Process> {
    let (settings, data, at) = (folder.join("slapd.conf"), folder.join("data.ldif"), folder.display());
    let schemas = ["core", "cosine", "inetorgperson", "nis", "msuser"];
    let schemas: String = schemas.map(|name| format!("include /etc/ldap/schema/{name}.schema\n")).concat();
    let security = security.replace("FOLDER", &at.to_string());
    std::fs::create_dir(folder.join("db"))?;
    std::fs::write(
        &settings,
        format!(
            "{schemas}modulepath /usr/lib/ldap\nmoduleload back_mdb\n{security}database mdb\n\
             suffix \"dc=example,dc=org\"\nrootdn \"{ACCOUNT}\"\nrootpw {PASSWORD}\ndirectory {at}/db\n\
             maxsize 268435456\naccess to * by users read by * auth\n"
        ),
    )?;
    std::fs::write(&data, tree())?;
    let mut fill = field.crowd.command("slapadd");
    let filled = Polled::of(fill.env("PATH", PATH).arg("-q").arg("-f").arg(&settings).arg("-l").arg(&data))?;
    ensure!(filled.code == Some(0), "{}", filled.err);
    let mut serve = field.crowd.command("slapd");
    let wanted = if security.is_empty() { "ldap:///" } else { "ldap:/// ldaps:///" };
    // 256: connections and what is asked on them.
    let mut slapd = Process::spawn(
        "slapd",
        serve.env("PATH", PATH).args(["-d", "256", "-h", wanted, "-f"]).arg(&settings),
    )?;
    slapd.wait_for_line("slapd starting", Duration::from_secs(20))?;
    Ok(slapd)
}

/// More than two pages of computers, a host of another kind, and a referral back to the same server.
fn tree() -> String {
    let mut text = "dn: dc=example,dc=org\nobjectClass: domain\ndc: example\n\n\
                    dn: ou=servers,dc=example,dc=org\nobjectClass: organizationalUnit\nou: servers\n\n\
                    dn: cn=web-7,ou=servers,dc=example,dc=org\nobjectClass: device\nobjectClass: ipHost\n\
                    objectClass: ieee802Device\ncn: web-7\nipHostNumber: 10.1.0.7\nmacAddress: 02:00:00:00:00:07\n\
                    modifyTimestamp: 20260102000000Z\n\n\
                    dn: cn=elsewhere,dc=example,dc=org\nobjectClass: referral\nobjectClass: extensibleObject\n\
                    cn: elsewhere\nref: ldap:///dc=example,dc=org\n\n"
        .to_owned();
    for number in 0..COMPUTERS {
        write!(
            text,
            "dn: cn=PC-{number},ou=servers,dc=example,dc=org\nobjectClass: computer\ncn: PC-{number}\nsn: PC-{number}\n\
             instanceType: 4\nobjectCategory: cn=computer,dc=example,dc=org\nnTSecurityDescriptor: -\n\
             objectGUID: {number:016}\ndNSHostName: PC-{number}.example.org\noperatingSystem: Windows 11\n\
             modifyTimestamp: 20260101000000Z\n\n"
        )
        .expect("a string takes everything");
    }
    text
}

fn lines(polled: &Polled) -> Result<Vec<Value>> {
    ensure!(polled.code == Some(0), "{:?}: {}", polled.code, polled.err);
    Ok(polled.out.lines().map(serde_json::from_str).collect::<Result<_, _>>()?)
}

fn names(polled: &Polled) -> Result<Vec<String>> {
    let lines = lines(polled)?;
    let mut names: Vec<_> =
        lines.iter().filter_map(|line| line["name"].as_str().map(str::to_owned)).collect();
    names.sort();
    Ok(names)
}

/// Also where those of administrators are.
const PATH: &str = "/usr/sbin:/usr/bin:/sbin:/bin";
const COMPUTERS: usize = 2500;
const ACCOUNT: &str = "cn=poll,dc=example,dc=org";
const PASSWORD: &str = "not-for-everybody";
/// It takes passwords over TLS alone.
const TLS: &str =
    "TLSCertificateFile FOLDER/cert.pem\nTLSCertificateKeyFile FOLDER/key.pem\nsecurity simple_bind=128\n";
/// It would take them from anybody, in clear.
const NO_TLS: &str = "";
