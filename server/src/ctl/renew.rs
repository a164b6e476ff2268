//! Staying an operator: the profile's certificate is renewed for the same key, under the fabric's newest root.

use klnet_wire::identity::profile::Profile;

use super::args::Options;
use super::console::print_line;
use super::failure::Failure;
use super::profile::{ends, profile_path, renewed};
use super::text;

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
