//! A folder with key files, and the programs that use them.

use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

/// A group, and who is in it.
pub(crate) struct World {
    folder: TempDir,
}

/// A receiver that runs.
pub(crate) struct Receiver {
    pub(crate) folder: PathBuf,
    child: Child,
    output: PathBuf,
}

/// A sender that runs.
pub(crate) struct Sending(Child);

/// What a sender did.
pub(crate) struct Sent {
    pub(crate) code: i32,
    pub(crate) output: String,
}

impl World {
    pub(crate) fn new(name: &str, group: &str) -> Self {
        let folder = tempfile::Builder::new().prefix(&format!("klcast-{name}-")).tempdir().unwrap();
        let lan = folder.path().join("lan");
        let made = klcast().args(["key", "new", "--group", group]).arg(lan).output().unwrap();
        assert!(made.status.success(), "{made:?}");
        Self { folder }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Starts a receiver of one object, and waits until it listens.
    pub(crate) fn receive(&self, name: &str) -> Receiver {
        let (folder, output) = (self.path(name), self.path(&format!("{name}.out")));
        let mut command = klcast();
        command.args(["receive", "--once", "--json", "--interface", "lo", "--label", name, "--key"]);
        command.arg(self.path("lan.receiver")).arg(&folder).stdout(File::create(&output).unwrap());
        let child = command.spawn().unwrap();
        let receiver = Receiver { folder, child, output };
        receiver.wait_until(|said| said.contains("listening"));
        receiver
    }

    pub(crate) fn send(&self, options: &[&str], paths: &[&Path]) -> Sent {
        self.start_sending(options, paths).finish()
    }

    pub(crate) fn start_sending(&self, options: &[&str], paths: &[&Path]) -> Sending {
        let mut command = klcast();
        command.args(["send", "--interface", "lo", "--key"]).arg(self.path("lan.sender"));
        command.args(options).args(paths).stdout(Stdio::piped()).stderr(Stdio::inherit());
        Sending(command.spawn().unwrap())
    }
}

impl Sending {
    pub(crate) fn finish(self) -> Sent {
        let output = self.0.wait_with_output().unwrap();
        Sent {
            code: output.status.code().unwrap(),
            output: String::from_utf8_lossy(&output.stdout).into_owned(),
        }
    }
}

impl Receiver {
    /// Waits for it to end by itself, and gives what it said.
    pub(crate) fn ends_well(mut self) -> String {
        assert!(self.child.wait().unwrap().success());
        self.said()
    }

    /// Waits until some of a large object is on the disk.
    pub(crate) fn wait_for_parts(&self) {
        let own = self.folder.join(".klcast");
        wait_until(|| {
            let objects = fs::read_dir(&own).into_iter().flatten().flatten();
            objects
                .filter_map(|object| fs::metadata(object.path().join("0")).ok())
                .any(|part| part.len() > 8 << 20)
        });
    }

    pub(crate) fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    fn wait_until(&self, is_so: impl Fn(&str) -> bool) {
        wait_until(|| is_so(&self.said()));
    }

    fn said(&self) -> String {
        let lines = BufReader::new(File::open(&self.output).unwrap()).lines();
        lines.map_while(Result::ok).map(|line| line + "\n").collect()
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The command as built for this test.
pub(crate) fn klcast() -> Command {
    Command::new(env!("CARGO_BIN_EXE_klcast"))
}

/// Bytes of this length, the same each time.
pub(crate) fn content(length: usize) -> Vec<u8> {
    let mut state = 7_u32;
    let mut next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        state.to_be_bytes()[0]
    };
    (0..length).map(|_| next()).collect()
}

/// Waits for what only a file system tells; yields to the programs meanwhile.
fn wait_until(is_so: impl Fn() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(60);
    while !is_so() {
        assert!(Instant::now() < deadline, "it did not come to that within a minute");
        std::thread::yield_now();
    }
}
