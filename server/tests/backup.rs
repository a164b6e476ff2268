//! `klserver backup`, `restore` and `check`: yesterday's store, without what was revoked since coming back to life.
#![cfg(feature = "cli")]
#![allow(clippy::unwrap_used)] // clippy knows tests, but not what they share

use std::fs;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use data_encoding::BASE64URL_NOPAD;
use klnet_server::directory::{Announced, Directory};
use klnet_server::fabric::Fabric;
use klnet_server::fleet::{Caller, Device, Fleet, OperatorRole};
use klnet_server::invitation::Invitation;
use klnet_server::service::open_store;
use klnet_wire::id::DeviceId;
use klnet_wire::identity::Role;
use klnet_wire::identity::authority::request;
use klnet_wire::identity::enroll::EnrollRequest;
use klnet_wire::signing::SigningKey;
use serde_json::Value;
use tempfile::TempDir;

#[tokio::test]
async fn nothing_revoked_or_used_comes_back_to_life_with_a_backup() {
    let place = Place::init();
    let fleet = place.fleet().await;
    let admin = admin(&fleet).await;
    let tenant = admin.tenant;
    let token = token(&fleet, &admin).await;
    let stolen = enrol(&fleet, &admin, &token, "stolen").await;
    let kept = enrol(&fleet, &admin, &token, "kept").await;
    let roles = [OperatorRole::Tunnel].into_iter().collect();
    let (_, invitation) = fleet.add_operator(&admin, "anna", roles, HOUR).await.unwrap();
    let before = fleet.store().incarnation();

    // Beside whoever has the store.
    let file = place.folder.path().join("backup");
    let backup = format!("backup {}", file.display());
    assert_eq!(place.klserver(&backup).0, 0);
    assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(place.klserver(&backup).0, 1, "an older backup is not written over");
    let restore = format!("restore --replace {}", file.display());
    let (code, said) = place.klserver(&restore);
    assert!(code == 1 && said.contains("in use by process"), "{said}");

    fleet.revoke_device(&admin, stolen, "stolen").await.unwrap();
    let late = enrol(&fleet, &admin, &token, "late").await;
    fleet.revoke_device(&admin, late, "a mistake").await.unwrap();
    let newest = fleet.audit(tenant, None, 1).await.unwrap()[0].number;
    let ahead = SystemTime::now() + 1000 * HOUR;
    let list = fleet.next_list_number(ahead).await.unwrap();
    fleet.close().await;
    drop(fleet);

    let (code, said) = place.klserver(&format!("restore {}", file.display()));
    assert!(code == 1 && said.contains("--replace"), "{said}");
    let (code, said) = place.klserver(&restore);
    assert!(code == 0 && said.contains("Stay revoked, as in the store that was replaced: 2."), "{said}");

    let fleet = place.fleet().await;
    let revoked = |id| {
        fleet.devices(tenant).iter().find(|device: &&Device| device.id == id).map(|d| d.revoked.is_some())
    };
    assert_eq!([stolen, kept, late].map(revoked), [Some(true), Some(false), Some(true)]);
    assert_eq!(fleet.tokens(tenant), []);
    assert!(try_enrol(&fleet, &token, "again").await.is_none(), "the token is void");
    let (asked, _) = asked(Invitation::parse(&invitation).unwrap().token(), "anna's");
    assert!(fleet.login(asked, from()).await.is_err(), "the invitation is void");
    let entry = &fleet.audit(tenant, None, 1).await.unwrap()[0];
    assert_eq!((entry.action.as_str(), entry.number), ("store.restore", newest + 1));
    assert_eq!(entry.detail["revocations kept"], "2");
    assert_ne!(fleet.store().incarnation(), before);
    assert!(fleet.next_list_number(SystemTime::now()).await.unwrap() > list, "no floor stops the next list");
}

/// As the README says.
#[tokio::test]
async fn a_lost_disk_is_made_good_by_the_backup_and_a_copy_of_everything_else() {
    let place = Place::init();
    assert_eq!(place.klserver("rotate-root").0, 0);
    let file = place.folder.path().join("backup");
    assert_eq!(place.klserver(&format!("backup {}", file.display())).0, 0);
    let pin = Fabric::load(&place.state()).unwrap().trust().pin();
    let names: Vec<_> = fs::read_dir(place.state()).unwrap().map(|file| file.unwrap().file_name()).collect();
    for name in names {
        if name.to_string_lossy().starts_with("state.db") {
            fs::remove_file(place.state().join(name)).unwrap();
        }
    }
    let (code, said) = place.klserver(&format!("restore {}", file.display()));
    assert_eq!(code, 0, "{said}");
    let fleet = place.fleet().await;
    assert_eq!(fleet.audit(admin(&fleet).await.tenant, None, 10).await.unwrap()[2].action, "store.restore");
    assert_eq!(Fabric::load(&place.state()).unwrap().trust().pin(), pin);
}

#[tokio::test]
async fn backup_that_is_damaged_or_of_another_server_changes_nothing() {
    let (place, other) = (Place::init(), Place::init());
    let file = other.folder.path().join("backup");
    assert_eq!(other.klserver(&format!("backup {}", file.display())).0, 0);
    let (code, said) = place.klserver(&format!("restore --replace {}", file.display()));
    assert!(code == 1 && said.contains("a backup of another server"), "{said}");

    let file = place.folder.path().join("backup");
    assert_eq!(place.klserver(&format!("backup {}", file.display())).0, 0);
    let mut bytes = fs::read(&file).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(&file, bytes).unwrap();
    let before = fs::read(place.store()).unwrap();
    assert_eq!(place.klserver(&format!("restore --replace {}", file.display())).0, 1);
    assert!(fs::read(place.store()).unwrap() == before, "the store is as it was");
    let names: Vec<_> = fs::read_dir(place.state()).unwrap().map(|file| file.unwrap().file_name()).collect();
    assert!(!names.iter().any(|name| name.to_string_lossy().contains("restoring")), "{names:?}");
}

#[test]
fn check_tells_a_sound_store_from_a_damaged_one_and_from_none() {
    let place = Place::init();
    let (code, said) = place.klserver("check");
    assert!(code == 0 && said.ends_with("sound\n"), "{said}");
    let report: Value = serde_json::from_str(&place.klserver("check --json").1).unwrap();
    assert!(report["sound"] == true && report["keys"].as_u64() > Some(2), "{report}");

    let mut bytes = fs::read(place.store()).unwrap();
    let name = bytes.windows(12).position(|window| window == b"operator.add").unwrap();
    bytes[name] ^= 1;
    fs::write(place.store(), bytes).unwrap();
    let (code, said) = place.klserver("check");
    assert!(code == 3 && said.contains("does not match its checksum"), "{said}");
    let report: Value = serde_json::from_str(&place.klserver("check --json").1).unwrap();
    assert_eq!(report["sound"], false);

    fs::remove_file(place.store()).unwrap();
    assert_eq!(place.klserver("check").0, 1);
}

/// A server's state folder, made by `klserver init`.
struct Place {
    folder: TempDir,
}

impl Place {
    fn init() -> Self {
        let place = Self { folder: tempfile::tempdir().unwrap() };
        let (code, said) = place.klserver("init --host localhost");
        assert_eq!(code, 0, "{said}");
        place
    }

    fn state(&self) -> PathBuf {
        self.folder.path().join("state")
    }

    fn store(&self) -> PathBuf {
        self.state().join("state.db")
    }

    /// Runs a line; gives the exit code, and what was said.
    fn klserver(&self, line: &str) -> (i32, String) {
        let mut command = Command::new(env!("CARGO_BIN_EXE_klserver"));
        let output = command.args(line.split_whitespace()).arg("--state").arg(self.state()).output().unwrap();
        let said = [output.stdout, output.stderr].concat();
        (output.status.code().unwrap(), String::from_utf8(said).unwrap())
    }

    async fn fleet(&self) -> Arc<Fleet> {
        let fabric = Arc::new(Fabric::load(&self.state()).unwrap());
        let announced = Announced {
            hosts: vec!["localhost".into()],
            https_port: 8443,
            agent_ports: vec![23_100],
            tunnel_ports: vec![29_200],
            reconnect_window: Duration::from_secs(2),
        };
        let directory = Arc::new(Directory::new(Arc::clone(&fabric), Arc::default(), announced));
        let store = Arc::new(open_store(&self.state()).unwrap());
        Fleet::load(store, fabric, directory).await.unwrap()
    }
}

/// A second administrator, as `klserver invite` makes one.
async fn admin(fleet: &Fleet) -> Caller {
    let (_, invitation) = fleet.add_administrator("root", HOUR).await.unwrap();
    let (asked, key) = asked(Invitation::parse(&invitation).unwrap().token(), "root's");
    let reply = fleet.login(asked, from()).await.unwrap();
    let pin = Invitation::parse(&invitation).unwrap().root;
    let enrolled = reply.verify(&pin, key.public(), Role::Operator, SystemTime::now()).unwrap();
    fleet.caller(&enrolled.principal).unwrap()
}

async fn token(fleet: &Fleet, admin: &Caller) -> String {
    let root = fleet.groups(admin.tenant).into_iter().find(|group| group.path == "/").unwrap();
    fleet.add_token(admin, root.id, 10, HOUR).await.unwrap().1
}

async fn enrol(fleet: &Fleet, admin: &Caller, token: &str, name: &str) -> DeviceId {
    try_enrol(fleet, token, name).await.unwrap();
    fleet.devices(admin.tenant).iter().find(|device| device.name == name).unwrap().id
}

async fn try_enrol(fleet: &Fleet, token: &str, name: &str) -> Option<()> {
    let (asked, _) = asked(token.to_owned(), name);
    fleet.enroll(asked, from()).await.ok().map(drop)
}

fn asked(token: String, name: &str) -> (EnrollRequest, SigningKey) {
    let key = SigningKey::generate_p256();
    let request = BASE64URL_NOPAD.encode(&request(&key).unwrap());
    (EnrollRequest { token, request, host_name: name.into(), os: "Debian 12".into() }, key)
}

fn from() -> SocketAddr {
    ([192, 0, 2, 1], 4711).into()
}

const HOUR: Duration = Duration::from_secs(3600);
