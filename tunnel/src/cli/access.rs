//! Access to a target: holds a grant, and asks for another when that one is over.

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::AsFd;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use data_encoding::BASE64URL_NOPAD;
use klnet_wire::identity::profile::Profile;
use klnet_wire::net::https::Client;
use klnet_wire::signing::SigningKey;
use tokio::io::AsyncWriteExt;
use tokio::sync::Mutex;

use super::args::Options;
use super::failure::Failure;
use super::target::{PortTarget, Target, TargetError};
use crate::blob::Blob;
use crate::grant::Host;
use crate::net::initiator::{Connection, Initiator};
use crate::net::ready::{self, Ready};
use crate::net::request::{GrantReply, GrantRequest, PATH};

/// Opens connections to one target.
pub(super) struct Access {
    key: SigningKey,
    /// How to get another grant; `None` for a blob, which is all there is.
    source: Option<Source>,
    /// How many connections are kept ready.
    keep: ready::Config,
    current: Mutex<Arc<Ready>>,
    /// The connection that began a blob's session, for whoever comes soon after.
    first: Mutex<Option<(Instant, Connection)>>,
}

struct Source {
    client: Client,
    request: GrantRequest,
}

/// What is known about the grant in use.
#[derive(Debug, Clone, Copy)]
pub(super) struct Terms {
    /// The session must have begun by then, Unix seconds.
    pub(super) start_by: u64,
    /// How long the session may last.
    pub(super) session: Duration,
    /// When it began, if it has.
    pub(super) begun: Option<SystemTime>,
}

impl Access {
    /// Reads the operator's profile and gets the first grant.
    pub(super) async fn open(target: &Target, options: &Options) -> Result<Self, Failure> {
        let profile = profile(options)?;
        let key = profile.identity.key.clone();
        let (blob, source) = match target {
            Target::Blob(blob) => ((**blob).clone(), None),
            Target::StandardInput => {
                return Err(Failure::Usage("standard input is not a target here".into()));
            }
            Target::Port(target) => {
                let source = Source { client: Client::new(&profile)?, request: request(target, &key)? };
                (source.grant().await?, Some(source))
            }
        };
        let keep = options.keep.ready();
        let current = Mutex::new(Arc::new(Ready::new(Initiator::new(blob, &key), keep)));
        Ok(Self { key, source, keep, current, first: Mutex::new(None) })
    }

    /// Begins the session of a blob: its time to start would be over before a person has opened another program, and
    /// what is wrong with it is better said now. Where another grant can be had there is no hurry.
    pub(super) async fn begin(&self) -> Result<(), Failure> {
        if self.source.is_none() {
            let connection = self.connect().await?;
            *self.first.lock().await = Some((Instant::now(), connection));
        }
        Ok(())
    }

    /// Closes the connection that began the session once nobody came for it soon.
    pub(super) async fn tidy(&self) {
        let unused = self.first.lock().await.take_if(|(since, _)| since.elapsed() >= FRESH);
        if let Some((_, mut connection)) = unused {
            // The session goes on; how this connection ends is of no interest to anybody.
            let _ = connection.stream.shutdown().await;
        }
    }

    /// Opens a connection, with another grant when the present one is over and another can be had.
    pub(super) async fn connect(&self) -> Result<Connection, Failure> {
        let first = self.first.lock().await.take();
        if let Some((_, connection)) = first.filter(|(since, _)| since.elapsed() < FRESH) {
            return Ok(connection);
        }
        let used = self.current.lock().await.clone();
        match (used.connect().await, &self.source) {
            (Err(error), Some(source)) if error.wants_another_grant() => {
                tracing::debug!(%error, "the grant is over, asking for another");
                Ok(self.replace(&used, source).await?.connect().await?)
            }
            (result, _) => Ok(result?),
        }
    }

    /// Ends what is kept ready, in order; waits for nobody who is asking for another grant.
    pub(super) async fn close(&self) {
        if let Ok(current) = self.current.try_lock() {
            current.close().await;
        }
    }

    /// The terms of the present grant.
    pub(super) async fn terms(&self) -> Terms {
        let current = self.current.lock().await;
        let current = current.initiator();
        Terms { start_by: current.expires(), session: current.grant().session, begun: current.begun() }
    }

    /// The longest silence of a connection.
    pub(super) async fn idle(&self) -> Duration {
        self.current.lock().await.initiator().grant().idle
    }

    /// Replaces `used`, unless another connection has done so already.
    async fn replace(&self, used: &Arc<Ready>, source: &Source) -> Result<Arc<Ready>, Failure> {
        let mut current = self.current.lock().await;
        if Arc::ptr_eq(&current, used) {
            let initiator = Initiator::new(source.grant().await?, &self.key);
            *current = Arc::new(Ready::new(initiator, self.keep));
        }
        Ok(current.clone())
    }
}

impl Source {
    async fn grant(&self) -> Result<Blob, Failure> {
        let reply: GrantReply = self.client.post(PATH, &self.request).await?;
        reply.blob.parse().map_err(Failure::Reply)
    }
}

/// Takes the blob off standard input, if that is where it comes from.
///
/// # Errors
/// When there is none.
pub(super) fn or_read(target: Target) -> Result<Target, Failure> {
    if target != Target::StandardInput {
        return Ok(target);
    }
    // Not by `Stdin`, which reads ahead: what follows the blob belongs to the command that is run.
    let input = std::io::stdin().as_fd().try_clone_to_owned().map_err(Failure::Input)?;
    let line = read_line(&mut File::from(input)).map_err(Failure::Input)?;
    Ok(Target::Blob(Box::new(line.parse().map_err(TargetError::Blob)?)))
}

/// Reads a line and not a byte more.
fn read_line(input: &mut impl Read) -> io::Result<String> {
    let mut line = Vec::new();
    #[allow(clippy::unbuffered_bytes, reason = "a buffer would take what follows the line")]
    for byte in input.take(LINE_LIMIT).bytes() {
        match byte? {
            b'\n' => break,
            byte => line.push(byte),
        }
    }
    // Bytes that are no text are no blob either.
    Ok(String::from_utf8_lossy(&line).into_owned())
}

/// Where the operator's profile is.
pub(super) fn profile_path(options: &Options) -> Result<PathBuf, Failure> {
    options.profile.clone().or_else(Profile::default_path).ok_or(Failure::NoProfile)
}

fn profile(options: &Options) -> Result<Profile, Failure> {
    let path = profile_path(options)?;
    match options.profile.is_none() && !path.exists() {
        true => Err(Failure::NoProfile),
        false => Ok(Profile::load(&path)?),
    }
}

fn request(target: &PortTarget, key: &SigningKey) -> Result<GrantRequest, Failure> {
    let port = target.port.ok_or(TargetError::Port)?;
    let host = (target.host != Host::Device).then(|| target.host.to_string());
    let cnf = Some(BASE64URL_NOPAD.encode(key.public().as_bytes()));
    Ok(GrantRequest { device: target.device.clone(), port, host, r#for: None, cnf })
}

/// Longest line that may hold a blob, in bytes.
const LINE_LIMIT: u64 = 8192;

/// A connection that has waited longer may have met a login timeout of its service.
const FRESH: Duration = Duration::from_secs(5);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_follows_the_blobs_line_is_left_for_the_command() {
        let mut input = &b"klt1.CpoB\nSELECT 1;\n"[..];
        assert_eq!(read_line(&mut input).unwrap(), "klt1.CpoB");
        assert_eq!(input, b"SELECT 1;\n");
        assert_eq!(read_line(&mut &b"without an end"[..]).unwrap(), "without an end");
        assert_eq!(read_line(&mut io::repeat(b'x')).unwrap().len(), 8192);
    }
}
