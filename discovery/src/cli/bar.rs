//! A progress bar that says what is left, for a person who waits.

use std::io::IsTerminal;

use indicatif::{ProgressBar, ProgressStyle};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::net::{Progress, Stage};

/// A bar that shows what it is told, and the task that ends with it.
pub(super) fn start(quiet: bool) -> (watch::Sender<Progress>, JoinHandle<()>) {
    let (report, progress) = watch::channel(Progress { stage: Stage::Round(1, 1), done: 0, of: 0, found: 0 });
    (report, tokio::spawn(show(progress, quiet)))
}

/// Shows progress on standard error until the poll is over; nothing where nobody looks.
async fn show(mut progress: watch::Receiver<Progress>, quiet: bool) {
    if quiet || !std::io::stderr().is_terminal() {
        return;
    }
    let bar = ProgressBar::new(0);
    if let Ok(style) = ProgressStyle::with_template("{bar:20} {pos} of {len} {msg}, {eta} left") {
        bar.set_style(style);
    }
    let mut stage = Stage::Over;
    while progress.changed().await.is_ok() {
        let at = *progress.borrow_and_update();
        if at.stage == Stage::Over {
            break;
        }
        if std::mem::replace(&mut stage, at.stage) != at.stage {
            // The next round is shorter or longer: what was learned about the last one says nothing about it.
            bar.reset();
        }
        bar.set_length(at.of);
        bar.set_position(at.done);
        bar.set_message(words(&at));
    }
    bar.finish_and_clear();
}

fn words(at: &Progress) -> String {
    match at.stage {
        Stage::Round(round, rounds) => format!("in round {round} of {rounds}, {} found", at.found),
        Stage::Names => "names".to_owned(),
        Stage::Over => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_words_say_which_round_it_is() {
        let at = Progress { stage: Stage::Round(1, 3), done: 7, of: 254, found: 2 };
        assert_eq!(words(&at), "in round 1 of 3, 2 found");
    }
}
