//! Every route, called by everyone who may not.

use std::fmt::Write;

use klnet_wire::id::TenantId;
use klnet_wire::identity::Role;
use klnet_wire::identity::tls::Identity;

use super::site::{Answer, Site, id};
use crate::api::auth::{Access, Right};
use crate::api::route::Route;
use crate::api::table;

#[tokio::test]
async fn every_route_refuses_everyone_who_may_not_call_it() {
    let site = Site::start().await;
    let cast = Cast::new(&site).await;
    let mut list = String::new();
    let mut refused = 0;
    for route in table::routes() {
        writeln!(list, "{} {}: {}", route.method, route.path, route.access()).unwrap();
        for (who, identity) in cast.outsiders(route.access()) {
            let answer = call(&site, &route, identity, &cast).await;
            writeln!(list, "    {who}: {}", answer.status).unwrap();
            assert!([401, 403].contains(&answer.status), "{who} {} {}: {answer:?}", route.method, route.path);
            assert!(answer.body.starts_with("{\"error\":\""), "{}", answer.body);
            refused += 1;
        }
    }
    assert_eq!(
        refused,
        2 * 5 + 36 * 6 + 21,
        "five of a route for devices, six of one for operators, and one more of twenty-one"
    );
    same_as_committed("access.txt", include_str!("access.txt"), &list);
}

#[tokio::test]
async fn an_administrator_of_another_tenant_finds_nothing() {
    let site = Site::start().await;
    let cast = Cast::new(&site).await;
    let tenant = TenantId::random();
    site.root_group(tenant).await;
    let stranger = site.operator(tenant, &["administrator"]).await;
    let ours =
        [id(&cast.administrator), cast.device_id.clone(), cast.token_id.clone(), cast.group_id.clone()];
    let mut called = 0;
    for route in table::routes().iter().filter(|route| matches!(route.access(), Access::Operator(_))) {
        let answer = call(&site, route, Some(&stranger), &cast).await;
        let named = route.path.contains("{id}") || ["grant", "distribute"].contains(&route.id);
        assert_eq!(answer.status, if named { 404 } else { 200 }, "{}: {answer:?}", route.id);
        // Its own refused grant is in its own log, with the name it asked for.
        let ours = if route.id == "audit" { &["\"root\"".to_owned()][..] } else { &ours };
        let shown = ours.iter().find(|ours| answer.body.contains(*ours) && !named);
        assert_eq!(shown, None, "{} shows another tenant's: {}", route.id, answer.body);
        called += 1;
    }
    assert_eq!(called, 36);
    let devices = site.json(Some(&cast.administrator), "/api/v1/devices").await;
    let device = devices.as_array().unwrap().iter().find(|device| device["id"] == cast.device_id).unwrap();
    assert!(device["revoked"].is_null(), "nothing happened to it");
}

#[tokio::test]
async fn whoever_may_is_let_in() {
    let site = Site::start().await;
    let cast = Cast::new(&site).await;
    for route in table::routes() {
        // Revoking or removing what later routes need comes last.
        if route.id.starts_with("revoke") || route.id.starts_with("remove") {
            continue;
        }
        let whom = match route.access() {
            Access::Public => None,
            Access::Agent => Some(&cast.device),
            Access::Operator(_) => Some(&cast.administrator),
        };
        let status = call(&site, &route, whom, &cast).await.status;
        // The device has no session and no clone, and no token stands in the body.
        let expected = match route.id {
            "grant" => 503,
            "enroll" | "login" | "renew" | "approveClone" => 400,
            // Nothing was uploaded.
            "block" | "putBlock" | "distribute" | "showDistribution" => 404,
            _ => 200,
        };
        assert_eq!(status, expected, "{}", route.id);
    }
}

/// Operators and devices of every standing, and things to name.
struct Cast {
    administrator: Identity,
    tunneller: Identity,
    powerless: Identity,
    revoked_operator: Identity,
    unknown_operator: Identity,
    device: Identity,
    revoked_device: Identity,
    unknown_device: Identity,
    elsewhere_operator: Identity,
    elsewhere_device: Identity,
    device_id: String,
    token_id: String,
    group_id: String,
}

impl Cast {
    async fn new(site: &Site) -> Self {
        let tenant = site.fabric.tenant();
        let administrator = site.administrator().await;
        let by = site.caller(&administrator);
        let device = site.device(&by).await;
        let revoked_device = site.stored_device(tenant).await;
        let revoked = id(&revoked_device).parse().unwrap();
        site.fleet.revoke_device(&by, revoked, "").await.unwrap();
        let revoked_operator = site.operator(tenant, &["administrator"]).await;
        let revoked = id(&revoked_operator).parse().unwrap();
        site.fleet.revoke_operator(&by, revoked, "").await.unwrap();
        let group = site.fleet.add_group(&by, "office", None).await.unwrap();
        let (token, _) =
            site.fleet.add_token(&by, group.id, 1, std::time::Duration::from_secs(60)).await.unwrap();
        // The same number in another tenant is somebody else.
        let number = |identity: &Identity| super::site::principal(identity).id;
        let other = TenantId::random();
        Self {
            tunneller: site.operator(tenant, &["tunnel"]).await,
            powerless: site.operator(tenant, &["role-of-a-newer-version"]).await,
            unknown_operator: site.certify(tenant, Role::Operator, [9; 16]).0,
            unknown_device: site.certify(tenant, Role::Agent, [9; 16]).0,
            elsewhere_operator: site.certify(other, Role::Operator, number(&administrator)).0,
            elsewhere_device: site.certify(other, Role::Agent, number(&device)).0,
            device_id: id(&device),
            token_id: token.id,
            group_id: group.id.to_string(),
            administrator,
            revoked_operator,
            device,
            revoked_device,
        }
    }

    /// Everyone who must be refused.
    fn outsiders(&self, access: Access) -> Vec<(&'static str, Option<&Identity>)> {
        let mut outsiders: Vec<(&str, Option<&Identity>)> = vec![("no certificate", None)];
        match access {
            Access::Public => return Vec::new(),
            Access::Agent => outsiders.extend([
                ("an operator", Some(&self.administrator)),
                ("a revoked device", Some(&self.revoked_device)),
                ("an unknown device", Some(&self.unknown_device)),
                ("another tenant's device", Some(&self.elsewhere_device)),
            ]),
            Access::Operator(right) => {
                outsiders.extend([
                    ("a device", Some(&self.device)),
                    ("a revoked operator", Some(&self.revoked_operator)),
                    ("an unknown operator", Some(&self.unknown_operator)),
                    ("another tenant's operator", Some(&self.elsewhere_operator)),
                    ("an operator without roles", Some(&self.powerless)),
                ]);
                if right == Right::Administer {
                    outsiders.push(("an operator with the role tunnel", Some(&self.tunneller)));
                }
            }
        }
        outsiders
    }
}

/// Calls a route with everything it takes.
async fn call(site: &Site, route: &Route, whom: Option<&Identity>, cast: &Cast) -> Answer {
    let named = match route.path {
        path if path.contains("/devices/") => &cast.device_id,
        path if path.contains("/groups/") => &cast.group_id,
        path if path.contains("/operators/") => &id(&cast.administrator),
        path if path.contains("/tokens/") => &cast.token_id,
        _ => "0123456789abcdef0123456789abcdef",
    };
    let path = route.path.replace("{id}", named);
    let body = match route.id {
        "approveClone" => r#"{"address":"192.0.2.1"}"#.to_owned(),
        "moveDevice" => r#"{"group":"/"}"#.to_owned(),
        "addGroup" => r#"{"name":"new"}"#.to_owned(),
        "addOperator" => r#"{"name":"new","roles":["tunnel"],"ttl":60}"#.to_owned(),
        "addToken" => r#"{"uses":1,"ttl":60}"#.to_owned(),
        "assignPoint" => r#"{"group":"/"}"#.to_owned(),
        "setPolling" => r#"{"zeroconf_every":900}"#.to_owned(),
        "beginContent" => format!(r#"{{"id":"{}","catalogue_length":9,"length":0}}"#, "ab".repeat(32)),
        "distribute" => format!(r#"{{"content":"{}","name":"x","group":"/"}}"#, "cd".repeat(32)),
        "grant" => format!(r#"{{"device":"{}","port":22}}"#, cast.device_id),
        _ => "{}".to_owned(),
    };
    site.request(whom, route.method.as_str(), &path, &body).await
}

/// Compares with what is committed; with KLNET_BLESS=1 writes it anew.
pub(super) fn same_as_committed(name: &str, committed: &str, now: &str) {
    if std::env::var_os("KLNET_BLESS").is_some() {
        let path = format!("{}/src/api/tests/{name}", env!("CARGO_MANIFEST_DIR"));
        return std::fs::write(path, now).unwrap();
    }
    assert_eq!(now, committed, "if this is meant, run the test again with KLNET_BLESS=1");
}
