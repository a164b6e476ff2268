//! The new process's part: prepared without the store, then serving, then given connection after connection.

use std::sync::Arc;
use std::time::Instant;

use klnet_tunnel::net::relay::RelayHandle;
use tracing::{info, warn};

use super::message::Message;
use super::predecessor::{Bequest, Discord, Next, Predecessor};
use crate::config::{Config, ConfigError};
use crate::fabric::Fabric;
use crate::ground::Ground;
use crate::service::{Service, check_store, open_store};
use crate::start::StartError;

/// Why this process does not take over.
#[derive(Debug, thiserror::Error)]
pub enum TakeError {
    /// Its configuration is wrong.
    #[error("the configuration is wrong: {0}")]
    Config(#[from] ConfigError),
    /// It cannot serve.
    #[error(transparent)]
    Start(#[from] StartError),
    /// The two do not understand each other.
    #[error(transparent)]
    Discord(#[from] Discord),
}

/// Takes the place of the process that started this one: returns a server that is about to serve, and its predecessor,
/// which is to be told so.
///
/// # Errors
/// [`TakeError`], which the predecessor has been told; it goes on.
pub async fn take_over(
    mut predecessor: Predecessor,
    config: Result<Config, ConfigError>,
) -> Result<(Service, Predecessor), TakeError> {
    match take(&mut predecessor, config).await {
        Ok(service) => Ok((service, predecessor)),
        Err(error) => {
            // One that is gone need not be told.
            let _ = predecessor.say(&Message::cannot(&error)).await;
            Err(error)
        }
    }
}

async fn take(
    predecessor: &mut Predecessor,
    config: Result<Config, ConfigError>,
) -> Result<Service, TakeError> {
    let inherited = predecessor.offer().await?;
    let config = config?;
    let fabric = Arc::new(Fabric::load(&config.state).map_err(StartError::from)?);
    check_store(&config.state).map_err(StartError::from)?;
    let (ground, events) = Ground::prepare(config, fabric, inherited).await?;
    let Bequest { live, records } = predecessor.bequest().await?;
    let store = open_store(&ground.config.state).map_err(StartError::from)?;
    info!(tunnels = live.len(), records = records.len(), "taking over");
    // Before agents come, who name the grants they have connections for.
    ground.relay.adopt(live).await.map_err(StartError::from)?;
    let now = Instant::now();
    let records = records.into_iter().map(|record| record.into_relay(now)).collect();
    Ok(Service::load(ground, events, store, records).await?)
}

/// Tells the predecessor that this process serves, and carries the connections it gives until there are no more.
pub async fn carry_all(mut predecessor: Predecessor, relay: RelayHandle) {
    let carried = carry(&mut predecessor, &relay).await;
    // What has not come by now never does.
    let _ = relay.settle().await;
    match carried {
        Ok(()) => predecessor.end().await,
        Err(error) => warn!(%error, "the server before this one is gone, and tunnel connections with it"),
    }
}

async fn carry(predecessor: &mut Predecessor, relay: &RelayHandle) -> Result<(), Discord> {
    predecessor.say(&Message::Serving).await?;
    loop {
        // A relay that has stopped has closed its connections.
        match predecessor.next().await? {
            Next::Carry(pair, moved, Some(lifted)) => {
                let _ = relay.carry(pair, lifted, moved).await;
                predecessor.say(&Message::Taken(pair)).await?;
            }
            Next::Carry(pair, _, None) => predecessor.say(&Message::Declined(pair)).await?,
            Next::Ended(pair, end) => drop(relay.departed(pair, end).await),
            Next::Done => return predecessor.say(&Message::Done).await,
        }
    }
}
