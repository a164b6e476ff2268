//! A token of SoftHSM, and another program's view of it.

use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

/// A token labelled `klnet`, in a folder of its own, and the file of its PIN.
pub(crate) struct SoftHsm(TempDir);

impl SoftHsm {
    /// A token with `pin`; `None` where the programs are not installed, which is said aloud.
    pub(crate) fn with_pin(pin: &str) -> Option<Self> {
        for program in ["softhsm2-util", "pkcs11-tool"] {
            if Command::new(program).arg("--help").output().is_err() {
                // A continuous run installs what it needs.
                assert!(std::env::var("CI").as_deref() != Ok("true"), "{program} is not installed");
                println!("skipped: not installed: {program}");
                return None;
            }
        }
        let token = Self(tempfile::tempdir().unwrap());
        std::fs::create_dir(token.tokens()).unwrap();
        let settings = format!("directories.tokendir = {}\nlog.level = ERROR\n", token.tokens().display());
        std::fs::write(token.path("softhsm2.conf"), settings).unwrap();
        token.initialize(&["--free"], pin);
        token.write_pin(pin);
        Some(token)
    }

    fn initialize(&self, slot: &[&str], pin: &str) {
        let mut init = self.command("softhsm2-util");
        init.args(["--init-token", "--label", "klnet", "--so-pin", "87654321", "--pin", pin]).args(slot);
        run(&mut init);
    }

    /// The token is made anew: nothing that was in it is there any more.
    pub(crate) fn reset(&self, pin: &str) {
        self.initialize(&["--token", "klnet"], pin);
    }

    pub(crate) fn write_pin(&self, pin: &str) {
        let path = self.path("pin");
        // Another length than before, and another time.
        std::fs::write(&path, format!("{pin}\n")).unwrap();
        std::fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    }

    /// Makes the token another PIN, by hand.
    pub(crate) fn change_pin(&self, old: &str, new: &str) {
        run(self.tool(old).args(["--change-pin", "--new-pin", new]));
    }

    /// Takes the token out.
    pub(crate) fn take_out(&self) {
        std::fs::rename(self.tokens(), self.path("drawer")).unwrap();
        std::fs::create_dir(self.tokens()).unwrap();
    }

    /// Puts the token in again, as it was taken out or saved.
    pub(crate) fn put_in(&self) {
        std::fs::remove_dir_all(self.tokens()).unwrap();
        std::fs::rename(self.path("drawer"), self.tokens()).unwrap();
    }

    /// Keeps what is in the token, for [`SoftHsm::put_in`].
    pub(crate) fn save(&self) {
        run(Command::new("cp").arg("-a").arg(self.tokens()).arg(self.path("drawer")));
    }

    /// `device_key` of this token.
    pub(crate) fn uri(&self) -> String {
        let (module, pin) = (module(), self.path("pin"));
        format!(
            "pkcs11:token=klnet;object=device?module-path={}&pin-source=file:{}",
            module.display(),
            pin.display()
        )
    }

    /// Makes a key pair from outside.
    pub(crate) fn make_key(&self, pin: &str, more: &[&str]) {
        let mut make = self.tool(pin);
        make.args(["--keypairgen", "--key-type", "EC:prime256v1", "--label", "device", "--id", "0a"])
            .args(more);
        run(&mut make);
    }

    pub(crate) fn delete_key(&self, pin: &str) {
        for kind in ["privkey", "pubkey"] {
            run(self.tool(pin).args(["--delete-object", "--type", kind, "--label", "device"]));
        }
    }

    /// What `pkcs11-tool` lists of the private keys.
    pub(crate) fn private_keys(&self, pin: &str) -> String {
        run(self.tool(pin).args(["--list-objects", "--type", "privkey"]))
    }

    /// Lets `command` find this token.
    pub(crate) fn variable(&self) -> (&'static str, PathBuf) {
        ("SOFTHSM2_CONF", self.path("softhsm2.conf"))
    }

    fn tool(&self, pin: &str) -> Command {
        let mut tool = self.command("pkcs11-tool");
        tool.arg("--module").arg(module()).args(["--token-label", "klnet", "--login", "--pin", pin]);
        tool
    }

    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        let (name, value) = self.variable();
        command.env(name, value);
        command
    }

    fn tokens(&self) -> PathBuf {
        self.path("tokens")
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }
}

fn module() -> &'static Path {
    let places = ["/usr/lib/softhsm/libsofthsm2.so", "/usr/lib64/pkcs11/libsofthsm2.so"].map(Path::new);
    places.into_iter().find(|path| path.exists()).expect("the module comes with softhsm2-util")
}

fn run(command: &mut Command) -> String {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}
