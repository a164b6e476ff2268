//! Becoming an operator: the key is made here and stays here.

use std::time::SystemTime;

use data_encoding::BASE64URL_NOPAD;
use klnet_wire::identity::Role;
use klnet_wire::identity::authority::request;
use klnet_wire::identity::enroll::{EnrollReply, EnrollRequest};
use klnet_wire::identity::profile::Profile;
use klnet_wire::identity::tls::Identity;
use klnet_wire::net::https::Client;
use klnet_wire::signing::SigningKey;

use super::args::{Login, Options};
use super::console::print_line;
use super::failure::Failure;
use super::profile::profile_path;
use super::text;
use crate::invitation::Invitation;

pub(super) async fn login(login: Login, options: &Options) -> Result<(), Failure> {
    let invitation = Invitation::parse(&login.invitation)?;
    let url = login.url.unwrap_or_else(|| invitation.url.clone());
    if url.is_empty() {
        return Err(Failure::Usage(
            "the invitation does not name the server: klctl login URL INVITATION".into(),
        ));
    }
    let url = url.trim_end_matches('/').to_owned();
    let path = profile_path(options)?;
    // Looked at before the invitation is used, since it is used up then.
    if path.exists() && !login.force {
        let path = path.display();
        return Err(Failure::Usage(format!(
            "{path} is there already; name another with --profile, or --force"
        )));
    }
    let key = SigningKey::generate_p256();
    let asked = EnrollRequest {
        token: invitation.token(),
        request: BASE64URL_NOPAD.encode(&request(&key)?),
        host_name: login.name.unwrap_or_else(host_name),
        os: std::env::consts::OS.to_owned(),
    };
    let client = Client::pinned(&url, invitation.root)?;
    let reply: EnrollReply = client.post("/api/v1/login", &asked).await?;
    let enrolled = reply.verify(&invitation.root, key.public(), Role::Operator, SystemTime::now())?;
    let identity = Identity { chain: enrolled.chain, key };
    let profile = Profile { url, name: invitation.name.clone(), trust: enrolled.trust, identity };
    profile.save(&path)?;
    let name = text::printable(&invitation.name);
    match options.json {
        true => print_line(&text::json(&serde_json::json!({ "name": invitation.name, "profile": path }))),
        false => print_line(&format!("You are {name} now; the profile is {}", path.display())),
    }
}

fn host_name() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}
