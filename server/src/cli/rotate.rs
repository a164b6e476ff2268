//! `klserver rotate-root`: the old root's key signs the next root, and with it everything under it;
//! `klserver revoke-certificate`: the server's own certificate alone.

use std::path::PathBuf;
use std::time::SystemTime;

use anyhow::Context;
use clap::Args;
use klnet_wire::identity::enroll::print_pin;
use klnet_wire::identity::pem::key_from_pem;

use super::Configured;
use crate::fabric::Fabric;

/// Devices and operators follow by themselves, also those that sleep through it. The server may run meanwhile; it uses
/// the new keys once it is reloaded.
#[derive(Debug, Args)]
pub(super) struct RotateRoot {
    #[command(flatten)]
    configured: Configured,
    /// The root's key, from where it was kept [default: root.key in the state folder]
    #[arg(long, value_name = "FILE")]
    root_key: Option<PathBuf>,
}

impl RotateRoot {
    pub(super) fn run(self) -> anyhow::Result<()> {
        let state = self.configured.clone().read()?.state;
        let path = self.root_key.unwrap_or_else(|| state.join("root.key"));
        let shown = path.display();
        let text = std::fs::read_to_string(&path).with_context(|| format!("the root's key {shown}"))?;
        let key = key_from_pem(&text).with_context(|| format!("{shown} is no private key in PEM"))?;
        // The key may be where only root reads.
        let state = self.configured.read_as_owner()?.state;
        let fabric = Fabric::rotate(&state, &key, SystemTime::now())?;
        let state = state.display();
        println!("The fabric has a new root; its old one signed it.");
        println!("  root certificate  {state}/root.pem");
        println!("  its SHA-256       {}", print_pin(&fabric.trust().pin()));
        println!(
            "  root key          {state}/root.key   move it to a safe place; the old one is of no more use"
        );
        println!();
        println!(
            "Next: systemctl reload klserver. Enrolment lines and invitations that were given out and not used"
        );
        println!("name the old root: make them anew.");
        Ok(())
    }
}

/// The next revocation list names the server's certificate, and the server shows another one once it is reloaded.
pub(super) fn revoke_certificate(configured: Configured) -> anyhow::Result<()> {
    let state = configured.read_as_owner()?.state;
    for serial in Fabric::revoke_server(&state)? {
        println!("revoked: {serial}");
    }
    println!("Next: systemctl reload klserver");
    Ok(())
}
