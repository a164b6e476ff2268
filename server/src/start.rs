//! Why a server does not start.

use std::io;

use klnet_tunnel::net::relay::Stopped;

use crate::fabric::FabricError;
use crate::fleet::FleetError;
use crate::listeners::BindError;
use crate::revocation::RevocationError;
use crate::store::OpenError;

/// Why a server does not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// A port cannot be bound.
    #[error(transparent)]
    Bind(#[from] BindError),
    /// The system gives no thread, or no reactor for a listener.
    #[error("cannot start: {0}")]
    System(#[from] io::Error),
    /// The keys are not usable.
    #[error(transparent)]
    Fabric(#[from] FabricError),
    /// The store is not usable.
    #[error(transparent)]
    Store(#[from] OpenError),
    /// The state cannot be loaded.
    #[error(transparent)]
    Fleet(#[from] FleetError),
    /// TLS cannot be set up.
    #[error("cannot set up TLS: {0}")]
    Tls(#[from] rustls::Error),
    /// The relay has stopped.
    #[error(transparent)]
    Relay(#[from] Stopped),
    /// No revocation list is signed.
    #[error("no revocation list is signed: {0}")]
    Revocation(#[from] RevocationError),
}
