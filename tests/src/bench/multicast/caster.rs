//! What a product has to say to be measured.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Result;

use crate::lab::Host;

/// A product that brings a file to many.
pub(super) trait Caster {
    /// What it is called in the table.
    fn name(&self) -> &'static str;

    /// Its setting, as it stands in the notes.
    fn setting(&self) -> String;

    /// Bytes of the file in a full packet.
    fn payload(&self) -> u16;

    /// The UDP port that a receiver listens on once it is ready.
    fn port(&self) -> u16;

    /// The command of the receiver of this number, from 1 on.
    fn receive(&self, host: &Host, number: usize, folder: &Path, file: &Path) -> Result<Command>;

    /// The command of the sender.
    fn send(&self, file: &Path, receivers: usize) -> Result<Command>;

    /// Whether the sender ends once all receivers have the file.
    fn ends(&self) -> bool {
        true
    }

    /// Whether a receiver takes one file after the other.
    fn stays(&self) -> bool {
        true
    }
}

/// Where a receiver puts a file.
pub(super) fn placed(folder: &Path, file: &Path) -> PathBuf {
    folder.join(file.file_name().unwrap_or_default())
}
