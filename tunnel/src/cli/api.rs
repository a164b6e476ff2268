//! The server's API, by the operator's profile as it is now: `klctl renew` writes another while tunnels are open.

use std::fs;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::SystemTime;

use klnet_wire::identity::profile::Profile;
use klnet_wire::net::https::Client;

use super::failure::Failure;

/// A client of the API that follows its profile.
pub(super) struct Api {
    path: PathBuf,
    known: Mutex<Known>,
}

struct Known {
    written: Option<SystemTime>,
    profile: Profile,
    client: Arc<Client>,
}

impl Api {
    /// By the profile at `path`.
    pub(super) fn load(path: PathBuf) -> Result<Self, Failure> {
        let written = written(&path);
        let profile = Profile::load(&path)?;
        let client = Arc::new(Client::new(&profile)?);
        Ok(Self { path, known: Mutex::new(Known { written, profile, client }) })
    }

    /// The profile as it was when it was last looked at.
    pub(super) fn profile(&self) -> Profile {
        self.known.lock().expect("no holder panics").profile.clone()
    }

    /// The client by the newest certificate and roots of the same operator; a profile that cannot be read now, or is of
    /// another key, changes nothing.
    pub(super) fn client(&self) -> Arc<Client> {
        let mut known = self.known.lock().expect("no holder panics");
        let written = written(&self.path);
        if written != known.written
            && let Some((profile, client)) = self.renewed(&known.profile)
        {
            *known = Known { written, profile, client };
        }
        Arc::clone(&known.client)
    }

    fn renewed(&self, known: &Profile) -> Option<(Profile, Arc<Client>)> {
        let profile = Profile::load(&self.path).ok()?;
        let same = profile.identity.key.public() == known.identity.key.public();
        let client = same.then(|| Client::new(&profile).ok()).flatten()?;
        Some((profile, Arc::new(client)))
    }
}

fn written(path: &std::path::Path) -> Option<SystemTime> {
    fs::metadata(path).and_then(|file| file.modified()).ok()
}
