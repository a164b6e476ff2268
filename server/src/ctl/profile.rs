//! The operator's profile: where it is, and that its certificate is good.

use std::path::{Path, PathBuf};
use std::time::SystemTime;

use klnet_wire::identity::profile::Profile;
use klnet_wire::identity::tls::Identity;
use klnet_wire::identity::trust::Validity;
use klnet_wire::net::https::Client;
use klnet_wire::net::renew::{RenewError, newer_roots, renew};

use super::args::Options;
use super::failure::Failure;
use crate::unix::seconds;

/// Where the operator's profile is.
pub(super) fn profile_path(options: &Options) -> Result<PathBuf, Failure> {
    options.profile.clone().or_else(Profile::default_path).ok_or(Failure::NoProfile)
}

/// The profile, renewed when two thirds of its certificate's life are over; as it is when that fails, which is told.
pub(super) async fn fresh(profile: Profile, path: &Path) -> (Profile, Option<String>) {
    if !is_due(&profile) {
        return (profile, None);
    }
    match renewed(&profile, path).await {
        Ok(renewed) => (renewed, None),
        Err(error) => (profile, Some(format!("the profile is not renewed: {error}"))),
    }
}

/// The profile under the fabric's newest roots, with a new certificate for the same key; stored before it is given.
pub(super) async fn renewed(profile: &Profile, path: &Path) -> Result<Profile, Failure> {
    let newer = newer_roots(&profile.url, &profile.trust).await?;
    let trust = newer.unwrap_or_else(|| profile.trust.clone());
    let client = Client::anonymous(&profile.url, trust.clone())?;
    let renewed = renew(&client, &profile.identity, &trust).await?;
    let identity = Identity { chain: renewed.chain, key: profile.identity.key.clone() };
    let renewed = Profile { trust, identity, ..profile.clone() };
    renewed.save(path)?;
    Ok(renewed)
}

fn is_due(profile: &Profile) -> bool {
    validity(profile).is_some_and(|validity| validity.renewal(0.5) <= seconds(SystemTime::now()))
}

/// When its certificate ends, Unix seconds.
pub(super) fn ends(profile: &Profile) -> u64 {
    validity(profile).map_or(0, |validity| validity.not_after)
}

fn validity(profile: &Profile) -> Option<Validity> {
    Validity::of(profile.identity.chain.first()?).ok()
}

impl From<RenewError> for Failure {
    fn from(error: RenewError) -> Self {
        match error {
            RenewError::Api(error) => Self::Api(error),
            RenewError::Reply(error) => Self::Reply(error),
            RenewError::Request(error) => Self::Request(error),
            other @ RenewError::OtherHolder => Self::NotFound(other.to_string()),
        }
    }
}
