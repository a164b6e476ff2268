//! Every route of the API, and who may call it.

use hyper::Method;

use super::auth::Right::{Administer, Tunnel, View};
use super::handlers::{
    audit, contents, devices, distributions, groups, ksn, operators, points, polling, public, tokens, tunnels,
};
use super::route::Route;

/// The API.
pub fn routes() -> Vec<Route> {
    let mut routes = for_everyone();
    routes.extend(for_operators());
    routes.extend(for_devices());
    routes
}

#[rustfmt::skip] // one route, one line
fn for_devices() -> Vec<Route> {
    vec![
        Route::agent(Method::GET, "/api/v1/agent/standing", "standing", "What the server knows of the device that asks.", devices::standing),
        Route::agent(Method::GET, "/api/v1/agent/contents/{id}/block", "block", "A block of what the distribution point that asks is to bring.", contents::block),
    ]
}

#[rustfmt::skip] // one route, one line
fn for_everyone() -> Vec<Route> {
    vec![
        Route::public(Method::GET, "/api/v1/health", "health", "Whether the server serves.", public::health),
        Route::public(Method::GET, "/api/v1/openapi.json", "openapi", "This document.", public::openapi),
        Route::public(Method::GET, "/api/v1/root", "root", "The fabric's root certificate; a pin says whether it is the right one.", public::root),
        Route::public(Method::GET, "/api/v1/trust", "trust", "How the fabric's first root led to the newest: proves itself.", public::trust),
        Route::public(Method::GET, "/api/v1/discovery", "discovery", "The signed list of the fabric's servers.", public::discovery),
        Route::public(Method::POST, "/api/v1/enroll", "enroll", "Trades a token for a device's certificate.", public::enroll).paced(),
        Route::public(Method::POST, "/api/v1/renew", "renew", "Trades a certificate, and proof of its key, for the next one.", public::renew).paced(),
        Route::public(Method::POST, "/api/v1/login", "login", "Trades an invitation for an operator's certificate, once.", public::login).paced(),
    ]
}

#[rustfmt::skip] // one route, one line
fn for_operators() -> Vec<Route> {
    vec![
        Route::operator(View, Method::GET, "/api/v1/whoami", "whoami", "The operator who asks.", operators::whoami),
        Route::operator(View, Method::GET, "/api/v1/devices", "listDevices", "Every device, or those with one name.", devices::list),
        Route::operator(View, Method::GET, "/api/v1/devices/{id}", "showDevice", "One device.", devices::show),
        Route::operator(Administer, Method::POST, "/api/v1/devices/{id}/group", "moveDevice", "Puts a device into a group.", devices::relocate),
        Route::operator(Administer, Method::POST, "/api/v1/devices/{id}/revoke", "revokeDevice", "Revokes a device for ever and cuts its sessions.", devices::revoke),
        Route::operator(Administer, Method::POST, "/api/v1/devices/{id}/clone/approve", "approveClone", "Lets a device's clone have an identity of its own.", devices::approve_clone),
        Route::operator(Administer, Method::DELETE, "/api/v1/devices/{id}", "removeDevice", "Removes a device for ever and cuts its sessions.", devices::remove),
        Route::operator(View, Method::GET, "/api/v1/groups", "listGroups", "Every group.", groups::list),
        Route::operator(Administer, Method::POST, "/api/v1/groups", "addGroup", "Adds a group.", groups::add),
        Route::operator(Administer, Method::DELETE, "/api/v1/groups/{id}", "removeGroup", "Removes an empty group.", groups::remove),
        Route::operator(View, Method::GET, "/api/v1/operators", "listOperators", "Every operator.", operators::list),
        Route::operator(Administer, Method::POST, "/api/v1/operators", "addOperator", "Adds an operator and gives the invitation.", operators::add),
        Route::operator(Administer, Method::POST, "/api/v1/operators/{id}/revoke", "revokeOperator", "Revokes an operator for ever and cuts their sessions.", operators::revoke),
        Route::operator(View, Method::GET, "/api/v1/tokens", "listTokens", "Every enrolment token that is good.", tokens::list),
        Route::operator(Administer, Method::POST, "/api/v1/tokens", "addToken", "Makes an enrolment token.", tokens::add),
        Route::operator(Administer, Method::DELETE, "/api/v1/tokens/{id}", "removeToken", "Removes an enrolment token, by its id or the start of it.", tokens::remove),
        Route::operator(Tunnel, Method::POST, "/api/v1/grants", "grant", "Grants a tunnel to a device.", tunnels::grant),
        Route::operator(View, Method::GET, "/api/v1/tunnels", "listTunnels", "Every grant that is open or in use.", tunnels::list),
        Route::operator(Administer, Method::POST, "/api/v1/tunnels/{id}/revoke", "revokeTunnel", "Revokes a grant and cuts its connections.", tunnels::revoke),
        Route::operator(View, Method::GET, "/api/v1/points", "listPoints", "Every distribution point.", points::list),
        Route::operator(Administer, Method::POST, "/api/v1/devices/{id}/point", "assignPoint", "Makes a device the distribution point of a group.", points::assign),
        Route::operator(Administer, Method::DELETE, "/api/v1/devices/{id}/point", "unassignPoint", "Takes the role from a distribution point.", points::unassign),
        Route::operator(View, Method::GET, "/api/v1/pollers", "listPollers", "Every device that finds hosts in its networks.", polling::list),
        Route::operator(Administer, Method::POST, "/api/v1/devices/{id}/polling", "setPolling", "Has a device find hosts in its networks.", polling::set),
        Route::operator(Administer, Method::DELETE, "/api/v1/devices/{id}/polling", "unsetPolling", "Has a device find hosts no more.", polling::unset),
        Route::operator(View, Method::GET, "/api/v1/ksn-proxies", "listKsnProxies", "Every KSN proxy, and how it stands.", ksn::list),
        Route::operator(Administer, Method::POST, "/api/v1/devices/{id}/ksn-proxy", "setKsnProxy", "Makes a device a KSN proxy.", ksn::set),
        Route::operator(Administer, Method::DELETE, "/api/v1/devices/{id}/ksn-proxy", "unsetKsnProxy", "Has a device be no KSN proxy any more.", ksn::unset),
        Route::operator(View, Method::GET, "/api/v1/unassigned", "listUnassigned", "Every host that was found and is no managed device.", polling::unassigned),
        Route::operator(Administer, Method::POST, "/api/v1/contents", "beginContent", "Begins an upload, or says how far it came.", contents::begin),
        Route::operator(Administer, Method::PUT, "/api/v1/contents/{id}/block", "putBlock", "Takes the next block of an upload.", contents::put),
        Route::operator(View, Method::GET, "/api/v1/distributions", "listDistributions", "Every object on its way to devices.", distributions::list),
        Route::operator(View, Method::GET, "/api/v1/distributions/{id}", "showDistribution", "One of them, with each device's result.", distributions::show),
        Route::operator(Administer, Method::POST, "/api/v1/distributions", "distribute", "Signs what was uploaded and brings it to the devices of a group.", distributions::add),
        Route::operator(Administer, Method::DELETE, "/api/v1/distributions/{id}", "removeDistribution", "Distributes an object no more.", distributions::remove),
        Route::operator(View, Method::GET, "/api/v1/audit", "audit", "What was done, newest first.", audit::page),
    ]
}
