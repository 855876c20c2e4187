//! The C guests, glibc and all: what they write is what they write under qemu-riscv64.

use super::cases::Expected;
use super::{Machine, Run, Setting, matrix, seeded};
use crate::process::{self, exists, succeed};
use crate::project::{command, root};
use crate::steps::Steps;
use std::path::PathBuf;
use std::process::Command;

const COMPILER: &str = "riscv64-linux-gnu-gcc";
pub const QEMU: &str = "qemu-riscv64";

/// Each with its arguments and input.
const PROGRAMS: [(&str, &str); 9] = [
    ("hello", ""),
    ("hello_pie", ""),
    ("malloc_threads 4 500", ""),
    ("fork_tree 2 3", ""),
    ("float", ""),
    ("barrier 3 10", ""),
    ("signals", ""),
    ("waits", ""),
    ("stdio one two", "three words here\nand a second line\n"),
];

/// Whether there is what builds C guests and what runs them besides; a line if not.
pub fn can_run(steps: &mut Steps, what: &str) -> bool {
    let tools = [(COMPILER, "gcc-riscv64-linux-gnu"), (QEMU, "qemu-user")];
    let missing = tools.iter().find(|(tool, _)| !exists(tool));
    if let Some((tool, package)) = missing {
        steps.skip(what, format!("there is no {tool} (Debian's {package})"));
    }
    missing.is_none()
}

/// Builds them where that is possible, and runs them over every setting.
pub fn run(steps: &mut Steps, machine: &Machine) {
    if !can_run(steps, "C guests") {
        return;
    }
    if !steps.step("build the C guests", || succeed(command("make").args(["-C", "guests/c"]))) {
        return;
    }
    for (line, input) in PROGRAMS {
        if !path(line).exists() {
            steps.skip(format!("guest {line} (C)"), "the C library has no start-up file for it");
            continue;
        }
        let mut expected = Expected { status: 0, lines: Vec::new() };
        let reference = steps.step(format!("{line} under qemu-riscv64"), || {
            expected.lines = reference(command(QEMU), line, input)?;
            Ok(())
        });
        if reference {
            let run = |setting: Setting| Run::c(line, setting).reading(input);
            matrix(steps, machine, &format!("{line} (C)"), seeded(2), run, &expected);
        }
    }
}

/// The program of a line.
fn path(line: &str) -> PathBuf {
    let folder = root().canonicalize().unwrap_or_default().join("guests/build/c");
    folder.join(line.split(' ').next().unwrap_or_default())
}

/// What the program writes under qemu, whose pages have 4096 bytes.
pub fn reference(mut qemu: Command, line: &str, input: &str) -> Result<Vec<String>, String> {
    qemu.arg(path(line)).args(line.split(' ').skip(1));
    let outcome = process::run(&mut qemu, input, std::time::Duration::from_secs(60))?;
    if outcome.status != 0 {
        return Err(format!("exit status {}\n{}", outcome.status, outcome.stderr));
    }
    let lines = outcome.stdout.lines();
    Ok(lines.map(|line| line.replace("page size 4096", "page size {page}")).collect())
}
