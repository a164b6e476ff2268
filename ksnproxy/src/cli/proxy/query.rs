//! `ksnproxy query`.

use std::io::Write;
use std::sync::Arc;

use klnet_wire::id::DeviceId;
use klnet_wire::identity::Trust;
use klnet_wire::identity::tls::{ALPN_HTTP, Identity, client_config, device_config};
use klnet_wire::place::Place;
use rustls::ClientConfig;
use serde_json::{Value, json};

use super::args::{QueryArgs, Via};
use super::failure::Failure;
use crate::asked::{subjects, worst};
use crate::cli::identity;
use crate::cli::units::spoken;
use crate::frame::{DATAGRAM_KEYS_LIMIT, KEYS_LIMIT};
use crate::net::SERVER_PORT;
use crate::net::client::{AskError, Datagrams, Https, Plain, Secure};
use crate::subject::{Key, Subject};
use crate::verdict::{Category, Reputation, Verdict};

/// Asks about every subject, and prints what is known.
pub(super) fn main(options: &QueryArgs) -> Result<(), Failure> {
    let groups = options.subjects.iter().map(|text| subjects(text)).collect::<Result<Vec<_>, _>>()?;
    let identity = options.identity.as_deref().map(identity::load).transpose()?;
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(Failure::System)?;
    let keys: Vec<_> = groups.iter().flatten().map(Subject::key).collect();
    let verdicts = runtime.block_on(ask(options, identity.as_ref(), &keys))?;
    let mut verdicts = verdicts.into_iter();
    let mut output = std::io::stdout().lock();
    for (text, group) in options.subjects.iter().zip(&groups) {
        let of_group: Vec<_> = verdicts.by_ref().take(group.len()).collect();
        let verdict = worst(&of_group);
        let line = if options.json { as_json(text, &verdict).to_string() } else { as_text(text, &verdict) };
        writeln!(output, "{line}").map_err(Failure::Output)?;
    }
    Ok(())
}

/// Asks the proxy, and where that cannot say, whom the options name for that case.
async fn ask(
    options: &QueryArgs,
    identity: Option<&(Identity, Trust)>,
    keys: &[Key],
) -> Result<Vec<Verdict>, Failure> {
    let asked = ask_proxy(options, identity, keys).await.map_err(|failure| failure.of(&options.proxy));
    let (Some(fallback), Some((identity, trust))) = (&options.fallback, identity) else { return asked };
    let unavailable = |verdict: &Verdict| verdict.reputation == Reputation::Unavailable;
    match asked {
        Ok(verdicts) if !verdicts.iter().any(unavailable) => Ok(verdicts),
        _ => {
            let Place { host, port, device } = place(fallback, SERVER_PORT)?;
            let mut server = Secure::with_tls(&host, port, tls(device, identity, trust, &[])?).await?;
            let mut verdicts = Vec::new();
            for keys in keys.chunks(KEYS_LIMIT) {
                verdicts.extend(server.query(keys).await?);
            }
            Ok(verdicts)
        }
    }
}

async fn ask_proxy(
    options: &QueryArgs,
    identity: Option<&(Identity, Trust)>,
    keys: &[Key],
) -> Result<Vec<Verdict>, Failure> {
    let Place { host, port, device } = place(&options.proxy, default_port(options.via))?;
    let device = options.device.or(device);
    let mut verdicts = Vec::new();
    match (options.via, identity) {
        (Via::Udp, identity) => {
            let ticket = match identity {
                None => None,
                Some((identity, trust)) => {
                    let tickets = options.tickets.as_deref().unwrap_or(&host);
                    let Place { host, port, device: named } = place(tickets, TCP_PORT)?;
                    let tls = tls(named.or(device), identity, trust, &[])?;
                    Some(Secure::with_tls(&host, port, tls).await?.ticket().await?)
                }
            };
            let mut datagrams = Datagrams::connect(&host, port, ticket).await?;
            for keys in keys.chunks(DATAGRAM_KEYS_LIMIT) {
                verdicts.extend(datagrams.query(keys).await?);
            }
        }
        (Via::Tcp, _) => {
            let mut plain = Plain::connect(&host, port).await?;
            for keys in keys.chunks(KEYS_LIMIT) {
                verdicts.extend(plain.query(keys).await?);
            }
        }
        (Via::Tls, Some((identity, trust))) => {
            let mut secure = Secure::with_tls(&host, port, tls(device, identity, trust, &[])?).await?;
            for keys in keys.chunks(KEYS_LIMIT) {
                verdicts.extend(secure.query(keys).await?);
            }
        }
        (Via::Https, Some((identity, trust))) => {
            let proxy = Https::with_tls(&host, port, tls(device, identity, trust, &[ALPN_HTTP])?)?;
            for keys in keys.chunks(KEYS_LIMIT) {
                verdicts.extend(proxy.query(keys).await?);
            }
        }
        (Via::Tls | Via::Https, None) => {
            return Err(Failure::Usage("TLS needs --identity".to_owned()));
        }
    }
    Ok(verdicts)
}

fn place(text: &str, port: u16) -> Result<Place, Failure> {
    Place::parse(text, port).map_err(|error| Failure::Usage(error.to_string()))
}

/// Whom this command takes for who it asks: a server of the fabric, or the one device that was named.
fn tls(
    device: Option<DeviceId>,
    identity: &Identity,
    trust: &Trust,
    alpn: &[&[u8]],
) -> Result<Arc<ClientConfig>, Failure> {
    let config = match device {
        Some(device) => device_config(identity, trust.clone(), None, device, alpn),
        None => client_config(Some(identity), trust.clone(), alpn),
    };
    config.map_err(|error| AskError::from(error).into())
}

fn as_json(text: &str, verdict: &Verdict) -> Value {
    json!({
        "subject": text,
        "reputation": verdict.reputation.word(),
        "category": verdict.category.word(),
        "confidence": verdict.confidence,
        "source": verdict.source,
        "ttl": verdict.ttl.as_secs(),
        "age": verdict.age.as_secs(),
        "stale": verdict.stale,
        "partial": verdict.partial,
    })
}

fn as_text(text: &str, verdict: &Verdict) -> String {
    let (reputation, ttl) = (verdict.reputation.word(), spoken(verdict.ttl));
    let marks = [(verdict.stale, ", stale"), (verdict.partial, ", partial")];
    let marks: String = marks.into_iter().filter(|(is, _)| *is).map(|(_, mark)| mark).collect();
    match verdict.reputation {
        Reputation::Unavailable => format!("{text}: unavailable, ask again in {ttl}"),
        Reputation::Unknown => format!("{text}: unknown, for {ttl}{marks}"),
        _ => {
            let (age, confidence) = (spoken(verdict.age), verdict.confidence);
            let category = match verdict.category {
                Category::None => String::new(),
                category => format!("{}, ", category.word()),
            };
            format!("{text}: {reputation} ({category}{confidence} %), said {age} ago, for {ttl}{marks}")
        }
    }
}

const fn default_port(via: Via) -> u16 {
    match via {
        Via::Udp => 15111,
        Via::Tcp | Via::Tls => TCP_PORT,
        Via::Https => 17111,
    }
}

const TCP_PORT: u16 = 13111;

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_verdict_reads_as_a_sentence() {
        let unknown = Verdict::unknown(Duration::from_secs(300));
        assert_eq!(as_text("a", &unknown), "a: unknown, for 5 min");
        let unavailable = Verdict::unavailable(Duration::from_secs(5));
        assert_eq!(as_text("a", &unavailable), "a: unavailable, ask again in 5 s");
        let bad = Verdict {
            reputation: Reputation::Malicious,
            category: Category::Malware,
            confidence: 90,
            stale: true,
            ..unknown
        };
        assert_eq!(as_text("a", &bad), "a: malicious (malware, 90 %), said 0 s ago, for 5 min, stale");
        let of_a_plain_list = Verdict { category: Category::None, age: Duration::from_hours(72), ..bad };
        assert_eq!(as_text("a", &of_a_plain_list), "a: malicious (90 %), said 3 days ago, for 5 min, stale");
    }
}
