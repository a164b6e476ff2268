//! `klsctunnel ssh`: OpenSSH with this program as its `ProxyCommand`.

use std::ffi::{OsStr, OsString};
use std::path::Path;
use std::process::{ExitCode, ExitStatus};

use tokio::process::Command;

use super::args::{Options, TARGET_VARIABLE};
use super::failure::{FAILED, Failure};
use super::operator::profile_path;
use super::pasted::or_read;
use super::target::Target;
use crate::grant::Host;

/// Runs ssh and gives its exit code.
pub(super) async fn main(
    target: Target,
    args: &[OsString],
    options: &Options,
    program: &OsStr,
) -> Result<ExitCode, Failure> {
    let mut target = or_read(target)?;
    if let Target::Port(target) = &mut target {
        target.port.get_or_insert(SSH_PORT);
    }
    let mut command = Command::new("ssh");
    command.arg("-o").arg(proxy_command(program)).arg("-o").arg(format!("HostKeyAlias={}", alias(&target)));
    if let Target::Port(target) = &target
        && let Some(user) = &target.user
    {
        command.arg("-l").arg(user);
    }
    command.arg(alias(&target)).args(args);
    // By the environment: a command line shows in the list of processes, and would have to be quoted for a shell.
    command.env(TARGET_VARIABLE, written(&target)).env("KLNET_PROFILE", profile_path(options)?);
    let failed = |error| Failure::Program { program: "ssh".into(), error };
    // ssh shares the terminal: an interrupt is its own to handle, and its exit code says what came of it.
    let mut child = command.spawn().map_err(failed)?;
    let status = loop {
        tokio::select! {
            status = child.wait() => break status.map_err(failed)?,
            _ = tokio::signal::ctrl_c() => {}
        }
    };
    Ok(exit_code(status))
}

/// The exit code of a program that ended; one killed by a signal counts as a shell counts it.
pub(super) fn exit_code(status: ExitStatus) -> ExitCode {
    #[cfg(unix)]
    let signal = std::os::unix::process::ExitStatusExt::signal(&status).map(|signal| 128 + signal);
    #[cfg(not(unix))]
    let signal = None;
    let code = status.code().or(signal).and_then(|code| u8::try_from(code).ok());
    ExitCode::from(code.unwrap_or(FAILED))
}

/// The name under which ssh keeps the host's key: a device's own, whatever port leads to it.
fn alias(target: &Target) -> String {
    let (device, host) = match target {
        Target::Blob(blob) => (blob.grant.device.to_string(), &blob.grant.host),
        Target::Port(target) => (target.device.clone(), &target.host),
        Target::StandardInput => return "-".into(),
    };
    match host {
        Host::Device => device,
        // An IPv6 address has colons, which ssh would take for a port.
        host => format!("{}.{device}", host.to_string().replace(':', "-")),
    }
}

fn written(target: &Target) -> String {
    match target {
        Target::Blob(blob) => blob.to_string(),
        other => other.to_string(),
    }
}

/// The option that makes ssh run `stdio` of this same program.
fn proxy_command(program: &OsStr) -> OsString {
    let path = Path::new(program);
    // A bare name was found on the PATH, and will be again; a relative path may not hold where ssh runs it.
    let bare = path.components().count() == 1 && !program.to_string_lossy().contains('/');
    let path = if bare { path.to_owned() } else { std::path::absolute(path).unwrap_or(path.to_owned()) };
    let quoted = path.to_string_lossy().replace('\'', r"'\''").replace('%', "%%");
    format!("ProxyCommand='{quoted}' --quiet stdio").into()
}

const SSH_PORT: u16 = 22;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_proxy_command_survives_odd_paths() {
        let command = |program: &str| proxy_command(OsStr::new(program)).into_string().unwrap();
        assert_eq!(command("klsctunnel"), "ProxyCommand='klsctunnel' --quiet stdio");
        assert_eq!(
            command("/opt/o'n 100%/klsctunnel"),
            r"ProxyCommand='/opt/o'\''n 100%%/klsctunnel' --quiet stdio"
        );
    }

    #[test]
    fn a_host_behind_a_device_has_a_host_key_of_its_own() {
        let alias = |text: &str| alias(&text.parse().unwrap());
        assert_eq!(alias("root@web-7:22"), "web-7");
        assert_eq!(alias("web-7:2222"), "web-7", "the same host key, whatever port leads to it");
        assert_eq!(alias("web-7:db.lan:22"), "db.lan.web-7");
        assert_eq!(alias("web-7:[fd00::1]:22"), "fd00--1.web-7");
    }
}
