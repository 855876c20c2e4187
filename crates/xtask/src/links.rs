//! The link check: a program that maps, faults, forks and unmaps links where there is no operating
//! system.

use crate::process::succeed;
use crate::project::{cargo, command, target};
use crate::steps::Steps;
use std::collections::BTreeSet;

const TARGETS: [&str; 3] =
    ["x86_64-unknown-none", "aarch64-unknown-none", "riscv64gc-unknown-none-elf"];

/// Links it for each target.
pub fn run(steps: &mut Steps) {
    for target in TARGETS {
        if !installed(target) {
            steps.skip(format!("link check for {target}"), "rustup has not got that target");
            continue;
        }
        steps.step(format!("link check for {target}"), || link(target));
    }
}

/// Whether there is a `core` for the target.
fn installed(target: &str) -> bool {
    let mut rustc = command("rustc");
    rustc.args(["--print", "target-libdir", "--target", target]);
    let folder = crate::process::output(&mut rustc).unwrap_or_default();
    std::path::Path::new(folder.trim()).is_dir()
}

fn link(name: &str) -> Result<(), String> {
    // Without debugging information the only names in the file are those of linked functions.
    let build = format!("build --quiet --package link-check --release --target {name}");
    succeed(cargo(&build).args(["--config", "profile.release.debug=false"]))?;
    let program = target().join(name).join("release/link-check");
    let bytes = std::fs::read(&program).map_err(|error| format!("{program:?}: {error}"))?;
    let panics = panics(&bytes);
    println!("ways to panic that it links (for information): {}", panics.join(" "));
    Ok(())
}

/// The functions of `core::panicking` that a program has a symbol of.
fn panics(program: &[u8]) -> Vec<String> {
    const MODULE: &str = "9panicking";
    let names = program.split(|byte| *byte == 0).filter_map(|name| std::str::from_utf8(name).ok());
    let found: BTreeSet<_> = names
        .filter(|name| name.starts_with("_R") || name.starts_with("_ZN"))
        .filter_map(|name| name.split_once(MODULE))
        .map(|(_, name)| name.trim_start_matches(|c: char| c.is_ascii_digit()))
        .map(|name| name.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect())
        .collect();
    found.into_iter().collect()
}
