//! Bytes between a local connection and the target, shown while they flow.

use std::sync::Arc;

use tokio::net::TcpStream;

use super::access::Access;
use super::status::Status;
use crate::net::initiator::Connection;
use crate::net::mover::{self, Flow};
use crate::pair::{EndReason, LINGER, PairLimits};

/// Joins a local connection to one that has reached the target, until either ends.
pub(super) async fn carry(local: TcpStream, connection: Connection, access: &Access, status: &Status) {
    // Keystrokes are not kept waiting; a socket that refuses has closed, which the mover sees.
    let _ = local.set_nodelay(true);
    let flow = Arc::new(Flow::default());
    let number = status.opened(&connection, flow.clone(), access.terms().await);
    let limits = PairLimits { idle: access.idle().await, linger: LINGER, deadline: None, rate: None };
    let forever = std::future::pending::<EndReason>();
    let reason = mover::join(local, connection.stream, &limits, &flow, forever).await;
    status.closed(number, flow.ended(reason));
}
