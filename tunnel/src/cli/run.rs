//! `klsctunnel run`: a command that finds the target on a local port.

use std::ffi::{OsStr, OsString};
use std::process::ExitCode;

use tokio::process::Command;

use super::args::Options;
use super::failure::Failure;
use super::forward::Forward;
use super::ssh::exit_code;
use super::target::Target;

/// Opens a free port, runs the command with it, and gives the command's own exit code.
pub(super) async fn main(
    target: Target,
    command: &[OsString],
    options: &Options,
) -> Result<ExitCode, Failure> {
    if !command.iter().any(|word| contains_port(word)) {
        return Err(Failure::Usage("CMD needs {port} where the local port belongs".into()));
    }
    let forward = Forward::open(target, None, options).await?;
    let words: Vec<OsString> = command.iter().map(|word| with_port(word, forward.port())).collect();
    let (program, arguments) = words.split_first().ok_or(Failure::Usage("CMD is missing".into()))?;
    let failed = |error| Failure::Program { program: program.to_string_lossy().into_owned(), error };
    let mut child = Command::new(program).args(arguments).spawn().map_err(failed)?;
    // The command shares the terminal: an interrupt is its own to handle, and its exit code says what came of it.
    let ended = async {
        loop {
            tokio::select! {
                status = child.wait() => break status,
                _ = tokio::signal::ctrl_c() => {}
            }
        }
    };
    let status = forward.serve_until(ended).await.map_err(failed)?;
    Ok(exit_code(status))
}

fn contains_port(word: &OsStr) -> bool {
    word.to_string_lossy().contains(PORT)
}

/// Words that are no text are left as they are.
fn with_port(word: &OsStr, port: u16) -> OsString {
    match word.to_str() {
        Some(text) => text.replace(PORT, &port.to_string()).into(),
        None => word.to_owned(),
    }
}

const PORT: &str = "{port}";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_port_in_a_word_is_filled_in() {
        assert_eq!(with_port(OsStr::new("http://x:{port}/{port}"), 80), "http://x:80/80");
        assert_eq!(with_port(OsStr::new("{Port}"), 80), "{Port}");
    }
}
