//! Replays every corpus, and mutates it for a while: what libFuzzer found once stays found, without libFuzzer.

#![allow(clippy::unwrap_used)] // a test fails by panicking, and so do the functions it calls

mod mutate;
mod seeds;

use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

use klnet_fuzz::{TARGETS, Target};
use mutate::Mutator;

#[test]
fn every_committed_input_still_holds() {
    if std::env::var_os("KLNET_BLESS").is_some() {
        bless();
    }
    for target in TARGETS {
        let inputs = corpus(target);
        assert!(!inputs.is_empty(), "{} has no corpus: run with KLNET_BLESS=1", target.0);
        for (path, input) in inputs {
            run(target, &input, &path.display().to_string());
        }
    }
}

#[test]
fn mutated_inputs_hold() {
    let rounds = if std::env::var_os("KLNET_LONG").is_some() { 1_000_000 } else { 2_000 };
    for target in TARGETS {
        let inputs: Vec<_> = corpus(target).into_iter().map(|(_, input)| input).collect();
        let mut mutator = Mutator::new(SEED, inputs);
        for round in 0..rounds {
            let input = mutator.next();
            run(target, &input, &format!("round {round} of seed {SEED}"));
        }
    }
}

/// A target without a program, or a program without a target, is a target nobody fuzzes.
#[test]
fn every_target_has_its_program_and_corpus() {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let manifest = fs::read_to_string(here.join("Cargo.toml")).unwrap();
    for (name, _) in TARGETS {
        let program = fs::read_to_string(here.join(format!("fuzz_targets/{name}.rs"))).unwrap_or_default();
        assert!(program.contains(&format!("{name}(data)")), "fuzz_targets/{name}.rs");
        assert!(manifest.contains(&format!("\nname = \"{name}\"\n")), "{name} in Cargo.toml");
    }
    let programs = fs::read_dir(here.join("fuzz_targets")).unwrap().count();
    assert!(
        programs == TARGETS.len() || cfg!(not(all(feature = "server", feature = "feeds"))),
        "{programs} programs"
    );
}

fn run((name, target): &Target, input: &[u8], whence: &str) {
    if let Err(panic) = catch_unwind(AssertUnwindSafe(|| target(input))) {
        let kept = std::env::temp_dir().join(format!("klnet-fuzz-{name}"));
        let _ = fs::write(&kept, input);
        eprintln!("{name} fails with {whence}; the input is in {}", kept.display());
        std::panic::resume_unwind(panic);
    }
}

fn corpus((name, _): &Target) -> Vec<(PathBuf, Vec<u8>)> {
    let Ok(folder) = fs::read_dir(folder(name)) else { return Vec::new() };
    let mut inputs: Vec<_> = folder
        .map(|entry| entry.unwrap().path())
        .map(|path| (path.clone(), fs::read(&path).unwrap()))
        .collect();
    inputs.sort();
    inputs
}

/// Writes the seeds; inputs of other names stay.
fn bless() {
    for (target, name, input) in seeds::all() {
        let folder = folder(target);
        fs::create_dir_all(&folder).unwrap();
        fs::write(folder.join(format!("seed-{name}")), input).unwrap();
    }
}

fn folder(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus").join(name)
}

/// Any number: the same inputs in each run.
const SEED: u64 = 2026;
