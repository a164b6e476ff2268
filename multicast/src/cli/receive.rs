//! `klcast receive`: whatever is sent to the group, into a folder.

use std::collections::HashMap;
use std::io::IsTerminal;
use std::ops::ControlFlow;
use std::process::ExitCode;
use std::sync::Arc;

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde_json::json;

use super::args::ReceiveArgs;
use super::failure::Failure;
use super::keyfile::ReceiverFile;
use super::show;
use crate::feedback::label;
use crate::id::SessionId;
use crate::manifest::Manifest;
use crate::net::{Receipt, ReceiveEvent, ReceiveOptions, interfaces, receive};

pub(super) fn main(args: &ReceiveArgs) -> Result<ExitCode, Failure> {
    let file = ReceiverFile::read(&args.key)?;
    let interfaces = interfaces(file.group.ip(), &args.interface).map_err(Failure::Interfaces)?;
    if interfaces.is_empty() {
        return Err(Failure::NoInterface);
    }
    std::fs::create_dir_all(&args.folder)
        .map_err(|error| Failure::Folder { path: args.folder.clone(), error })?;
    let options = ReceiveOptions {
        group: file.group,
        interfaces,
        label: label(&args.label.clone().unwrap_or_else(host_name)),
        clock: None,
        stop: Arc::default(),
    };
    let mut screen = Screen::new(args);
    screen.listening(&options);
    receive(&args.folder, |receiver| file.membership(receiver), &options, |event| screen.show(event))?;
    Ok(ExitCode::SUCCESS)
}

fn host_name() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}

/// What is seen while it goes on.
struct Screen<'a> {
    args: &'a ReceiveArgs,
    bars: MultiProgress,
    of: HashMap<SessionId, ProgressBar>,
}

impl<'a> Screen<'a> {
    fn new(args: &'a ReceiveArgs) -> Self {
        let is_seen = !args.quiet && !args.json && std::io::stderr().is_terminal();
        let target = if is_seen { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::hidden() };
        Self { args, bars: MultiProgress::with_draw_target(target), of: HashMap::new() }
    }

    fn listening(&self, options: &ReceiveOptions) {
        let names: Vec<_> = options.interfaces.iter().map(|interface| interface.name.as_str()).collect();
        self.say(
            || format!("listening to {} on {}", options.group, names.join(", ")),
            || json!({ "event": "listening", "group": options.group, "interfaces": names }),
        );
    }

    /// Shows an event; ends after the first object when that was asked for.
    fn show(&mut self, event: ReceiveEvent) -> ControlFlow<()> {
        match event {
            ReceiveEvent::Opened { session, manifest, sender } => {
                self.of.insert(session, self.bar(&manifest));
                self.say(
                    || format!("{} ({} bytes) from {sender}", manifest.name, manifest.length),
                    || json!({ "event": "opened", "name": manifest.name, "bytes": manifest.length, "sender": sender }),
                );
            }
            ReceiveEvent::Progress { session, bytes, manifest } => {
                let bar = self.of.get(&session).filter(|bar| bar.position() != bytes);
                if let Some(bar) = bar {
                    bar.set_position(bytes);
                    self.tell(|| json!({ "event": "progress", "name": manifest.name, "verified": bytes, "bytes": manifest.length }));
                }
            }
            ReceiveEvent::Completed(receipt) => self.completed(&receipt),
            ReceiveEvent::Failed { manifest, error } => {
                self.warn(&format!("{}: {error}; it is tried again", manifest.name), "failed");
            }
            ReceiveEvent::Refused { sender, reason } => {
                self.warn(&format!("refused what {sender} sends: {reason}"), "refused");
            }
            ReceiveEvent::Closed { session, manifest, complete } => {
                if let Some(bar) = self.of.remove(&session) {
                    bar.finish_and_clear();
                }
                if !complete {
                    self.warn(&format!("{}: the sender ended before all was here", manifest.name), "ended");
                }
                if complete && self.args.once {
                    return ControlFlow::Break(());
                }
            }
        }
        ControlFlow::Continue(())
    }

    fn completed(&self, receipt: &Receipt) {
        self.say(
            || {
                let (time, rate) = (show::time(receipt.time), show::rate(receipt.bytes, receipt.time));
                format!("{}: complete in {time}, {rate}, {} symbols restored", receipt.name, receipt.repaired)
            },
            || {
                json!({
                    "event": "completed",
                    "name": receipt.name,
                    "version": receipt.version,
                    "bytes": receipt.bytes,
                    "paths": receipt.paths,
                    "repaired": receipt.repaired,
                    "resumed": receipt.resumed,
                    "seconds": receipt.time.as_secs_f64(),
                })
            },
        );
    }

    fn bar(&self, manifest: &Manifest) -> ProgressBar {
        let style = ProgressStyle::with_template("{prefix} {wide_bar} {percent:>3} % {bytes_per_sec} {eta}");
        let bar = ProgressBar::new(manifest.length).with_prefix(manifest.name.clone());
        self.bars.add(style.map_or(bar.clone(), |style| bar.with_style(style)))
    }

    fn say(&self, text: impl FnOnce() -> String, json: impl FnOnce() -> serde_json::Value) {
        if self.args.json {
            println!("{}", json());
        } else if !self.args.quiet {
            self.bars.suspend(|| println!("{}", text()));
        }
    }

    /// Says what only a program wants to read.
    fn tell(&self, json: impl FnOnce() -> serde_json::Value) {
        if self.args.json {
            println!("{}", json());
        }
    }

    fn warn(&self, text: &str, event: &'static str) {
        if self.args.json {
            println!("{}", json!({ "event": event, "reason": text }));
        } else {
            self.bars.suspend(|| eprintln!("klcast: {text}"));
        }
    }
}
