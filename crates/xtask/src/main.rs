//! What is done to this workspace, as cargo commands (the aliases are in `.cargo/config.toml`).
//!
//! Each command says what it does, step by step, and ends with a line that counts what passed,
//! failed and was skipped; its exit status is 0 when nothing failed.

mod ci;
mod guests;
mod links;
mod matrix;
mod mutations;
mod process;
mod project;
mod soak;
mod steps;
mod tests;
mod tour;

use clap::{Parser, Subcommand};
use std::process::ExitCode;
use steps::Steps;

/// Tests, soaks and checks the workspace.
#[derive(Parser)]
#[command(bin_name = "cargo xtask", version)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Runs a program with threads and fork on the machine, and prints the report (alias: cargo tour)
    Tour,
    /// Everything that cargo alone can test: `cargo test`, the example port, the Rust guests over
    /// formats × TLB modes × check on and off (alias: cargo test-all)
    TestAll,
    /// The guests over formats × TLB modes × check on and off
    Guests(guests::Arguments),
    /// The thread and fork programs, many times each, with settings and arguments drawn from a seed
    /// (alias: cargo soak)
    Soak(soak::Arguments),
    /// Programs at a quarter of the memory that they touch, over formats × TLB modes × swap devices
    Matrix(matrix::Arguments),
    /// Removes each protection in turn and shows that its test fails (alias: cargo mutations)
    Mutations,
    /// Holds ARCHITECTURE.md to the code (alias: cargo docs-check)
    DocsCheck,
    /// Links a program that uses the library for targets without an operating system
    LinkCheck,
    /// All of the above and what needs apt or nightly, as `.ci/run` runs it
    Ci,
}

fn main() -> ExitCode {
    let mut steps = Steps::default();
    match Arguments::parse().command {
        Command::Tour => return tour::run(),
        Command::TestAll => tests::all(&mut steps),
        Command::Guests(arguments) => guests::run(&mut steps, &arguments),
        Command::Soak(arguments) => soak::run(&mut steps, &arguments),
        Command::Matrix(arguments) => matrix::run(&mut steps, &arguments),
        Command::Mutations => mutations::run(&mut steps),
        Command::DocsCheck => tests::docs(&mut steps),
        Command::LinkCheck => links::run(&mut steps),
        Command::Ci => ci::run(&mut steps),
    }
    steps.finish()
}
