//! The `klsctunnel` command.
