//! `klctl audit`.

use std::time::Duration;

use tokio::time::{MissedTickBehavior, interval};

use super::args::Audit;
use super::console::{Console, print_line};
use super::failure::Failure;
use super::text::{json, moment, printable};
use crate::api::types::AuditEntry;

/// Shows the newest entries in the order they came, then, when asked, every further one.
pub(super) async fn show(console: &Console, audit: &Audit) -> Result<(), Failure> {
    let entries = newest(console, |count, _| count >= audit.lines).await?;
    let entries = &entries[entries.len().saturating_sub(audit.lines)..];
    print_all(console, entries)?;
    match audit.follow {
        true => follow(console, entries.last().map_or(0, |entry| entry.number)).await,
        false => Ok(()),
    }
}

/// Shows every entry after the one numbered `last`, until interrupted.
async fn follow(console: &Console, mut last: u64) -> Result<(), Failure> {
    let mut ticks = interval(FOLLOW_EACH);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let mut entries = newest(console, |_, number| number <= last).await?;
        entries.retain(|entry| entry.number > last);
        print_all(console, &entries)?;
        last = entries.last().map_or(last, |entry| entry.number);
    }
}

/// Reads pages from the newest entry back until `enough` of the count and the oldest number; oldest first.
async fn newest(console: &Console, enough: impl Fn(usize, u64) -> bool) -> Result<Vec<AuditEntry>, Failure> {
    let (mut entries, mut before) = (Vec::new(), String::new());
    loop {
        let page: Vec<AuditEntry> = console.get(&format!("/audit?limit={PAGE}{before}")).await?;
        let (count, oldest) = (page.len(), page.last().map(|entry| entry.number));
        entries.extend(page);
        match oldest {
            Some(number) if count >= PAGE && !enough(entries.len(), number) => {
                before = format!("&before={number}")
            }
            _ => break,
        }
    }
    entries.reverse();
    Ok(entries)
}

fn print_all(console: &Console, entries: &[AuditEntry]) -> Result<(), Failure> {
    entries.iter().try_for_each(|entry| match console.json {
        true => print_line(&json(entry)),
        false => print_line(&line(entry)),
    })
}

fn line(entry: &AuditEntry) -> String {
    let detail: Vec<_> = entry.detail.iter().map(|(key, value)| format!("{key}={}", field(value))).collect();
    let [actor, action, subject] = [&entry.actor, &entry.action, &entry.subject].map(|text| field(text));
    let line = format!("{}  {actor}  {action}  {subject}  {}", moment(entry.at), detail.join(" "));
    line.trim_end().to_owned()
}

/// A field of a line, quoted where it could be taken for more than one: devices choose their own names.
fn field(text: &str) -> String {
    let text = printable(text);
    match text.contains(|c: char| c.is_whitespace() || "\"=".contains(c)) {
        true => format!("{text:?}"),
        false => text,
    }
}

/// Entries asked for at once.
const PAGE: usize = 200;
/// How often `--follow` asks.
const FOLLOW_EACH: Duration = Duration::from_secs(2);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_cannot_pass_for_other_fields_of_its_line() {
        let entry = AuditEntry {
            number: 1,
            at: 0,
            actor: "anna".into(),
            action: "device.move".into(),
            subject: "pc  root  device.revoke\nuses=\"2\"".into(),
            detail: [("group".into(), "/a b".into()), ("uses".into(), "1".into())].into(),
        };
        let subject = r#""pc  root  device.revoke�uses=\"2\"""#;
        let expected = format!(r#"1970-01-01 00:00:00Z  anna  device.move  {subject}  group="/a b" uses=1"#);
        assert_eq!(line(&entry), expected);
    }
}
