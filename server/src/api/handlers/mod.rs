//! What each route does, one file per noun. Who may call is decided before; nothing here checks it again.

pub(super) mod audit;
pub(super) mod contents;
pub(super) mod devices;
pub(super) mod distributions;
pub(super) mod groups;
pub(super) mod ksn;
pub(super) mod operators;
pub(super) mod points;
pub(super) mod polling;
pub(super) mod public;
pub(super) mod tokens;
pub(super) mod tunnels;
