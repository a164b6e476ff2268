//! What of an address may be on a list.

use std::fmt;

use ring::digest;

use super::canonical::CanonicalUrl;
use super::host::Host;
use crate::subject::{Network, Subject};

/// A suffix of the host with a prefix of the path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Expression<'a> {
    host: &'a str,
    path: &'a str,
    query: Option<&'a str>,
    /// Nothing below it: a folder's own address.
    alone: bool,
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
        if self.alone {
            context.update(b" ");
        }
        let mut digest = [0; 32];
        digest.copy_from_slice(context.finish().as_ref());
        digest
    }
}

impl fmt::Display for Expression<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.host, self.path)?;
        self.query.iter().try_for_each(|query| write!(f, "?{query}"))?;
        f.write_str(if self.alone { " " } else { "" })
    }
}

impl CanonicalUrl {
    /// Shows every expression to `each` until that says `Some`, the most particular first: longer hosts before shorter
    /// ones, and for one host longer paths before shorter ones.
    pub fn find_expression<T>(&self, mut each: impl FnMut(Expression<'_>) -> Option<T>) -> Option<T> {
        let whole = self.host().to_string();
        hosts(self.host(), &whole).find_map(|host| {
            let with_query = self.query().map(|query| Expression {
                host,
                path: self.path(),
                query: Some(query),
                alone: false,
            });
            let bare = paths(self.path()).map(|path| Expression { host, path, query: None, alone: false });
            with_query.into_iter().chain(bare).find_map(&mut each)
        })
    }

    /// SHA-256 of the expression that means this address and no other: whole host, path and query. A folder's address is
    /// what means everything in it as well; alone it is followed by a blank, which no canonical address has.
    pub fn digest(&self) -> [u8; 32] {
        let alone = self.query().is_none() && self.path().ends_with('/');
        Expression { host: &self.host().to_string(), path: self.path(), query: self.query(), alone }.digest()
    }

    /// Everything to ask about this address, the most particular first: itself, its expressions, its host, and what that
    /// is below. [`worst`](crate::asked::worst) chooses among the answers.
    pub fn subjects(&self) -> Vec<Subject> {
        let mut subjects = vec![Subject::Url(self.digest())];
        self.find_expression(|expression| {
            subjects.push(Subject::Url(expression.digest()));
            None::<()>
        });
        subjects.dedup();
        subjects.extend(self.host().subjects());
        subjects
    }
}

impl Host {
    /// Everything to ask about this host, the most particular first: an address, or a name and `*.` before each of the
    /// names it is below, of which only the last [`PARENTS_MOST`] are asked about.
    pub fn subjects(&self) -> Vec<Subject> {
        let name = match self {
            Self::Address(address) => return vec![Subject::Network(Network::address(*address))],
            Self::Name(name) => name,
        };
        let parents: Vec<&str> = self.suffixes(name).skip(1).collect();
        let near = parents.len().saturating_sub(PARENTS_MOST);
        let below = parents[near..].iter().map(|parent| Subject::domain(&format!("*.{parent}")));
        std::iter::once(Subject::domain(name)).chain(below).collect()
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

/// Names above a host that are asked about: lists seldom have what is below more than five labels.
pub const PARENTS_MOST: usize = 10;
