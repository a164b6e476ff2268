//! What of an address may be on a list.

use std::fmt;

use ring::digest;

use super::canonical::CanonicalUrl;
use super::host::Host;

/// A suffix of the host with a prefix of the path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Expression<'a> {
    host: &'a str,
    path: &'a str,
    query: Option<&'a str>,
}

impl Expression<'_> {
    /// SHA-256 of the expression's text.
    pub fn digest(&self) -> [u8; 32] {
        let mut context = digest::Context::new(&digest::SHA256);
        context.update(self.host.as_bytes());
        context.update(self.path.as_bytes());
        if let Some(query) = self.query {
            context.update(b"?");
            context.update(query.as_bytes());
        }
        let mut digest = [0; 32];
        digest.copy_from_slice(context.finish().as_ref());
        digest
    }
}

impl fmt::Display for Expression<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.host, self.path)?;
        self.query.iter().try_for_each(|query| write!(f, "?{query}"))
    }
}

impl CanonicalUrl {
    /// Shows every expression to `each` until that says `Some`, the most particular first: longer hosts before shorter
    /// ones, and for one host longer paths before shorter ones.
    pub fn find_expression<T>(&self, mut each: impl FnMut(Expression<'_>) -> Option<T>) -> Option<T> {
        let whole = self.host().to_string();
        hosts(self.host(), &whole).find_map(|host| {
            let with_query =
                self.query().map(|query| Expression { host, path: self.path(), query: Some(query) });
            let bare = paths(self.path()).map(|path| Expression { host, path, query: None });
            with_query.into_iter().chain(bare).find_map(&mut each)
        })
    }

    /// The one that means this address and no other: whole host, path and query.
    pub fn digest(&self) -> [u8; 32] {
        Expression { host: &self.host().to_string(), path: self.path(), query: self.query() }.digest()
    }
}

/// The whole host, then the last five labels and fewer, down to two.
fn hosts<'a>(host: &Host, whole: &'a str) -> impl Iterator<Item = &'a str> + use<'a> {
    let labels = whole.split('.').count();
    host.suffixes(whole).enumerate().filter_map(move |(index, suffix)| {
        let rest = labels - index;
        (index == 0 || (2..=5).contains(&rest)).then_some(suffix)
    })
}

/// The whole path, then of the folders it is in the four nearest the root, the longest first.
fn paths(path: &str) -> impl Iterator<Item = &str> {
    let mut folders = path.match_indices('/').map(|(slash, _)| &path[..=slash]).take(4);
    let near: [Option<&str>; 4] = std::array::from_fn(|_| folders.next());
    let near = near.into_iter().rev().flatten().filter(move |folder| *folder != path);
    std::iter::once(path).chain(near)
}

/// No address has more: five hosts times a path with its query, without, and four folders.
pub const EXPRESSIONS_MOST: usize = 30;
