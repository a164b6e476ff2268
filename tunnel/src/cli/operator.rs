//! Who runs the command: their key, and the server that gives them grants.

use std::path::PathBuf;
use std::sync::Arc;

use data_encoding::BASE64URL_NOPAD;
use klnet_wire::identity::profile::Profile;
use klnet_wire::signing::SigningKey;

use super::api::Api;
use super::args::Options;
use super::failure::Failure;
use super::target::{PortTarget, TargetError};
use crate::blob::Blob;
use crate::grant::Host;
use crate::net::request::{GrantReply, GrantRequest, PATH};

/// The operator of a profile.
pub(super) struct Operator {
    pub(super) key: SigningKey,
    api: Arc<Api>,
}

/// Where grants for one target come from.
pub(super) struct Source {
    api: Arc<Api>,
    request: GrantRequest,
}

impl Operator {
    /// Reads the operator's profile.
    pub(super) fn load(options: &Options) -> Result<Self, Failure> {
        let path = profile_path(options)?;
        if options.profile.is_none() && !path.exists() {
            return Err(Failure::NoProfile);
        }
        let api = Arc::new(Api::load(path)?);
        Ok(Self { key: api.profile().identity.key, api })
    }

    /// Where grants for `target` come from.
    pub(super) fn source(&self, target: &PortTarget) -> Result<Source, Failure> {
        let port = target.port.ok_or(TargetError::Port)?;
        let host = (target.host != Host::Device).then(|| target.host.to_string());
        let cnf = Some(BASE64URL_NOPAD.encode(self.key.public().as_bytes()));
        let request = GrantRequest { device: target.device.clone(), port, host, r#for: None, cnf };
        Ok(Source { api: Arc::clone(&self.api), request })
    }
}

impl Source {
    /// Asks for a grant.
    pub(super) async fn grant(&self) -> Result<Blob, Failure> {
        let reply: GrantReply = self.api.client().post(PATH, &self.request).await?;
        reply.blob.parse().map_err(Failure::Reply)
    }
}

/// Where the operator's profile is.
pub(super) fn profile_path(options: &Options) -> Result<PathBuf, Failure> {
    options.profile.clone().or_else(Profile::default_path).ok_or(Failure::NoProfile)
}
