//! The whole API over loopback, with real TLS and a real store.

mod access;
mod document;
mod paths;
mod requests;
mod site;
