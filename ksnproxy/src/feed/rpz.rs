//! A response policy zone: a DNS zone whose records say what to do with a name.
//!
//! `name CNAME .` blocks, `name CNAME rpz-passthru.` lets through, any other answer is another way to block. Names are
//! relative to the zone; `*.name` is everything below. `32.1.2.0.192.rpz-ip` is a network, written backwards.

use std::io::Read;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::error::{FeedError, Reason};
use super::intake::Intake;
use super::line::Lines;
use super::says::Says;
use super::shape;
use crate::subject::{Network, Subject};
use crate::verdict::Category;

pub(super) fn read(input: impl Read, intake: &mut Intake) -> Result<(), FeedError> {
    let mut lines = Lines::new(input);
    let mut zone = Zone::default();
    while let Some((number, line)) = lines.next()? {
        zone.line(number, line, intake)?;
    }
    if zone.depth == 0 {
        Ok(())
    } else {
        Err(Reason::Structure("a parenthesis is not closed".to_owned()).into())
    }
}

#[derive(Default)]
struct Zone {
    origin: String,
    /// Of parentheses, within which lines go on.
    depth: u32,
}

impl Zone {
    fn line(&mut self, number: u64, line: &[u8], intake: &mut Intake) -> Result<(), FeedError> {
        let line = line.split(|byte| *byte == b';').next().unwrap_or_default();
        let line = std::str::from_utf8(line).map_err(|_| Reason::Word(line.into()).at(number))?;
        let inside = self.depth > 0;
        for byte in line.bytes() {
            match byte {
                b'(' => self.depth += 1,
                b')' => self.depth = self.depth.checked_sub(1).ok_or_else(|| Reason::Quotes.at(number))?,
                _ => {}
            }
        }
        let mut words = line.split_ascii_whitespace();
        let own_owner = !line.starts_with([' ', '\t']);
        match words.next() {
            Some("$ORIGIN") => words.next().unwrap_or_default().to_lowercase().clone_into(&mut self.origin),
            Some(owner) if own_owner && !inside && !owner.starts_with('$') => {
                self.record(number, owner, words, intake)?;
            }
            _ => {}
        }
        Ok(())
    }

    fn record<'a>(
        &mut self,
        number: u64,
        owner: &str,
        words: impl Iterator<Item = &'a str>,
        intake: &mut Intake,
    ) -> Result<(), FeedError> {
        let is_number = |word: &str| word.bytes().all(|byte| byte.is_ascii_digit());
        let mut words = words.skip_while(|word| is_number(word) || word.eq_ignore_ascii_case("IN"));
        let kind = words.next().unwrap_or_default().to_ascii_uppercase();
        let target = words.next().unwrap_or_default();
        if kind == "SOA" && self.origin.is_empty() && owner.ends_with('.') {
            self.origin = owner.to_lowercase();
        }
        let says = match (kind.as_str(), target) {
            ("SOA" | "NS", _) => return Ok(()),
            ("CNAME", "rpz-passthru.") => Says::clean(Category::None, CONFIDENCE),
            ("CNAME" | "A" | "AAAA" | "TXT" | "MX" | "SRV", _) => Says::malicious(Category::None, CONFIDENCE),
            _ => return Err(Reason::Word(kind.as_bytes().into()).at(number)),
        };
        let owner = owner.to_lowercase();
        let name =
            owner.strip_suffix(self.origin.as_str()).filter(|_| !self.origin.is_empty()).unwrap_or(&owner);
        let name = name.trim_end_matches('.');
        if let Some(trigger) = name.rsplit('.').next().filter(|label| label.starts_with("rpz-")) {
            return self.trigger(number, trigger, name, says, intake);
        }
        let subject = shape::domain(name.as_bytes())
            .ok_or_else(|| Reason::Subject(name.as_bytes().into()).at(number))?;
        intake.take(subject, says)
    }

    fn trigger(
        &self,
        number: u64,
        trigger: &str,
        name: &str,
        says: Says,
        intake: &mut Intake,
    ) -> Result<(), FeedError> {
        if trigger != "rpz-ip" {
            intake.leave_out("a trigger other than names and addresses", number);
            return Ok(());
        }
        let written = name.strip_suffix(".rpz-ip").unwrap_or_default();
        let network = backwards(written).ok_or_else(|| Reason::Subject(name.as_bytes().into()).at(number))?;
        intake.take(Subject::Network(network), says)
    }
}

/// `PREFIX.b4.b3.b2.b1`, or `PREFIX.w8.….w1` where `zz` stands for the words that are zero.
fn backwards(written: &str) -> Option<Network> {
    let mut labels: Vec<&str> = written.split('.').collect();
    labels.reverse();
    let prefix = labels.pop()?.parse().ok()?;
    let address = if labels.len() == 4 && !labels.contains(&"zz") {
        IpAddr::V4(labels.join(".").parse::<Ipv4Addr>().ok()?)
    } else {
        let mut text = labels.join(":");
        if labels.contains(&"zz") {
            text = text.replacen("zz", "", 1);
            let (begins, ends) = (text.starts_with(':'), text.ends_with(':'));
            text = match (begins, ends) {
                (true, _) => format!(":{text}"),
                (_, true) => format!("{text}:"),
                _ => text,
            };
        }
        IpAddr::V6(text.parse::<Ipv6Addr>().ok()?)
    };
    Network::new(address, prefix).ok()
}

const CONFIDENCE: u8 = 80;
