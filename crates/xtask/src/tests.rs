//! What cargo alone can test: README's test command.

use crate::guests::{self, Sort};
use crate::process::succeed;
use crate::project::cargo;
use crate::steps::Steps;

/// `cargo test`, the example port, the Rust guests.
pub fn all(steps: &mut Steps) {
    steps.step("cargo test --workspace", || succeed(&mut cargo("test --workspace --no-fail-fast")));
    let port = "run --quiet --package vmspace --example minimal_port";
    steps.step("the smallest port: crates/vmspace/examples/minimal_port.rs", || {
        succeed(&mut cargo(port))
    });
    guests::run(steps, &guests::Arguments { sort: Sort::Rust });
}

/// The test that holds ARCHITECTURE.md to the code.
pub fn docs(steps: &mut Steps) {
    steps.step("ARCHITECTURE.md names every module and shows every contract", || {
        succeed(&mut cargo("test --quiet --package xtask --test architecture"))
    });
}
