//! `klctl token`.

use std::time::{Duration, SystemTime};

use klnet_wire::identity::enroll::print_pin;

use super::console::{Console, named, short};
use super::failure::Failure;
use super::text::{ago, printable, span, table};
use crate::api::types::{AddToken, NewToken, Token};

pub(super) async fn list(console: &Console) -> Result<(), Failure> {
    let tokens: Vec<Token> = console.get("/tokens").await?;
    let now = SystemTime::now();
    let row = |token: &Token| {
        let Token { id, group, uses_left, expires, created_by } = token;
        [short(id), group.clone(), uses_left.to_string(), ago(*expires, now), created_by.clone()]
    };
    console.show(&tokens, |tokens| match tokens.is_empty() {
        true => "There are no tokens; make one with: klctl token create".to_owned(),
        false => table(["ID", "GROUP", "USES LEFT", "EXPIRES", "MADE BY"], tokens.iter().map(row)),
    })
}

pub(super) async fn create(
    console: &Console,
    group: Option<String>,
    uses: u32,
    ttl: Duration,
) -> Result<(), Failure> {
    let made: NewToken = console.post("/tokens", &AddToken { group, uses, ttl: ttl.as_secs() }).await?;
    let devices = if uses == 1 { "one device".to_owned() } else { format!("{uses} devices") };
    console.aside(&format!("Paste this line on {devices} for {}, within {}:", made.token.group, span(ttl)));
    console.show(&made, |made| {
        let (url, root) = (&console.profile.url, print_pin(&console.profile.trust.pin()));
        printable(&format!("klnagent enroll --server {url} --root {root} --token {}", made.secret))
    })
}

pub(super) async fn remove(console: &Console, id: &str) -> Result<(), Failure> {
    let tokens: Vec<Token> = console.get("/tokens").await?;
    let token = named(tokens, id, "token", |token| (&token.id, &token.id))?;
    console.delete(&format!("/tokens/{}", token.id)).await?;
    console.done(&format!("Token {} is removed", short(&token.id)))
}
