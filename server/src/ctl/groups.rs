//! `klctl group`.

use super::console::{Console, named};
use super::failure::Failure;
use super::text::{printable, table};
use crate::api::types::{AddGroup, Group};

pub(super) async fn list(console: &Console) -> Result<(), Failure> {
    let groups: Vec<Group> = console.get("/groups").await?;
    let row = |group: &Group| [group.path.clone(), group.devices.to_string()];
    console.show(&groups, |groups| table(["PATH", "DEVICES"], groups.iter().map(row)))
}

pub(super) async fn add(console: &Console, path: &str) -> Result<(), Failure> {
    let (parent, name) = path.trim_end_matches('/').rsplit_once('/').unwrap_or(("", path));
    let parent = Some(parent.to_owned()).filter(|parent| !parent.is_empty());
    let group: Group = console.post("/groups", &AddGroup { name: name.to_owned(), parent }).await?;
    console.show(&group, |group| printable(&format!("Group {} is there now", group.path)))
}

pub(super) async fn remove(console: &Console, path: &str) -> Result<(), Failure> {
    let groups: Vec<Group> = console.get("/groups").await?;
    let path = format!("/{}", path.trim_matches('/'));
    let group = named(groups, &path, "group", |group| (&group.id, &group.path))?;
    console.delete(&format!("/groups/{}", group.id)).await?;
    console.done(&format!("Group {} is removed", group.path))
}
