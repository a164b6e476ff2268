//! The one waiting loop of the tests, for what the kernel gives no event for.

use std::time::{Duration, Instant};

use anyhow::Result;

/// Looks every few milliseconds until there is a result, or `None` once the time is over.
///
/// # Errors
/// When looking fails.
pub fn wait_until<T>(timeout: Duration, mut look: impl FnMut() -> Result<Option<T>>) -> Result<Option<T>> {
    let deadline = Instant::now() + timeout;
    loop {
        if let Some(found) = look()? {
            return Ok(Some(found));
        }
        if Instant::now() >= deadline {
            return Ok(None);
        }
        std::thread::sleep(PAUSE);
    }
}

/// Neither a file nor a process of someone else's making can be awaited portably; 10 ms costs nothing measurable.
const PAUSE: Duration = Duration::from_millis(10);
