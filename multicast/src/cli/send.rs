//! `klcast send`: an object to whoever listens, by each interface.

use std::io::IsTerminal;
use std::ops::ControlFlow;
use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::thread;

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde_json::json;

use super::args::SendArgs;
use super::failure::Failure;
use super::keyfile::SenderFile;
use super::result::SendResult;
use super::show;
use crate::net::{Interface, Object, SendError, SendOptions, SendView, Sent, interfaces, send};
use crate::sender::{Config, Event};

pub(super) fn main(args: &SendArgs) -> Result<ExitCode, Failure> {
    let file = SenderFile::read(&args.key)?;
    let interfaces = interfaces(file.group.ip(), &args.interface).map_err(Failure::Interfaces)?;
    if interfaces.is_empty() {
        return Err(Failure::NoInterface);
    }
    let object = Object::from_paths(&args.paths, &file.signer)?;
    let screen = Screen::new(args, &object);
    let results = Mutex::new(Vec::new());
    thread::scope(|scope| {
        for interface in &interfaces {
            let (file, object, screen, results) = (&file, &object, &screen, &results);
            scope.spawn(move || {
                let sent = one(args, file, object, interface, screen);
                results.lock().unwrap_or_else(PoisonError::into_inner).push(sent);
            });
        }
    });
    screen.close();
    let results = results.into_inner().unwrap_or_else(PoisonError::into_inner);
    let sent = results.into_iter().collect::<Result<Vec<Sent>, SendError>>()?;
    let result = SendResult::new(&sent, args.expect);
    result.print(args, &object).map_err(Failure::Output)?;
    Ok(ExitCode::from(result.exit_code()))
}

fn one(
    args: &SendArgs,
    file: &SenderFile,
    object: &Object,
    interface: &Interface,
    screen: &Screen,
) -> Result<Sent, SendError> {
    let mut config = Config { expect: args.expect, ..Config::default() };
    if let Some(rate) = args.rate {
        config.cap = rate;
    }
    let options = SendOptions { group: file.group, interface: interface.clone(), hops: args.hops, config };
    let bar = screen.bar(interface);
    send(object, &file.keys, &options, |view| {
        screen.show(&bar, interface, &view);
        ControlFlow::Continue(())
    })
}

/// What is seen while it goes on.
struct Screen {
    bars: MultiProgress,
    blocks: u64,
    json: bool,
}

impl Screen {
    fn new(args: &SendArgs, object: &Object) -> Self {
        let is_seen = !args.quiet && !args.json && std::io::stderr().is_terminal();
        let target = if is_seen { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::hidden() };
        let blocks = object.manifest.length.div_ceil(1 << object.manifest.block_log2) + 1;
        Self { bars: MultiProgress::with_draw_target(target), blocks, json: args.json }
    }

    fn bar(&self, interface: &Interface) -> ProgressBar {
        let style = ProgressStyle::with_template("{prefix} {wide_bar} {percent:>3} % {msg}");
        let bar = ProgressBar::new(self.blocks).with_prefix(interface.name.clone());
        self.bars.add(style.map_or(bar.clone(), |style| bar.with_style(style)))
    }

    fn show(&self, bar: &ProgressBar, interface: &Interface, view: &SendView<'_>) {
        let frontier = view.sender.frontier();
        let moved = bar.position() != u64::from(frontier);
        bar.set_position(frontier.into());
        let (there, complete) = view.sender.members().fold((0, 0), |(there, complete), (_, member)| {
            (there + 1, complete + usize::from(member.completed.is_some()))
        });
        bar.set_message(format!("{complete} of {there} complete, {}", show::bits(view.sender.rate())));
        if self.json {
            if moved {
                let rate = view.sender.rate().round();
                println!(
                    "{}",
                    json!({ "event": "progress", "interface": interface.name, "blocks": frontier, "of": self.blocks, "rate": rate })
                );
            }
            for event in view.events {
                let (name, receiver) = match event {
                    Event::Joined(receiver) => ("joined", receiver),
                    Event::Completed(receiver) => ("completed", receiver),
                    Event::Demoted(receiver) => ("demoted", receiver),
                    Event::Over => continue,
                };
                let receiver = receiver.to_string();
                println!("{}", json!({ "event": name, "interface": interface.name, "receiver": receiver }));
            }
        }
    }

    fn close(&self) {
        // The bars have said what they had to say.
        let _ = self.bars.clear();
    }
}
