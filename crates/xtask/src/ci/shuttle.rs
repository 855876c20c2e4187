//! The whole manager under shuttle: `crates/vmspace/tests/shuttle.rs`, and what it finds where a
//! protection is missing.

use crate::guests::PLANTS;
use crate::mutations;
use crate::process::{self, succeed};
use crate::project::command;
use crate::steps::Steps;
use std::path::{Path, PathBuf};
use std::time::Duration;
use vmspace::mutation::Mutation::{self, *};

/// How long the operations that find a missing protection may take.
const LIMIT: Duration = Duration::from_secs(60);

/// Protections, and operations that disturb each other without them.
const FOUND: [(Mutation, &str); 9] = [
    (NoShootdownAtUnmap, "fault unmap"),
    (NoShootdownAtProtect, "fault protect"),
    (NoShootdownAtFork, "fault fork"),
    (NoShootdownAtDontNeed, "fault dont_need"),
    (NoShootdownAtTruncation, "fault truncate"),
    (NoShootdownAtRemap, "fault remap"),
    (UnlockBeforeAcknowledgement, "unmap_table unmap_table"),
    (FreeBeforeFlush, "fault dont_need"),
    (NoSecondLookAtPin, "pin_and_fork"),
];

/// Builds it once, and runs it with every protection in its place, then without each.
pub fn run(steps: &mut Steps) {
    let mut program = PathBuf::new();
    let unharmed = steps.step("shuttle: every pair of operations, and some triples", || {
        program = mutations::build(mutations::SHUTTLE_CFGS, "--release --test shuttle")?;
        succeed(command("timeout").arg("10m").arg(&program))
    });
    if unharmed {
        steps.step("shuttle finds what is planted", || {
            FOUND
                .iter()
                .try_for_each(|(mutation, operations)| find(&program, *mutation, operations))
        });
    }
}

fn find(program: &Path, mutation: Mutation, operations: &str) -> Result<(), String> {
    let mut command = mutations::explore(program, operations);
    command.env(PLANTS, mutation.number().to_string());
    let outcome = process::run(&mut command, "", LIMIT)?;
    if !outcome.stderr.contains("caught: ") {
        return Err(format!("{mutation:?} survived {operations}"));
    }
    println!("{:28} found by {operations} ({:.2} s)", format!("{mutation:?}"), outcome.seconds);
    Ok(())
}
