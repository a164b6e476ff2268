//! What a receiver is told about itself.

/// How a receiver is to go about a session.
#[derive(Debug, Clone)]
pub struct Config {
    /// What people call it.
    pub label: String,
    /// Blocks that are held in memory at once.
    pub window: usize,
    /// Draws its waits.
    pub seed: u64,
}

/// 8 blocks of 4 MiB with their parity are 45 MB.
pub const WINDOW: usize = 8;

impl Default for Config {
    fn default() -> Self {
        Self { label: String::new(), window: WINDOW, seed: 0 }
    }
}
