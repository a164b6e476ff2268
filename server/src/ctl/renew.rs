//! Staying an operator: the profile's certificate is renewed for the same key, under the fabric's newest root.

use std::path::Path;
use std::time::SystemTime;

use klnet_wire::identity::profile::Profile;
use klnet_wire::identity::tls::Identity;
use klnet_wire::identity::trust::Validity;
use klnet_wire::net::https::Client;
use klnet_wire::net::renew::{RenewError, newer_roots, renew};

use super::args::Options;
use super::console::{print_line, profile_path};
use super::failure::Failure;
use super::text;
use crate::unix::seconds;

/// `klctl renew`: now, and by whatever roots the fabric has meanwhile.
pub(super) async fn command(options: &Options) -> Result<(), Failure> {
    let path = profile_path(options)?;
    let profile = renewed(&Profile::load(&path)?, &path).await?;
    let until = ends(&profile);
    match options.json {
        true => print_line(&text::json(&serde_json::json!({ "profile": path, "until": until }))),
        false => print_line(&format!("{} is good until {}", path.display(), text::moment(until))),
    }
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

async fn renewed(profile: &Profile, path: &Path) -> Result<Profile, Failure> {
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

fn ends(profile: &Profile) -> u64 {
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
