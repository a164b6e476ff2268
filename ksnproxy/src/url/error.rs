//! Why something is no address.

/// What is no address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum UrlError {
    /// Longer than [`URL_MOST`].
    #[error("URL of {0} bytes exceeds the limit of {URL_MOST}")]
    Length(usize),
    /// There is nothing between scheme and path.
    #[error("URL without a host")]
    NoHost,
    /// The host is longer than a name can be, or is no name.
    #[error("URL with a host that is no name and no address")]
    Host,
}

/// Addresses of more bytes are refused. Browsers send up to 2 MiB; feeds have none above 2 KiB, and a query must fit into
/// one frame.
pub const URL_MOST: usize = 8192;
