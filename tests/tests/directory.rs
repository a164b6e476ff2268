//! `klpoll directory` beside a real slapd with computers as Active Directory has them, and hosts of RFC 2307.

mod field;

use std::path::Path;

use anyhow::{Context, Result, ensure};
use field::{Field, Polled};
use klnet_tests::need_programs;
use klnet_tests::peer::{Slapd, Transport};
use serde_json::Value;
use tempfile::TempDir;

#[test]
fn every_computer_is_read_page_by_page_by_ldaps_and_by_starttls() -> Result<()> {
    let Some(site) = Site::or_skip("directory", Transport::Tls)? else { return Ok(()) };
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
    let Some(site) = Site::or_skip("incremental", Transport::Tls)? else { return Ok(()) };
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
    let Some(plain) = Site::or_skip("no-tls", Transport::Clear)? else { return Ok(()) };
    let polled = plain.klpoll("ldap", &[])?;
    ensure!(polled.code == Some(4), "{:?} {}", polled.code, polled.err);
    ensure!(!plain.slapd.was_told_a_password()?, "a server without TLS was told the password");

    let Some(other) = Site::or_skip("other-root", Transport::Tls)? else { return Ok(()) };
    for scheme in ["ldap", "ldaps"] {
        let polled = other.klpoll_with(scheme, &plain.slapd.certificate(), &[])?;
        ensure!(polled.code == Some(4), "{:?} {}", polled.code, polled.err);
    }
    ensure!(!other.slapd.was_told_a_password()?, "a server of another root was told the password");
    // What would have been seen.
    ensure!(other.klpoll("ldap", &[])?.code == Some(0) && other.slapd.was_told_a_password()?);
    Ok(())
}

#[test]
fn a_directory_that_refuses_says_so_in_its_words() -> Result<()> {
    let Some(site) = Site::or_skip("refused", Transport::Tls)? else { return Ok(()) };
    let refused = |arguments: &[&str], code: i32, why: &str| -> Result<()> {
        let polled = site.klpoll("ldaps", arguments)?;
        ensure!(polled.code == Some(code) && polled.err.contains(why), "{:?}: {}", polled.code, polled.err);
        ensure!(polled.out.is_empty(), "what is not whole is not shown");
        Ok(())
    };
    refused(&["--base", "dc=elsewhere"], 3, "refuses to show its computers: there is no such name")?;
    std::fs::write(site.slapd.password(), "wrong\n")?;
    refused(&[], 3, "refuses to let that account in: name or password is wrong")
}

/// A slapd on the crowd, with more than two pages of computers, a host of another kind, and a referral to itself.
struct Site {
    field: Field,
    slapd: Slapd,
    folder: TempDir,
}

impl Site {
    fn or_skip(name: &str, transport: Transport) -> Result<Option<Self>> {
        if !need_programs(&["slapd", "slapadd", "ldapmodify"]) {
            return Ok(None);
        }
        let Some(field) = Field::or_skip(name)? else { return Ok(None) };
        let slapd = Slapd::with_more(&field.crowd, transport, COMPUTERS, OTHERS)?;
        Ok(Some(Self { field, slapd, folder: tempfile::tempdir()? }))
    }

    fn klpoll(&self, scheme: &str, arguments: &[&str]) -> Result<Polled> {
        self.klpoll_with(scheme, &self.slapd.certificate(), arguments)
    }

    fn klpoll_with(&self, scheme: &str, ca: &Path, arguments: &[&str]) -> Result<Polled> {
        let server = format!("{scheme}://{}", self.field.router);
        let [ca, password] = [ca.to_owned(), self.slapd.password()].map(|path| path.display().to_string());
        let own = ["directory", &server, "--ca", &ca, "--bind", Slapd::ACCOUNT, "--password-file", &password];
        self.field.klpoll(&[&own, arguments].concat())
    }

    fn modify(&self, entry: &str, attribute: &str, value: &str) -> Result<()> {
        let change = self.folder.path().join("change.ldif");
        std::fs::write(
            &change,
            format!("dn: {entry}\nchangetype: modify\nreplace: {attribute}\n{attribute}: {value}\n"),
        )?;
        let server = format!("ldaps://{}", self.field.router);
        let mut command = self.field.poller.command("ldapmodify");
        command.args(["-x", "-H", &server, "-D", Slapd::ACCOUNT, "-w", Slapd::PASSWORD, "-f"]).arg(change);
        let modified = Polled::of(command.env("LDAPTLS_CACERT", self.slapd.certificate()))?;
        ensure!(modified.code == Some(0), "{}", modified.err);
        Ok(())
    }
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

const COMPUTERS: usize = 2500;
/// Changed later than the computers.
const OTHERS: &str = "\
dn: cn=web-7,ou=servers,dc=example,dc=org
objectClass: device
objectClass: ipHost
objectClass: ieee802Device
cn: web-7
ipHostNumber: 10.1.0.7
macAddress: 02:00:00:00:00:07
modifyTimestamp: 20260102000000Z

dn: cn=elsewhere,ou=servers,dc=example,dc=org
objectClass: referral
objectClass: extensibleObject
cn: elsewhere
ref: ldap:///dc=example,dc=org
";
