//! `klpoll directory` beside a real domain controller: Samba's, found by DNS, with more computers than a page has.

mod field;

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use field::{Field, Polled};
use klnet_tests::lab::Process;
use klnet_tests::{Unavailable, need_programs, skip};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use serde_json::Value;
use tempfile::TempDir;

#[test]
fn a_domain_is_read_from_the_controller_that_answers() -> Result<()> {
    let Some(site) = Site::or_skip()? else { return Ok(()) };
    let dns = site.field.router.to_string();
    finds_every_computer_of_the_domain(&site, &dns)?;
    goes_on_where_it_was(&site, &dns)?;
    fails_over_to_the_next(&site)?;
    tells_no_password_to_who_is_no_controller(&site)
}

fn finds_every_computer_of_the_domain(site: &Site, dns: &str) -> Result<()> {
    for way in [&[][..], &["--ldaps"]] {
        let hosts = lines(&site.klpoll(dns, &[way, &["--json"]].concat())?)?;
        ensure!(hosts.len() == COMPUTERS + 1, "{} by {way:?}", hosts.len());
        let seven = hosts.iter().find(|host| host["name"] == "pc-7.corp.example.org").context("pc-7")?;
        ensure!(seven["unit"] == "CN=Computers,DC=corp,DC=example,DC=org", "{seven}");
        ensure!(hosts.iter().any(|host| host["name"] == "dc1.corp.example.org"), "the controller itself");
    }
    Ok(())
}

fn goes_on_where_it_was(site: &Site, dns: &str) -> Result<()> {
    let mark = site.folder.path().join("mark");
    let since = ["--json", "--since", &mark.to_string_lossy()];
    ensure!(lines(&site.klpoll(dns, &since)?)?.len() == COMPUTERS + 1);
    ensure!(std::fs::read_to_string(&mark)?.trim_end().ends_with(" ldap://dc1.corp.example.org:389"));
    ensure!(lines(&site.klpoll(dns, &since)?)?.is_empty(), "nothing was changed");
    site.add("LATER", 1)?;
    let later = lines(&site.klpoll(dns, &since)?)?;
    ensure!(later.len() == 1 && later[0]["name"] == "later-0.corp.example.org", "{later:?}");
    // The mark of another controller says nothing about this one.
    let other = std::fs::read_to_string(&mark)?.replace("dc1", "dc9");
    std::fs::write(&mark, other)?;
    ensure!(lines(&site.klpoll(dns, &since)?)?.len() == COMPUTERS + 2);
    Ok(())
}

/// Of three controllers two do not answer: nobody has the address of the first, and the second is nobody to TLS.
fn fails_over_to_the_next(site: &Site) -> Result<()> {
    let _names = site.names(&[("dc8", 0, "10.99.9.9"), ("dc9", 5, "own"), ("dc1", 10, "own")])?;
    site.field.poller.ip("route add unreachable 10.99.9.9/32")?;
    let polled = site.klpoll(&site.other_dns(), &["--json"])?;
    ensure!(lines(&polled)?.len() == COMPUTERS + 2, "{}", polled.err);
    for (name, why) in [("dc8", "not reached"), ("dc9", "not reached")] {
        ensure!(polled.err.lines().any(|line| line.contains(name) && line.contains(why)), "{}", polled.err);
    }
    Ok(())
}

fn tells_no_password_to_who_is_no_controller(site: &Site) -> Result<()> {
    let _names = site.names(&[("dc9", 0, "own")])?;
    let polled = site.klpoll(&site.other_dns(), &[])?;
    ensure!(polled.code == Some(4) && polled.out.is_empty(), "{:?} {}", polled.code, polled.err);
    let nowhere = site.klpoll(&format!("{}:9", site.field.router), &[])?;
    ensure!(nowhere.code == Some(4) && nowhere.err.contains("are not known from"), "{}", nowhere.err);
    std::fs::write(&site.password, "wrong\n")?;
    let refused = site.klpoll(&site.field.router.to_string(), &[])?;
    ensure!(refused.code == Some(3), "{:?} {}", refused.code, refused.err);
    Ok(())
}

/// A controller of `corp.example.org` on the crowd, called dc1.
struct Site {
    field: Field,
    folder: TempDir,
    ca: PathBuf,
    password: PathBuf,
    _samba: Process,
}

impl Site {
    fn or_skip() -> Result<Option<Self>> {
        if !need_programs(&["samba", "samba-tool", "dnsmasq", "unshare"]) {
            return Ok(None);
        }
        if !Path::new("/usr/share/samba/setup/provision.ldif").exists() {
            skip(&Unavailable::Missing("samba-ad-dc".to_owned()));
            return Ok(None);
        }
        let Some(field) = Field::or_skip("controller")? else { return Ok(None) };
        let folder = tempfile::tempdir()?;
        let at = folder.path();
        let (ca, password) = (at.join("ca.pem"), at.join("password"));
        std::fs::write(&password, format!("{PASSWORD}\n"))?;
        provision(&field, at)?;
        certify(at, &ca)?;
        add(at, "PC", COMPUTERS)?;
        let _samba = samba(&field, at)?;
        Ok(Some(Self { field, folder, ca, password, _samba }))
    }

    fn klpoll(&self, dns: &str, arguments: &[&str]) -> Result<Polled> {
        let (ca, password) = (self.ca.to_string_lossy(), self.password.to_string_lossy());
        let own = ["directory", "corp.example.org", "--dns", dns, "--ca", &ca];
        let login = ["--bind", "Administrator@corp.example.org", "--password-file", &password];
        self.field.klpoll(&[&own[..], &login, arguments].concat())
    }

    fn add(&self, name: &str, count: usize) -> Result<()> {
        add(self.folder.path(), name, count)
    }

    /// A name server beside the controller's own, which names others: each with its priority and where it is.
    fn names(&self, controllers: &[(&str, u16, &str)]) -> Result<Process> {
        let own = self.field.router.to_string();
        let mut command = self.field.crowd.command("dnsmasq");
        let quiet = ["--keep-in-foreground", "--no-resolv", "--no-hosts", "--user=root", "--log-facility=-"];
        command.args(quiet).args(["--conf-file=/dev/null", "--pid-file=", &format!("--port={OTHER_DNS}")]);
        for (name, priority, address) in controllers {
            let address = if *address == "own" { &own } else { *address };
            command.arg(format!("--host-record={name}.corp.example.org,{address}"));
            let service = "_ldap._tcp.dc._msdcs.corp.example.org";
            command.arg(format!("--srv-host={service},{name}.corp.example.org,389,{priority},100"));
        }
        let mut process = Process::spawn("dnsmasq", &mut command)?;
        process.wait_for_line("started", Duration::from_secs(5))?;
        Ok(process)
    }

    fn other_dns(&self) -> String {
        format!("{}:{OTHER_DNS}", self.field.router)
    }
}

/// Makes the domain: ten seconds of work.
fn provision(field: &Field, folder: &Path) -> Result<()> {
    let (at, address) = (folder.display(), field.router);
    let script = format!(
        "hostname dc1 && mount -t tmpfs none /run && exec samba-tool domain provision --realm=CORP.EXAMPLE.ORG \
         --domain=CORP --server-role=dc --dns-backend=SAMBA_INTERNAL --adminpass={PASSWORD} --targetdir={at}/dc \
         --host-ip={address} --option='interfaces=lo eth0' --option='bind interfaces only=yes'"
    );
    let made = Polled::of(&mut as_dc1(field, &script))?;
    ensure!(made.code == Some(0), "{}", made.err);
    Ok(())
}

/// Gives the controller a certificate of its name: that of its own making has none that is looked at today (RFC 6125).
fn certify(folder: &Path, ca: &Path) -> Result<()> {
    let mut root = CertificateParams::default();
    root.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let root = CertifiedIssuer::self_signed(root, KeyPair::generate()?)?;
    let key = KeyPair::generate()?;
    let leaf = CertificateParams::new(["dc1.corp.example.org".to_owned()])?.signed_by(&key, &root)?;
    let place = folder.join("dc/private/tls");
    std::fs::create_dir_all(&place)?;
    for (name, text) in [("ca.pem", root.pem()), ("cert.pem", leaf.pem()), ("key.pem", key.serialize_pem())] {
        std::fs::write(place.join(name), text)?;
        std::fs::set_permissions(place.join(name), std::fs::Permissions::from_mode(0o600))?;
    }
    std::fs::write(ca, root.pem())?;
    Ok(())
}

/// Adds computers to the controller's own database: by its protocols it would take minutes.
fn add(folder: &Path, name: &str, count: usize) -> Result<()> {
    let dc = folder.join("dc");
    let added = Polled::of(
        Command::new("/usr/bin/python3").arg("-c").arg(ADD).arg(dc).arg(name).arg(count.to_string()),
    )?;
    ensure!(added.code == Some(0), "{}", added.err);
    Ok(())
}

fn samba(field: &Field, folder: &Path) -> Result<Process> {
    let script = format!(
        "hostname dc1 && mount -t tmpfs none /run && mkdir -p /run/samba && mount -t tmpfs none /var/log/samba && \
         mkdir -m 700 -p /var/log/samba/cores && exec samba --foreground --no-process-group --debug-stdout \
         --configfile={}/dc/etc/smb.conf",
        folder.display()
    );
    // It looks for its own name by the name server of the machine, which is not there.
    let samba = Process::spawn("samba", &mut as_dc1(field, &script))?.tolerating_errors();
    field.crowd.wait_for_listener(636, Duration::from_secs(60))?;
    field.crowd.wait_for_listener(53, Duration::from_secs(60))?;
    Ok(samba)
}

/// A command on the crowd, in a place where its name can be dc1.
fn as_dc1(field: &Field, script: &str) -> Command {
    let mut command = field.crowd.command("unshare");
    command.args(["--mount", "--uts", "sh", "-c", script]);
    command.env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin");
    command
}

fn lines(polled: &Polled) -> Result<Vec<Value>> {
    ensure!(polled.code == Some(0), "{:?}: {}", polled.code, polled.err);
    Ok(polled.out.lines().map(serde_json::from_str).collect::<Result<_, _>>()?)
}

/// A page has a thousand.
const COMPUTERS: usize = 1100;
const PASSWORD: &str = "Not-for-everybody-1";
const OTHER_DNS: u16 = 5300;
const ADD: &str = "\
import sys
from samba.auth import system_session
from samba.param import LoadParm
from samba.samdb import SamDB
folder, name, count = sys.argv[1:]
settings = LoadParm()
settings.load(folder + '/etc/smb.conf')
db = SamDB(url=folder + '/private/sam.ldb', session_info=system_session(), lp=settings)
db.transaction_start()
for n in range(int(count)):
    pc = '%s-%d' % (name, n)
    db.add({'dn': 'CN=%s,CN=Computers,DC=corp,DC=example,DC=org' % pc, 'objectClass': 'computer',
            'sAMAccountName': pc + '$', 'dNSHostName': pc.lower() + '.corp.example.org',
            'operatingSystem': 'Windows 11'})
db.transaction_commit()
";
