//! A hundred services that a real avahi-daemon announces, listed once.

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::Result;

use super::beside;
use super::field::{Field, Run};
use super::peers::klpoll;
use crate::bench::{Options, Report};
use crate::peer::Avahi;

pub(super) fn hundred(options: &Options) -> Result<Report> {
    let field = Field::make(false, 24)?;
    let _announcing = Avahi::announcing(&field.crowd, SERVICES, "use-ipv6=no")?;
    // It announces everything three times in as many seconds, and what was just said is not said again within one.
    std::thread::sleep(Duration::from_secs(5));
    let from = field.poller.address().to_string();
    let ours = || {
        let run = field.run(&mut klpoll(&["zeroconf", "--brief", "--from", &from, "--json"])?)?;
        Ok(counted(run, |text| text.matches("\"port\":").count()))
    };
    let theirs = || {
        // One that was asked before answers from what it remembers.
        let browsing = Avahi::browsing(&field.poller)?;
        let mut command = browsing.command(&field.poller, "avahi-browse");
        let run = field.run(command.args(["--resolve", "--terminate", "--parsable", "_http._tcp"]))?;
        let sites = |text: &str| {
            let resolved = text.lines().filter(|line| line.starts_with('='));
            resolved.filter_map(|line| line.split(';').nth(3)).collect::<BTreeSet<_>>().len()
        };
        Ok(counted(run, sites))
    };
    let what = format!("{SERVICES} services resolved");
    beside(options, &what, (SERVICES.into(), 100.0), ours, ("avahi-browse", theirs))
}

/// What was printed may hold more than was looked for: the host announces itself too.
fn counted(run: Run, count: impl Fn(&str) -> usize) -> (Run, usize) {
    let found = count(&run.out).min(SERVICES.into());
    (run, found)
}

const SERVICES: u16 = 100;
