//! `klserver init`: the fabric, the store, and once the first operator.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use anyhow::Context;
use clap::Args;
use klnet_wire::identity::Role;
use klnet_wire::identity::authority::request;
use klnet_wire::identity::enroll::{EnrollRequest, print_pin};
use klnet_wire::identity::profile::Profile;
use klnet_wire::identity::secret_file::write_secret;
use klnet_wire::identity::tls::Identity;
use klnet_wire::signing::SigningKey;

use super::Configured;
use crate::config::Config;
use crate::directory::{Announced, Directory};
use crate::fabric::Fabric;
use crate::fleet::Fleet;
use crate::invitation::Invitation;
use crate::service::open_store;

#[derive(Debug, Args)]
pub(super) struct Init {
    #[command(flatten)]
    configured: Configured,
    /// Name of the first operator, an administrator
    #[arg(long, value_name = "NAME", default_value = "admin")]
    operator: String,
    /// Where to write that operator's profile [default: operator.profile in the state folder]
    #[arg(long, value_name = "FILE")]
    profile: Option<PathBuf>,
}

/// Whoever may read the state folder holds the fabric's keys: this gives them nothing they could not take.
#[derive(Debug, Args)]
pub(super) struct Invite {
    /// Name of the new operator, an administrator
    name: String,
    #[command(flatten)]
    configured: Configured,
}

impl Init {
    pub(super) fn run(self) -> anyhow::Result<()> {
        let config = self.configured.read()?;
        let path = self.profile.unwrap_or_else(|| config.state.join("operator.profile"));
        // Before anything is made: the key that goes into this file cannot be made twice.
        write_secret(&path, b"").with_context(|| format!("{} cannot be written", path.display()))?;
        let fabric = Arc::new(Fabric::init(&config.state, SystemTime::now())?);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let profile = runtime.block_on(first_operator(&config, &fabric, &self.operator))?;
        profile.save(&path)?;
        report(&config, &fabric, &path);
        Ok(())
    }
}

/// Invites the first operator and logs them in at once: their key is made here, where the profile stays.
async fn first_operator(config: &Config, fabric: &Arc<Fabric>, name: &str) -> anyhow::Result<Profile> {
    let (fleet, directory) = load(config, fabric).await?;
    let (_, invitation) = fleet.add_first_operator(name, INVITATION_LIFE).await?;
    let key = SigningKey::generate_p256();
    let request = EnrollRequest {
        token: Invitation::parse(&invitation)?.token(),
        request: data_encoding::BASE64URL_NOPAD.encode(&request(&key)?),
        host_name: "this server".into(),
        os: std::env::consts::OS.into(),
    };
    let reply = fleet.login(request, ([127, 0, 0, 1], 0).into()).await?;
    let (pin, public) = (fabric.trust().pin(), key.public().clone());
    let enrolled =
        reply.verify(&pin, &public, Role::Operator, SystemTime::now()).context("own certificate")?;
    Ok(Profile {
        url: directory.url().to_owned(),
        name: name.to_owned(),
        trust: enrolled.trust,
        identity: Identity { chain: enrolled.chain, key },
    })
}

impl Invite {
    pub(super) fn run(self) -> anyhow::Result<()> {
        let config = self.configured.read_as_owner()?;
        let fabric = Arc::new(Fabric::load(&config.state)?);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let invitation = runtime.block_on(async {
            let (fleet, _) = load(&config, &fabric).await?;
            let (_, invitation) = fleet.add_administrator(&self.name, INVITED_LIFE).await?;
            anyhow::Ok(invitation)
        })?;
        println!("klctl login {invitation}");
        Ok(())
    }
}

/// The state of a server that does not run.
async fn load(config: &Config, fabric: &Arc<Fabric>) -> anyhow::Result<(Arc<Fleet>, Arc<Directory>)> {
    let store = Arc::new(open_store(&config.state)?);
    let announced = Announced {
        hosts: config.hosts.clone(),
        https_port: config.https_port,
        agent_ports: config.agent_ports.clone(),
        tunnel_ports: config.tunnel_ports.clone(),
        reconnect_window: config.reconnect_window,
    };
    let directory = Arc::new(Directory::new(Arc::clone(fabric), Arc::default(), announced));
    let fleet = Fleet::load(store, Arc::clone(fabric), Arc::clone(&directory)).await?;
    Ok((fleet, directory))
}

fn report(config: &Config, fabric: &Fabric, profile: &Path) {
    let state = config.state.display();
    println!("A new server is in {state}.");
    println!("  root certificate  {state}/root.pem");
    println!("  its SHA-256       {}", print_pin(&fabric.trust().pin()));
    println!("  root key          {state}/root.key   move it to a safe place: the server runs without it");
    println!("  first operator    {}   readable by its owner only", profile.display());
    println!();
    println!("Next: klserver run, then klctl --profile {} token create", profile.display());
}

/// The first operator logs in within this process.
const INVITATION_LIFE: Duration = Duration::from_secs(60);
/// An invitation that a person carries to their own machine.
const INVITED_LIFE: Duration = Duration::from_secs(24 * 3600);
