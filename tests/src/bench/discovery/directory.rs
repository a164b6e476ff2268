//! The computers of a real slapd, read in pages over TLS.

use anyhow::Result;

use super::beside;
use super::field::Field;
use super::peers::klpoll;
use crate::bench::{Options, Report};
use crate::peer::Slapd;

pub(super) fn computers(options: &Options) -> Result<Report> {
    let field = Field::make(false, 24)?;
    let count = if options.smoke { 1500 } else { 50_000 };
    let slapd = Slapd::with_computers(&field.crowd, count)?;
    let server = format!("ldaps://{}", field.router);
    let [ca, password] = [slapd.certificate(), slapd.password()].map(|path| path.display().to_string());
    let ours = || {
        let account = ["--bind", Slapd::ACCOUNT, "--password-file", &password, "--ca", &ca];
        let run = field.run(klpoll(&["directory", &server, "--csv"])?.args(account))?;
        let found = run.out.lines().count().saturating_sub(1);
        Ok((run, found))
    };
    let theirs = || {
        let mut command = field.poller.command("ldapsearch");
        command.env("LDAPTLS_CACERT", &ca);
        command.args(["-x", "-LLL", "-o", "ldif-wrap=no", "-E", "pr=1000/noprompt", "-H", &server]);
        command.args([
            "-D",
            Slapd::ACCOUNT,
            "-w",
            Slapd::PASSWORD,
            "-b",
            Slapd::BASE,
            "(objectClass=computer)",
        ]);
        let run = field.run(command.args(ATTRIBUTES))?;
        let found = run.out.lines().filter(|line| line.starts_with("dn: ")).count();
        Ok((run, found))
    };
    beside(
        options,
        &format!("{count} computers of a directory"),
        (count, 100.0),
        ours,
        ("ldapsearch", theirs),
    )
}

const ATTRIBUTES: [&str; 5] = ["cn", "dNSHostName", "operatingSystem", "objectGUID", "modifyTimestamp"];
