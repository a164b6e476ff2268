//! What every subcommand works with: the operator's profile, the server, and the way results are shown.

use std::io::{IsTerminal, Write, stderr, stdout};

use klnet_wire::identity::profile::Profile;
use klnet_wire::net::https::Client;
use serde::{Serialize, de::DeserializeOwned};

use super::args::Options;
use super::failure::Failure;
use super::profile::{fresh, profile_path};
use super::text;
use crate::api::reply::Done;

/// An operator in front of a server.
pub(super) struct Console {
    pub(super) profile: Profile,
    client: Client,
    pub(super) json: bool,
}

impl Console {
    /// Reads the profile; the server is asked only when its certificate is to be renewed.
    pub(super) async fn open(options: &Options) -> Result<Self, Failure> {
        let path = profile_path(options)?;
        if options.profile.is_none() && !path.exists() {
            return Err(Failure::NoProfile);
        }
        let (profile, trouble) = fresh(Profile::load(&path)?, &path).await;
        let console = Self { client: Client::new(&profile)?, profile, json: options.json };
        trouble.into_iter().for_each(|trouble| console.aside(&trouble));
        Ok(console)
    }

    pub(super) async fn get<R: DeserializeOwned>(&self, path: &str) -> Result<R, Failure> {
        Ok(self.client.get(&format!("{BASE}{path}")).await?)
    }

    pub(super) async fn post<R: DeserializeOwned>(
        &self,
        path: &str,
        body: &impl Serialize,
    ) -> Result<R, Failure> {
        Ok(self.client.post(&format!("{BASE}{path}"), body).await?)
    }

    pub(super) async fn put<R: DeserializeOwned>(&self, path: &str, bytes: Vec<u8>) -> Result<R, Failure> {
        Ok(self.client.put(&format!("{BASE}{path}"), bytes.into()).await?)
    }

    pub(super) async fn delete(&self, path: &str) -> Result<(), Failure> {
        let Done {} = self.client.delete(&format!("{BASE}{path}")).await?;
        Ok(())
    }

    /// Shows a result: as JSON when asked, else as `words` say it.
    pub(super) fn show<T: Serialize>(
        &self,
        value: &T,
        words: impl FnOnce(&T) -> String,
    ) -> Result<(), Failure> {
        match self.json {
            true => print_line(&text::json(value)),
            false => print_line(&words(value)),
        }
    }

    /// Says that something was done; with `--json` the exit code says it.
    pub(super) fn done(&self, words: &str) -> Result<(), Failure> {
        match self.json {
            true => Ok(()),
            false => print_line(&text::printable(words)),
        }
    }

    /// Says something to a person beside the result; programs that read the result never see it.
    pub(super) fn aside(&self, words: &str) {
        if !self.json && stderr().is_terminal() {
            eprintln!("{}", text::printable(words));
        }
    }
}

/// Writes text to standard output.
pub(super) fn print(text: &str) -> Result<(), Failure> {
    let mut out = stdout().lock();
    out.write_all(text.as_bytes())?;
    Ok(out.flush()?)
}

/// Writes a line to standard output.
pub(super) fn print_line(text: &str) -> Result<(), Failure> {
    print(&format!("{text}\n"))
}

/// A value as it stands in a query (RFC 3986, 2.1).
pub(super) fn in_query(value: &str) -> String {
    let escaped = |byte: u8| match byte {
        byte if byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte) => char::from(byte).to_string(),
        byte => format!("%{byte:02X}"),
    };
    value.bytes().map(escaped).collect()
}

/// The one item that `name` names: by id, by name, or by the start of its id.
pub(super) fn named<T>(
    items: Vec<T>,
    name: &str,
    what: &str,
    of: impl Fn(&T) -> (&str, &str),
) -> Result<T, Failure> {
    let exact = |item: &T| [of(item).0, of(item).1].contains(&name);
    let begins = |item: &T| name.len() >= SHORTEST && of(item).0.starts_with(name);
    let exactly = items.iter().any(exact);
    let mut found: Vec<T> =
        items.into_iter().filter(|item| if exactly { exact(item) } else { begins(item) }).collect();
    match (found.pop(), found.len()) {
        (Some(item), 0) => Ok(item),
        (None, _) => Err(Failure::NotFound(format!("there is no {what} {name:?}"))),
        (Some(last), _) => {
            let ids: Vec<_> = found.iter().chain([&last]).map(|item| of(item).0).collect();
            Err(Failure::NotFound(format!("{} {what}s match {name:?}: {}", ids.len(), ids.join(", "))))
        }
    }
}

/// The start of an id, as tables show it.
pub(super) fn short(id: &str) -> String {
    id.chars().take(SHORT).collect()
}

const BASE: &str = "/api/v1";
/// Characters of an id in a table; 32 bits tell a fleet's devices apart well enough to paste.
const SHORT: usize = 8;
/// Shortest start of an id that is taken for one.
const SHORTEST: usize = 4;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_or_its_start_or_a_name_names_one_thing() {
        let find = |name| named(ITEMS.to_vec(), name, "device", |item| (item.0, item.1)).map(|item| item.0);
        assert_eq!(find("aaaa1111").unwrap(), "aaaa1111");
        assert_eq!(find("web").unwrap(), "bbbb1111");
        assert_eq!(find("bbbb").unwrap(), "bbbb1111");
        assert_eq!(find("aaaa").unwrap_err().to_string(), "2 devices match \"aaaa\": aaaa1111, aaaa2222");
        assert_eq!(find("db").unwrap_err().to_string(), "2 devices match \"db\": aaaa1111, aaaa2222");
        assert_eq!(find("aa").unwrap_err().to_string(), "there is no device \"aa\"");
    }

    #[test]
    fn a_query_holds_any_name() {
        assert_eq!(in_query("a b&c=ü/%"), "a%20b%26c%3D%C3%BC%2F%25");
    }

    const ITEMS: &[(&str, &str)] = &[("aaaa1111", "db"), ("aaaa2222", "db"), ("bbbb1111", "web")];
}
