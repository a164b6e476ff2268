//! The `klctl` command.
