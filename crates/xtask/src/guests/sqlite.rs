//! SQLite, a program that nobody here wrote: what it writes is what it writes under qemu-riscv64.

use super::c::{QEMU, can_run, reference};
use super::cases::Expected;
use super::{Machine, Run, SECONDS, Setting, matrix, seeded};
use crate::process::{exists, succeed};
use crate::project::{self, command};
use crate::steps::Steps;

/// Rows, writers, rounds of each.
const LINE: &str = "sqlite test.db 300 2 5";

/// Builds it where that is possible, and runs it over every setting.
pub fn run(steps: &mut Steps, machine: &Machine) {
    const WHAT: &str = "SQLite";
    if !can_run(steps, WHAT) {
        return;
    }
    if !exists("make") {
        return steps.skip(WHAT, "there is no make");
    }
    let build = || succeed(command("make").args(["-C", "guests/c", "sqlite"]));
    if !steps.step("build SQLite for riscv64", build) {
        return;
    }
    let mut expected = Expected { status: 0, lines: Vec::new() };
    let reference = steps.step("SQLite under qemu-riscv64", || {
        let folder = project::folder("sqlite-qemu");
        project::empty(&folder)?;
        let mut qemu = command(QEMU);
        qemu.current_dir(folder);
        expected.lines = reference(qemu, LINE, "")?;
        Ok(())
    });
    if !reference {
        return;
    }
    let run = |setting: Setting| Run::c(LINE, setting).rooted(true);
    matrix(steps, machine, LINE, seeded(2), run, &expected);
    steps.step("SQLite with a seed, twice", || replay(machine, run(Setting::strictest())));
}

/// The same seed gives the same bytes: output, and the report with its counts.
fn replay(machine: &Machine, run: Run) -> Result<(), String> {
    let run = run.seeded(2).reporting();
    let (first, second) = (machine.run(&run, SECONDS)?, machine.run(&run, SECONDS)?);
    if first.status != 0 {
        return Err(machine.failure(&run, &first, "does not succeed"));
    }
    match (&first.stdout, &first.stderr) == (&second.stdout, &second.stderr) {
        true => Ok(()),
        false => Err(machine.failure(&run, &second, "is not what it was the time before")),
    }
}
