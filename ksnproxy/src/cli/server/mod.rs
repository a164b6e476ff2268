//! The `ksnserver` command: makes snapshots of published lists, and answers from them.
