//! All that `.ci/run` does: what it needs is installed, then everything that can be checked is.
//!
//! It fits in an hour on two cores with nothing built before. Whatever cannot be installed is
//! left out, with a line that says so; steps that could take for ever are killed at a limit.

mod install;
mod sanitizer;
mod shuttle;

use crate::guests::{self, Sort};
use crate::process::{exists, output, succeed};
use crate::project::{GUEST_TARGET, cargo, cargo_with, command, root};
use crate::steps::Steps;
use crate::{links, matrix, mutations, soak, tests};
use std::process::Command;

/// Rounds of the soak.
const ROUNDS: u64 = 6;

/// Minutes of the matrix.
const MINUTES: u64 = 8;

/// Instructions of each group that the interpreter and qemu are compared over.
const INSTRUCTIONS: &str = "1000000";

/// Everything.
pub fn run(steps: &mut Steps) {
    install::all(steps);
    style(steps);
    tests::all(steps);
    package(steps);
    loom(steps);
    shuttle::run(steps);
    conflicts(steps);
    mutations::run(steps);
    links::run(steps);
    guests::run(steps, &guests::Arguments { sort: Sort::C });
    interpreter(steps);
    soak::run(steps, &soak::Arguments::short(ROUNDS));
    matrix::run(steps, &matrix::Arguments::within(MINUTES));
    bounds(steps);
    miri(steps);
    sanitizer::run(steps);
}

/// rustfmt and clippy, of the guests too.
fn style(steps: &mut Steps) {
    let guests = |line: &str| {
        let mut cargo = cargo(line);
        cargo.current_dir(root().join("guests")).env("CARGO_TARGET_DIR", "target");
        cargo
    };
    steps.step("rustfmt", || succeed(&mut cargo("fmt --all --check")));
    steps.step("rustfmt of the guests", || succeed(&mut guests("fmt --check")));
    steps.step("clippy", || {
        succeed(&mut cargo("clippy --quiet --workspace --all-targets -- -D warnings"))
    });
    steps.step("clippy of the guests", || {
        let line = format!("clippy --quiet --release --target {GUEST_TARGET} -- -D warnings");
        succeed(&mut guests(&line))
    });
}

/// The library's documentation and package.
fn package(steps: &mut Steps) {
    steps.step("cargo doc of the library", || {
        let mut doc = cargo("doc --quiet --no-deps --package vmspace");
        succeed(doc.env("RUSTDOCFLAGS", "-D warnings"))
    });
    steps.step("cargo package of the library", || {
        succeed(&mut cargo("package --quiet --package vmspace --allow-dirty"))
    });
}

/// Every interleaving of the small protocols.
fn loom(steps: &mut Steps) {
    for package in ["vmspace", "vmspace-machine"] {
        for test in test_files(package).filter(|test| test.starts_with("loom_")) {
            let line = format!("test --release --package {package} --test {test}");
            steps.step(format!("{test} of {package}"), || {
                succeed(&mut within(6, cargo_with("loom", &line)))
            });
        }
    }
}

/// The names of a package's integration tests, in order.
fn test_files(package: &str) -> impl Iterator<Item = String> {
    let folder = root().join("crates").join(package).join("tests");
    let files = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let names = files.filter_map(|file| file.file_name().into_string().ok());
    let mut tests: Vec<_> =
        names.filter_map(|name| name.strip_suffix(".rs").map(str::to_owned)).collect();
    tests.sort();
    tests.into_iter()
}

/// Which cache lines operations write and read, counted.
fn conflicts(steps: &mut Steps) {
    steps.step("conflict-free operations share no cache line", || {
        let line = "test --package vmspace --test conflicts";
        succeed(&mut cargo_with("vmspace_count_lines", line))
    });
}

/// The interpreter against qemu, over more instructions than in an ordinary test.
fn interpreter(steps: &mut Steps) {
    let what = "the interpreter against qemu-riscv64";
    if !exists("qemu-riscv64") {
        return steps.skip(what, "there is no qemu-riscv64");
    }
    steps.step(what, || {
        let test = "test --release --package vmspace-machine --test riscv_against_qemu";
        succeed(cargo(test).env("VMSPACE_QEMU_INSTRUCTIONS", INSTRUCTIONS))
    });
}

/// The bounds on instructions and flatness; times are printed and gate nothing.
fn bounds(steps: &mut Steps) {
    let what = "cargo bench-all: the bounds on instructions";
    if !exists("valgrind") {
        return steps.skip(what, "there is no valgrind");
    }
    steps.step(what, || succeed(&mut within(16, cargo("bench-all"))));
}

/// What Miri can do in minutes: tests of the library by what their names begin with or contain.
/// It leaves out 64 KiB pages, large memories, and the copying of pages that were written byte by
/// byte, over which its emulation of weak memory stumbles.
const MIRI: [(&str, &str); 6] = [
    (
        "vmspace --lib",
        "frame::slab alloc::tests::random alloc::tests::threads alloc::tests::every_frame",
    ),
    ("vmspace --test first_steps", "placement_is brk_moves a_stack_grows"),
    // What takes all the memory there is takes Miri too long.
    ("vmspace --test pagers", "--skip was_given_up --skip came_and_went"),
    ("vmspace --test attacks", "a_guard_of a_shared_object a_space_maps a_split_forgets"),
    (
        "vmspace --test mutations",
        "a_store_over a_detached unlocking protect_without fork_without dont_need",
    ),
    ("vmspace-machine --lib", "riscv::tests tlb:: --skip any_bytes --skip a_long_run"),
];

/// Undefined behaviour, in a part of the library's and of the machine's tests.
fn miri(steps: &mut Steps) {
    let what = "Miri";
    if output(&mut cargo("+nightly miri --version")).is_err() {
        return steps.skip(what, "there is no nightly toolchain with Miri");
    }
    for (target, tests) in MIRI {
        steps.step(format!("{what}: {target} {tests}"), || {
            let line = format!("+nightly miri test --package {target} -- {tests}");
            succeed(within(6, cargo(&line)).env("MIRIFLAGS", "-Zmiri-strict-provenance"))
        });
    }
}

/// The same command, killed after so many minutes with all that it has started.
fn within(minutes: u64, inner: Command) -> Command {
    let mut outer = command("timeout");
    outer.arg("--kill-after=10").arg(format!("{minutes}m"));
    outer.arg(inner.get_program()).args(inner.get_args());
    for (name, value) in inner.get_envs() {
        match value {
            Some(value) => outer.env(name, value),
            None => outer.env_remove(name),
        };
    }
    outer
}
