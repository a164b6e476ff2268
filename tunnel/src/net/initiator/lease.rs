//! The place of a connection among those of its grant, free again when the connection goes.

use std::fmt;

/// Tells, when it goes, that its place is free.
pub(in crate::net) struct Lease(Box<dyn Fn() + Send + Sync>);

impl Lease {
    /// A place that `returned` takes back.
    pub(in crate::net) fn new(returned: impl Fn() + Send + Sync + 'static) -> Self {
        Self(Box::new(returned))
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        (self.0)();
    }
}

impl fmt::Debug for Lease {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Lease")
    }
}
