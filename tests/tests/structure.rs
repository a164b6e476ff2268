//! The house rules that a compiler does not hold, checked on the repository's own text.

use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

#[test]
fn crates_depend_one_way() -> Result<()> {
    let mut wrong = Vec::new();
    for (name, others) in dependencies()? {
        wrong.extend(
            others.iter().filter(|other| !may_depend(&name, other)).map(|other| format!("{name} -> {other}")),
        );
    }
    none_of(wrong, "arrows run server, agent -> domain crates -> wire; nothing depends on tests or fuzz")
}

#[test]
fn arrows_the_other_way_are_refused() {
    for (name, other) in
        [("wire", "tunnel"), ("tunnel", "discovery"), ("agent", "server"), ("server", "tests")]
    {
        assert!(!may_depend(name, other), "{name} -> {other}");
    }
}

#[test]
fn only_up_imports_the_agent_and_the_commands() -> Result<()> {
    let found = lines("server/src", "rs")?.filter(|line| {
        line.has_any(&["klnet_agent", "klnet_ksnproxy", "klnet_tunnel::cli"])
            && !line.comes_from("server/src/up")
    });
    none_of(found, "the server carries the agent and the commands for `up` alone")
}

#[test]
fn nothing_is_left_unfinished() -> Result<()> {
    let marks = [
        concat!("TO", "DO"),
        concat!("FIX", "ME"),
        concat!("todo", "!("),
        concat!("unimplemented", "!("),
        concat!("Work in ", "progress"),
    ];
    none_of(lines("", "rs")?.filter(|line| line.has_any(&marks)), "finish it or file an issue")
}

#[test]
fn no_text_knows_the_machine_it_was_written_on() -> Result<()> {
    let places = [concat!("/wo", "rk/"), concat!("/ro", "ot/"), concat!("/ho", "me/"), concat!("farm", "-")];
    let texts = ["rs", "toml", "md", "service", "sh", "json", "run", "bench"];
    let found = texts.into_iter().map(|kind| lines("", kind)).collect::<Result<Vec<_>>>()?;
    none_of(
        found.into_iter().flatten().filter(|line| line.has_any(&places)),
        "paths are relative or configured",
    )
}

#[test]
fn tests_wait_for_events_not_for_time() -> Result<()> {
    let mut found = Vec::new();
    for path in files("", "rs")? {
        // The one place with waiting loops: neither a process nor a file can be awaited portably. And a measurement
        // lasts as long as it is asked to.
        if path.starts_with("tests/src/lab") || path.starts_with("tests/src/bench") {
            continue;
        }
        let text = read(&path)?;
        let is_test =
            path.starts_with("tests") || path.iter().any(|part| part == "tests" || part == "tests.rs");
        let tests =
            if is_test { text.as_str() } else { text.split_once("#[cfg(test)]").map_or("", |(_, t)| t) };
        let virtual_time = ["start_paused", "time::pause()"].iter().any(|mark| text.contains(mark));
        if tests.contains(concat!("thread::", "sleep"))
            || (tests.contains(concat!("time::", "sleep(")) && !virtual_time)
        {
            found.push(path.display().to_string());
        }
    }
    none_of(found, "wait for the event itself, or pause time")
}

#[test]
fn every_crate_and_command_says_what_it_is() -> Result<()> {
    let roots = files("", "rs")?.into_iter().filter(|path| {
        path.ends_with("src/lib.rs") || path.parent().is_some_and(|parent| parent.ends_with("src/bin"))
    });
    let silent: Vec<_> =
        roots.filter(|path| !read(path).is_ok_and(|text| text.starts_with("//! "))).collect();
    none_of(silent.iter().map(|path| path.display().to_string()), "the first line is the module doc")
}

#[test]
fn links_between_documents_lead_somewhere() -> Result<()> {
    let mut dead = Vec::new();
    for path in files("", "md")? {
        let folder = repository().join(path.parent().unwrap_or(Path::new("")));
        let text = read(&path)?;
        for link in text.split("](").skip(1).filter_map(|rest| rest.split_once(')')).map(|(link, _)| link) {
            let target = link.split('#').next().unwrap_or_default();
            if !target.is_empty() && !link.contains("://") && !folder.join(target).exists() {
                dead.push(format!("{}: {link}", path.display()));
            }
        }
    }
    none_of(dead, "link to a file that exists")
}

fn may_depend(name: &str, other: &str) -> bool {
    let on_domain = ["multicast", "tunnel", "ksnproxy", "discovery", "policy"].contains(&other);
    match name {
        "wire" => false,
        "tests" => other != "fuzz",
        "fuzz" => other != "tests",
        "server" => other == "wire" || on_domain || other == "agent",
        "agent" => other == "wire" || on_domain,
        _ => other == "wire",
    }
}

/// A line of a file of the repository.
struct Line {
    path: PathBuf,
    number: usize,
    text: String,
}

impl Line {
    fn has_any(&self, words: &[&str]) -> bool {
        words.iter().any(|word| self.text.contains(word))
    }

    fn comes_from(&self, folder: &str) -> bool {
        self.path.starts_with(folder)
    }
}

impl std::fmt::Display for Line {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:{}: {}", self.path.display(), self.number, self.text.trim())
    }
}

fn none_of(found: impl IntoIterator<Item = impl std::fmt::Display>, rule: &str) -> Result<()> {
    let mut list = String::new();
    for item in found {
        writeln!(list, "  {item}")?;
    }
    anyhow::ensure!(list.is_empty(), "{rule}:\n{list}");
    Ok(())
}

/// Each member of the workspace with the members it depends on, in any way: normal, for builds, for tests.
fn dependencies() -> Result<Vec<(String, Vec<String>)>> {
    let metadata = Command::new(env!("CARGO"))
        .args(["metadata", "--no-deps", "--offline", "--format-version", "1"])
        .current_dir(repository())
        .output()?;
    let metadata: serde_json::Value =
        serde_json::from_slice(&metadata.stdout).context("cargo metadata failed")?;
    let list =
        |value: &serde_json::Value| value.as_array().cloned().context("not the metadata of a workspace");
    let member =
        |value: &serde_json::Value| value["name"].as_str()?.strip_prefix("klnet-").map(str::to_owned);
    list(&metadata["packages"])?
        .iter()
        .map(|package| {
            let name = member(package).context("a crate is named klnet-FOLDER")?;
            Ok((name, list(&package["dependencies"])?.iter().filter_map(member).collect()))
        })
        .collect()
}

fn lines(folder: &str, kind: &str) -> Result<impl Iterator<Item = Line>> {
    let texts = files(folder, kind)?.into_iter().map(|path| Ok((read(&path)?, path)));
    let texts = texts.collect::<Result<Vec<_>>>()?;
    Ok(texts.into_iter().flat_map(|(text, path)| {
        let line = |(index, text): (usize, &str)| Line {
            path: path.clone(),
            number: index + 1,
            text: text.to_owned(),
        };
        text.lines().enumerate().map(line).collect::<Vec<_>>()
    }))
}

/// Files below `folder` whose name ends in `kind`, as paths from the repository's root.
fn files(folder: &str, kind: &str) -> Result<Vec<PathBuf>> {
    let (mut folders, mut found) = (vec![PathBuf::from(folder)], Vec::new());
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(repository().join(&folder))? {
            let (entry, name) = entry.map(|entry| (entry.file_type(), entry.file_name()))?;
            let (path, name) = (folder.join(&name), name.to_string_lossy().into_owned());
            let is_ours = name == ".ci" || !name.starts_with('.') && name != "target";
            if entry?.is_dir() {
                folders.extend(is_ours.then_some(path));
            } else if name.rsplit('.').next() == Some(kind) {
                found.push(path);
            }
        }
    }
    Ok(found)
}

fn read(path: &Path) -> Result<String> {
    std::fs::read_to_string(repository().join(path))
        .with_context(|| format!("cannot read {}", path.display()))
}

fn repository() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the crate is a folder of the repository")
}
