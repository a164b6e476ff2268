//! The HTTPS API: discovery, enrolment, and everything an operator does.
//!
//! ```text
//!  http ──▶ gate ──▶ route ──▶ handlers ──▶ fleet, tunnels, directory
//!  TLS,     form,    admit     typed input,
//!  caps,    pace     (auth)    typed reply ──▶ openapi
//!  deadlines
//! ```
//! [`table::routes`] is all there is. A route names who may call it, or it does not compile; its handler is reached
//! only through [`route::Route::admit`]; the document at `/api/v1/openapi.json` is made from the same table.

pub mod auth;
mod gate;
mod handlers;
pub mod http;
pub mod input;
pub mod octets;
pub mod openapi;
pub mod rate;
pub mod reply;
pub mod route;
pub mod source;
pub mod table;
#[cfg(test)]
mod tests;
pub mod types;

use std::fmt;
use std::sync::Arc;

use axum::Router;

use crate::directory::Directory;
use crate::distribution::Distribution;
use crate::fleet::Fleet;
use crate::metrics::Metrics;
use crate::tunnels::Tunnels;

pub use gate::{BODY_LIMIT, BODY_TIMEOUT, OCTETS_LIMIT};

/// What handlers work with.
#[derive(Clone)]
pub struct Context {
    /// Devices, groups, operators, tokens.
    pub fleet: Arc<Fleet>,
    /// Grants and live tunnels.
    pub tunnels: Arc<Tunnels>,
    /// What is brought to devices.
    pub distribution: Arc<Distribution>,
    /// Where the fabric's servers are.
    pub directory: Arc<Directory>,
    /// What is counted.
    pub metrics: Arc<Metrics>,
}

/// The API, to be served by [`http::serve`].
pub fn router(context: &Context) -> Router {
    gate::router(context, table::routes(), rate::Pace::ENROLMENT)
}

impl fmt::Debug for Context {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Context").field("fleet", &self.fleet).finish_non_exhaustive()
    }
}
