//! Skipping a test that this machine cannot run, without ever hiding it.

use std::fmt;
use std::path::Path;

/// Why a test cannot run here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Unavailable {
    /// The kernel or the user's rights forbid it; nothing to install would help.
    Forbidden(String),
    /// Something is not installed; `tests/run` installs it.
    Missing(String),
}

impl fmt::Display for Unavailable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Forbidden(what) => write!(f, "not permitted here: {what}"),
            Self::Missing(what) => write!(f, "not installed: {what}"),
        }
    }
}

/// Prints `skipped: REASON`, the line `tests/run` counts.
///
/// # Panics
/// With `CI=true` for anything but missing rights: a continuous run installs what it needs, so a skip there would
/// quietly drop coverage.
pub fn skip(reason: &Unavailable) {
    let in_ci = std::env::var("CI").is_ok_and(|v| v == "true");
    assert!(may_skip(reason, in_ci), "CI has to install what its tests need: {reason}");
    println!("skipped: {reason}");
}

/// Whether all `programs` are on the search path; prints the skip line when one is not.
#[must_use]
pub fn need_programs(programs: &[&str]) -> bool {
    let Some(missing) = programs.iter().find(|p| !on_path(p)) else { return true };
    skip(&Unavailable::Missing((*missing).to_owned()));
    false
}

fn may_skip(reason: &Unavailable, in_ci: bool) -> bool {
    !in_ci || matches!(reason, Unavailable::Forbidden(_))
}

/// Looks in the usual system directories too: a user's PATH often lacks `/usr/sbin`, where `nft` and `sshd` live.
pub(crate) fn on_path(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let system = ["/usr/sbin", "/sbin", "/usr/local/sbin"].map(Into::into);
    std::env::split_paths(&path).chain(system).any(|dir| is_file(&dir, program))
}

fn is_file(dir: &Path, program: &str) -> bool {
    dir.join(program).is_file()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn program_that_does_not_exist_is_not_found() {
        assert!(on_path("sh"));
        assert!(!on_path("klnet-no-such-program"));
    }

    #[test]
    fn continuous_run_skips_only_what_it_has_no_right_to() {
        let (missing, forbidden) =
            (Unavailable::Missing(String::new()), Unavailable::Forbidden(String::new()));
        assert!(!may_skip(&missing, true));
        assert!(may_skip(&missing, false));
        assert!(may_skip(&forbidden, true));
    }

    #[test]
    fn reason_says_whether_installing_would_help() {
        assert_eq!(Unavailable::Missing("nft".into()).to_string(), "not installed: nft");
        assert_eq!(Unavailable::Forbidden("root".into()).to_string(), "not permitted here: root");
    }
}
