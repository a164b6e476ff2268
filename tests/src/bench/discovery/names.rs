//! The names of 65,536 addresses, asked of a real name server on the other side.

use std::collections::BTreeSet;
use std::fmt::Write;

use anyhow::Result;

use super::beside;
use super::field::Field;
use super::peers::{klpoll, nmap};
use crate::bench::{Options, Report};
use crate::peer::Knot;

pub(super) fn reverse(options: &Options) -> Result<Report> {
    let bits = if options.smoke { 22 } else { 16 };
    let field = Field::make(false, bits)?;
    let count = 1_usize << (32 - bits);
    let mut records = String::new();
    for number in 0..count {
        let (c, d) = (number >> 8, number & 255);
        writeln!(records, "{d}.{c} PTR host-{c}-{d}.example.org.")?;
    }
    let _knot = Knot::serving(&field.crowd, "88.10.in-addr.arpa", &records)?;
    let dns = field.router.to_string();
    let run = |mut command: std::process::Command| {
        field.forget()?;
        let run = field.run(&mut command)?;
        let words = run.out.split(|c: char| !c.is_ascii_alphanumeric() && c != '-' && c != '.');
        let named: BTreeSet<_> = words.filter(|word| word.ends_with(".example.org")).collect();
        let found = named.len();
        Ok((run, found))
    };
    let ours = || {
        run(klpoll(&["range", &field.range, "--profile", "max", "--names", "all", "--dns", &dns, "--csv"])?)
    };
    let theirs = || run(nmap(&["-sL", "-R", "-T5", "--dns-servers", &dns, "-oG", "-", &field.range]));
    beside(options, &format!("names of {count} addresses"), (count, 100.0), ours, ("nmap -sL -R", theirs))
}
