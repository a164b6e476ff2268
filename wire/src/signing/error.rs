//! Why a private key that is kept outside this process cannot be used.

use std::path::PathBuf;

/// What is wrong with a private key in a token. A key that this process holds has none of it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// The module is not there, or is none.
    #[error("the PKCS #11 module {} cannot be used: {reason}", .module.display())]
    Module {
        /// The shared library.
        module: PathBuf,
        /// What the loader or the module said.
        reason: String,
    },
    /// No slot holds the token.
    #[error("there is no token with {0}")]
    NoToken(String),
    /// Several slots hold one that fits.
    #[error("more than one token has {0}: name its serial")]
    ManyTokens(String),
    /// The token wants a PIN, and nobody said where it is.
    #[error("the token wants a PIN, and its URI has no pin-source")]
    NoPin,
    /// The PIN cannot be read.
    #[error("the PIN in {}: {reason}", .path.display())]
    PinFile {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// The token has refused the PIN. Tokens lock after a few of these.
    #[error("the token refuses the PIN in {}; it is not tried again before that file changes", .0.display())]
    PinRefused(PathBuf),
    /// The token takes no PIN any more.
    #[error("the token's PIN is locked")]
    PinLocked,
    /// The token has no such private key.
    #[error("the token holds no private key {0}")]
    NoKey(String),
    /// The object is there, and is not what it must be.
    #[error("the private key {object} in the token is refused: {reason}")]
    Unfit {
        /// Its label or identifier.
        object: String,
        /// What about it.
        reason: &'static str,
    },
    /// The token failed, or was taken out or reset meanwhile.
    #[error("the token failed: {0}")]
    Failed(String),
}
