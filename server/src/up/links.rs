//! One program, several commands: which one it is depends on the name it is called by.

use std::ffi::OsString;
use std::io;
use std::path::Path;
use std::process::ExitCode;

type Main = fn(Vec<OsString>) -> ExitCode;

/// Each command and what it runs.
const COMMANDS: [(&str, Main); 8] = [
    ("klserver", |args| crate::cli::main(args, super::run)),
    ("klctl", |args| crate::ctl::main(args)),
    ("klnagent", |args| klnet_agent::cli::agent_main(args)),
    ("klnagchk", |args| klnet_agent::cli::check_main(args)),
    ("klmover", |args| klnet_agent::cli::mover_main(args)),
    ("klsctunnel", |args| klnet_tunnel::cli::main(args)),
    ("ksnproxy", |args| klnet_ksnproxy::cli::proxy::main(args)),
    ("ksnserver", |args| klnet_ksnproxy::cli::server::main(args)),
];

/// Runs the command that the first argument names; `klserver` when it names none.
pub fn main(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    let args: Vec<_> = args.into_iter().collect();
    let name = args
        .first()
        .and_then(|path| Path::new(path).file_stem())
        .map(|name| name.to_string_lossy().into_owned());
    let command = COMMANDS.iter().find(|(command, _)| Some(*command) == name.as_deref());
    let (_, main) = command.unwrap_or(&COMMANDS[0]);
    main(args)
}

/// Links every command into `folder`, each to this very program.
///
/// # Errors
/// What the file system says.
pub(super) fn make(folder: &Path) -> io::Result<()> {
    std::fs::create_dir_all(folder)?;
    let program = std::env::current_exe()?;
    for (name, _) in COMMANDS {
        let link = folder.join(name);
        match std::fs::remove_file(&link) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => std::os::unix::fs::symlink(&program, &link)?,
        }
    }
    Ok(())
}
