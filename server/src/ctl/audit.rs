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
    let mut last = entries.last().map_or(0, |entry| entry.number);
    let mut ticks = interval(FOLLOW_EACH);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    while audit.follow {
        ticks.tick().await;
        let mut entries = newest(console, |_, number| number <= last).await?;
        entries.retain(|entry| entry.number > last);
        print_all(console, &entries)?;
        last = entries.last().map_or(last, |entry| entry.number);
    }
    Ok(())
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
    let detail: Vec<_> = entry.detail.iter().map(|(key, value)| format!("{key}={value}")).collect();
    let AuditEntry { at, actor, action, subject, .. } = entry;
    let line = format!("{}  {actor}  {action}  {subject}  {}", moment(*at), detail.join(" "));
    printable(line.trim_end())
}

/// Entries asked for at once.
const PAGE: usize = 200;
/// How often `--follow` asks.
const FOLLOW_EACH: Duration = Duration::from_secs(2);
