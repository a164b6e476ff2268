//! `klctl distribute` and `klctl distribution`.

use std::io::{IsTerminal, stderr};
use std::time::{Duration, SystemTime};

use data_encoding::HEXLOWER;
use indicatif::{ProgressBar, ProgressStyle};
use klnet_multicast::net::Object;
use klnet_wire::signing::SigningKey;

use super::args;
use super::console::{Console, named, short};
use super::failure::Failure;
use super::text::{ago, bytes, printable, table};
use crate::api::types::{BeginContent, Delivered, Distribute, Distribution, NextBlock, Results};

/// Uploads what the server does not have yet, and has it distributed.
pub(super) async fn distribute(console: &Console, asked: args::Distribute) -> Result<(), Failure> {
    // The key is thrown away: the server signs, with the one that devices know.
    let object = Object::from_paths(&asked.files, &SigningKey::generate_ed25519())?;
    let manifest = &object.manifest;
    let content = HEXLOWER.encode(&manifest.catalogue);
    let new = BeginContent {
        id: content.clone(),
        catalogue_length: manifest.catalogue_length,
        length: manifest.length,
    };
    let NextBlock { next } = console.post("/contents", &new).await?;
    upload(console, &object, &content, next).await?;
    let name = asked.name.unwrap_or_else(|| manifest.name.clone());
    let (version, group) = (asked.version, asked.group);
    let made: Distribution =
        console.post("/distributions", &Distribute { content, name, version, group }).await?;
    console.show(&made, |made| {
        let Distribution { name, group, length, id, .. } = made;
        let size = bytes(*length);
        printable(&format!("{name} ({size}) is on its way to {group}: klctl distribution show {}", short(id)))
    })
}

/// Sends the blocks from `next` on, in order.
async fn upload(console: &Console, object: &Object, content: &str, mut next: u32) -> Result<(), Failure> {
    let blocks = object.manifest.length.div_ceil(1 << object.manifest.block_log2) + 1;
    let bar = bar(console, blocks);
    let mut buffer = Vec::new();
    while u64::from(next) < blocks {
        bar.set_position(next.into());
        match next {
            0 => object.catalogue().clone_into(&mut buffer),
            _ => object.read_block(next, &mut buffer)?,
        }
        let path = format!("/contents/{content}/block?number={next}");
        let taken: NextBlock = console.put(&path, std::mem::take(&mut buffer)).await?;
        next = taken.next;
    }
    bar.finish_and_clear();
    Ok(())
}

pub(super) async fn list(console: &Console) -> Result<(), Failure> {
    let distributions: Vec<Distribution> = console.get("/distributions").await?;
    console.show(&distributions, |distributions| {
        if distributions.is_empty() {
            return "Nothing is distributed".to_owned();
        }
        let now = SystemTime::now();
        let row = |one: &Distribution| {
            let Distribution { name, version, group, length, created, created_by, id } = one;
            let (size, since) = (bytes(*length), ago(*created, now));
            [name.clone(), version.to_string(), group.clone(), size, since, created_by.clone(), short(id)]
        };
        table(["NAME", "VERSION", "GROUP", "SIZE", "SINCE", "BY", "ID"], distributions.iter().map(row))
    })
}

pub(super) async fn show(console: &Console, name: &str) -> Result<(), Failure> {
    let distribution = find(console, name).await?;
    let results: Results = console.get(&format!("/distributions/{}", distribution.id)).await?;
    console.show(&results, described)
}

pub(super) async fn remove(console: &Console, name: &str) -> Result<(), Failure> {
    let distribution = find(console, name).await?;
    console.delete(&format!("/distributions/{}", distribution.id)).await?;
    console.done(&format!("{} is distributed no more", distribution.name))
}

async fn find(console: &Console, name: &str) -> Result<Distribution, Failure> {
    let distributions: Vec<Distribution> = console.get("/distributions").await?;
    named(distributions, name, "distribution", |one| (&one.id, &one.name))
}

fn described(results: &Results) -> String {
    let Distribution { name, version, group, length, .. } = &results.distribution;
    let complete = results.devices.iter().filter(|device| device.state == "complete").count();
    let (size, all) = (bytes(*length), results.devices.len());
    let title = format!("{name} version {version}, {size}, for {group}: {complete} of {all} devices have it");
    let row = |device: &Delivered| {
        let time = match device.at {
            Some(_) => format!("{:.1} s", Duration::from_millis(device.took_ms).as_secs_f64()),
            None => "-".to_owned(),
        };
        let Delivered { name, state, multicast, https, repaired, reason, .. } = device;
        let (multicast, https) = (bytes(*multicast), bytes(*https));
        [name.clone(), state.clone(), multicast, https, time, repaired.to_string(), reason.clone()]
    };
    let head = ["DEVICE", "STATE", "MULTICAST", "HTTPS", "TIME", "REPAIRED", "REASON"];
    format!("{}\n\n{}", printable(&title), table(head, results.devices.iter().map(row)))
}

fn bar(console: &Console, blocks: u64) -> ProgressBar {
    if console.json || !stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let style = ProgressStyle::with_template("upload {wide_bar} {percent:>3} % {eta}");
    style.map_or_else(|_| ProgressBar::hidden(), |style| ProgressBar::new(blocks).with_style(style))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_show_each_device_and_nothing_that_acts() {
        let device = |name: &str, state: &str, at| Delivered {
            device: "2e".repeat(16),
            name: name.into(),
            state: state.into(),
            multicast: 4 << 20,
            https: 20_480,
            took_ms: 1_250,
            repaired: 17,
            reason: "\u{1b}[2J".into(),
            at,
        };
        let distribution = Distribution {
            id: "1f".repeat(16),
            name: "image".into(),
            version: 7,
            group: "/office".into(),
            length: 4 << 20,
            created: 1,
            created_by: "anna".into(),
        };
        let devices = vec![device("web-7", "complete", Some(1)), device("web-8", "pending", None)];
        let text = described(&Results { distribution, devices });
        for cell in ["1 of 2", "web-7", "complete", "4096 KiB", "20 KiB", "1.2 s", "17", "pending"] {
            assert!(text.contains(cell), "{cell} in {text}");
        }
        assert!(!text.contains('\u{1b}'));
    }
}
