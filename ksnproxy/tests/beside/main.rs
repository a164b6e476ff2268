//! A proxy that is whoever an agent's state folder says, while the agent renews, moves and hears who is revoked.

#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

mod folder;
mod proxy;

use folder::{Fabric, Folder};
use klnet_wire::identity::Principal;
use klnet_wire::identity::state::{CHAIN, CRLS, KEY, KEYS};
use proxy::{Proxy, key};

#[tokio::test]
async fn whoever_is_revoked_loses_connection_and_ticket_and_is_let_in_no_more() {
    let fabric = Fabric::new();
    let (folder, stolen, other) = (Folder::enrolled(&fabric), fabric.device(), fabric.device());
    let (proxy, trust) = (Proxy::start(folder.path(), &folder.identity), fabric.trust());
    let (mut of_stolen, mut of_other) =
        (proxy.connect(&stolen, &trust).await.unwrap(), proxy.connect(&other, &trust).await.unwrap());
    let (mut sealed, mut sealed_of_other) =
        (proxy.datagrams(&mut of_stolen).await, proxy.datagrams(&mut of_other).await);
    assert!(sealed.query(&[key()]).await.is_ok());

    folder.revoke(&fabric, 2, &[&stolen]);
    until(async || !proxy.is_let_in(&stolen, &trust).await).await;
    until(async || of_stolen.query(&[key()]).await.is_err()).await;
    until(async || sealed.query(&[key()]).await.is_err()).await;
    assert!(of_other.query(&[key()]).await.is_ok() && sealed_of_other.query(&[key()]).await.is_ok());
    assert!(proxy.is_let_in(&other, &trust).await);
}

#[tokio::test]
async fn a_renewed_certificate_is_shown_and_nobody_is_put_out_for_it() {
    let fabric = Fabric::new();
    let (folder, device) = (Folder::enrolled(&fabric), fabric.device());
    let (proxy, trust) = (Proxy::start(folder.path(), &folder.identity), fabric.trust());
    let mut secure = proxy.connect(&device, &trust).await.unwrap();
    let mut sealed = proxy.datagrams(&mut secure).await;
    let renewed = fabric.renewed(&folder.identity);
    folder.save_chain(&renewed);
    let serial = Principal::named_in(&renewed.chain[0]).unwrap().serial;
    until(async || proxy.shown(&device, &trust).await.as_ref() == Some(&serial)).await;
    assert!(secure.query(&[key()]).await.is_ok() && sealed.query(&[key()]).await.is_ok());
}

#[tokio::test]
async fn a_damaged_file_is_told_and_leaves_in_force_what_was() {
    let fabric = Fabric::new();
    let (folder, device, stolen) = (Folder::enrolled(&fabric), fabric.device(), fabric.device());
    folder.revoke(&fabric, 2, &[&stolen]);
    let (proxy, trust) = (Proxy::start(folder.path(), &folder.identity), fabric.trust());
    for name in [KEY, CHAIN, KEYS, CRLS] {
        let sound = folder.damage(name);
        let said = proxy.until_said("are in force");
        assert!(said.contains("WARN") && said.contains(name), "{said}");
        assert!(proxy.is_let_in(&device, &trust).await, "{name}");
        assert!(!proxy.is_let_in(&stolen, &trust).await, "{name}");
        folder.write(name, &sound);
        proxy.until_said("were read again");
    }
}

#[tokio::test]
async fn an_older_list_is_told_and_takes_no_newer_ones_place() {
    let fabric = Fabric::new();
    let (folder, stolen) = (Folder::enrolled(&fabric), fabric.device());
    let before = std::fs::read(folder.path().join(CRLS)).unwrap();
    folder.revoke(&fabric, 2, &[&stolen]);
    let (proxy, trust) = (Proxy::start(folder.path(), &folder.identity), fabric.trust());
    folder.write(CRLS, &before);
    proxy.until_said("revocation list 1 is older than list 2");
    assert!(!proxy.is_let_in(&stolen, &trust).await);
}

#[tokio::test]
async fn a_proxy_of_another_fabric_now_puts_out_whom_it_let_in_before() {
    let (fabric, next) = (Fabric::new(), Fabric::new());
    let (folder, device) = (Folder::enrolled(&fabric), fabric.device());
    let (proxy, trust) = (Proxy::start(folder.path(), &folder.identity), fabric.trust());
    let mut secure = proxy.connect(&device, &trust).await.unwrap();
    let mut sealed = proxy.datagrams(&mut secure).await;
    folder.moved(&next);
    until(async || secure.query(&[key()]).await.is_err()).await;
    until(async || sealed.query(&[key()]).await.is_err()).await;
    assert!(!proxy.is_let_in(&device, &trust).await);
}

/// Asks until it is so; a test that waits for ever is ended by who runs it.
async fn until(mut so: impl AsyncFnMut() -> bool) {
    while !so().await {
        tokio::task::yield_now().await;
    }
}
