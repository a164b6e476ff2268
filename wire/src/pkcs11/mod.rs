//! Private keys in a PKCS #11 token: a smart card, a hardware security module, or a TPM by its PKCS #11 module.
//!
//! A [`KeyUri`] says which module, token and object; a [`Token`] makes keys there and finds them again, and each is a
//! [`SigningKey`](crate::signing::SigningKey) like any other. The private half is made in the token and never leaves it.
//!
//! ```text
//! none ──first use──▶ module loaded, initialised ──▶ token found ──▶ logged in ──▶ session ──▶ object found ──▶ signs
//!   ▲                                                                                               │ anything fails
//!   └──────────────── all of it is given up; a session that was good once is begun anew at once ◀───┘
//! ```
//! A token locks after a few wrong PINs, so one that was refused is written down and not tried again before its file
//! changes, by this process or another.

mod object;
mod pin;
mod token;
mod uri;

pub use object::TokenKey;
pub use token::Token;
pub use uri::{KeyUri, ObjectId, TokenName, URI_LIMIT, UriError};
