//! The program this process runs, to be started again from the file that is there by then.

use std::ffi::OsString;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf, absolute};

use tokio::process::{Child, Command};

/// How this process was started. To be asked at once: a package that is installed later replaces the file, and then
/// the system no longer tells its name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Program {
    path: PathBuf,
    /// The name it was called by, which decides what `klserver up` is.
    name: OsString,
    arguments: Vec<OsString>,
}

impl Program {
    /// The program of this process.
    ///
    /// # Errors
    /// When it was not called by a path and the system does not know where it lies.
    pub fn of_this_process() -> io::Result<Self> {
        let mut arguments = std::env::args_os();
        let name = arguments.next().unwrap_or_default();
        Self::new(name, arguments.collect(), std::env::current_exe)
    }

    /// A program called by `name`. A path is kept as it is, for a link in it may lead to another version by the time it
    /// is followed; a plain name was looked up by whoever called it, so that only the system knows the path.
    fn new(
        name: OsString,
        arguments: Vec<OsString>,
        located: impl FnOnce() -> io::Result<PathBuf>,
    ) -> io::Result<Self> {
        let path = match Path::new(&name).components().count() {
            0 | 1 => located()?,
            _ => absolute(&name)?,
        };
        Ok(Self { path, name, arguments })
    }

    /// Where it lies.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Starts it with the same arguments and environment, and with `stdin` as its standard input.
    ///
    /// # Errors
    /// When the file is no program.
    pub fn start(&self, stdin: OwnedFd) -> io::Result<Child> {
        let mut command = std::process::Command::new(&self.path);
        command.arg0(&self.name).args(&self.arguments).stdin(stdin);
        Command::from(command).spawn()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_called_by_a_path_is_looked_for_there_again() {
        for (name, path) in
            [("/usr/bin/klserver", "/usr/bin/klserver"), ("/opt/current/klserver", "/opt/current/klserver")]
        {
            let program =
                Program::new(name.into(), Vec::new(), || unreachable!("the path is known")).unwrap();
            assert_eq!(program.path(), Path::new(path));
        }
        let program = Program::new("./klserver".into(), Vec::new(), || unreachable!()).unwrap();
        assert!(program.path().is_absolute(), "the folder may be another by then");
    }

    #[test]
    fn a_program_called_by_its_name_lies_where_the_system_says() {
        let program = Program::new("klserver".into(), Vec::new(), || Ok("/usr/bin/klserver".into())).unwrap();
        assert_eq!(
            (program.path(), program.name.to_str()),
            (Path::new("/usr/bin/klserver"), Some("klserver"))
        );
    }

    #[tokio::test]
    async fn a_program_is_started_with_its_arguments_and_what_it_inherits() {
        let program = Program {
            path: "/bin/sh".into(),
            name: "sh".into(),
            arguments: vec!["-c".into(), "test -S /dev/stdin && exit $0".into(), "7".into()],
        };
        let (_link, theirs) = super::super::Link::pair().unwrap();
        let status = program.start(theirs).unwrap().wait().await.unwrap();
        assert_eq!(status.code(), Some(7));
    }

    #[test]
    fn a_file_that_is_no_program_is_told() {
        let program = Program { path: "/dev/null".into(), name: "klserver".into(), arguments: Vec::new() };
        let (_ours, theirs) = std::os::unix::net::UnixStream::pair().unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let _inside = runtime.enter();
        assert!(program.start(theirs.into()).is_err());
    }
}
