//! The guest programs over formats, TLBs and checking: each says itself whether all was right.
//!
//! The Rust guests are built here (cargo alone does it); the C guests where Debian's cross compiler
//! is installed, and where it is not one line says that they are skipped.

mod common;

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;

use common::{code, errors, vmspace};

const FORMATS: [&str; 3] = ["sv48", "x86-64", "aarch64-64k"];
const TLBS: [&[&str]; 3] = [&["normal"], &["sticky"], &["sticky", "--check"]];

fn guests() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../guests")
}

/// A guest in Rust.
fn rust(name: &str) -> PathBuf {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    let directory = BUILT.get_or_init(|| {
        let target = Path::new(env!("CARGO_TARGET_TMPDIR")).join("guests");
        let status = Command::new(env!("CARGO"))
            .current_dir(guests())
            .env_remove("RUSTFLAGS")
            .args(["build", "--release", "--target", "riscv64gc-unknown-none-elf"])
            .arg("--target-dir")
            .arg(&target)
            .status()
            .expect("cargo runs");
        assert!(
            status.success(),
            "the guests build (rustup target add riscv64gc-unknown-none-elf)"
        );
        target.join("riscv64gc-unknown-none-elf/release")
    });
    directory.join(name)
}

/// A guest in C, where there is a compiler for it.
fn c(name: &str) -> Option<PathBuf> {
    static BUILT: OnceLock<bool> = OnceLock::new();
    let built = *BUILT.get_or_init(|| {
        let there = Command::new("riscv64-linux-gnu-gcc").arg("--version").output().is_ok();
        if !there {
            println!(
                "skipped: C guests (apt-get install gcc-riscv64-linux-gnu libc6-dev-riscv64-cross)"
            );
            return false;
        }
        let made = Command::new("make").arg("-C").arg(guests().join("c")).output();
        made.is_ok_and(|made| made.status.success())
    });
    built.then(|| guests().join("build/c").join(name))
}

/// Runs a guest and expects a status.
fn ends(options: &[&str], guest: &Path, arguments: &[&str], status: i32) {
    let mut command = vmspace(["run", "--timeout", "120", "--report", "none"]);
    command.args(options).arg("--").arg(guest).args(arguments).stdin(Stdio::null());
    let output = command.output().expect("the command runs");
    let name = guest.display();
    assert_eq!(code(&output), status, "{name} {arguments:?} {options:?}: {}", errors(&output));
}

/// Runs a guest in every way and expects it to be content.
fn everywhere(guest: &Path, arguments: &[&str]) {
    for format in FORMATS {
        for tlb in TLBS {
            let mut options = vec!["--harts", "2", "--format", format, "--tlb"];
            options.extend(tlb);
            ends(&options, guest, arguments, 0);
        }
    }
}

#[test]
fn rust_guests_run_everywhere() {
    for (name, arguments) in [
        ("hello", &["one", "two"][..]),
        ("pie", &[]),
        ("tour", &["512", "3"]),
        ("threads", &["3", "10"]),
        ("forks", &["2", "3"]),
        ("stale", &["all", "5"]),
        ("exec", &[]),
    ] {
        everywhere(&rust(name), arguments);
    }
}

#[test]
fn a_spinning_thread_starves_nobody() {
    for harts in ["1", "2"] {
        ends(&["--harts", harts], &rust("spin"), &["64"], 0);
    }
}

#[test]
fn absurd_deeds_end_as_on_linux() {
    for format in FORMATS {
        ends(&["--harts", "2", "--format", format], &rust("torture"), &["all"], 0);
    }
    for (deed, signal) in [
        ("wildjump", 11),
        ("nullread", 11),
        ("badaccess", 11),
        ("stackoverflow", 11),
        ("misatomic", 7),
        ("illegal", 4),
        ("ebreak", 5),
        ("abort", 6),
    ] {
        ends(&[], &rust("torture"), &["raw", deed], 128 + signal);
    }
    ends(&["--memory", "64M"], &rust("torture"), &["exhaust"], 0);
    ends(&["--memory", "64M", "--harts", "2"], &rust("torture"), &["forkbomb"], 0);
}

#[test]
fn c_guests_run_everywhere() {
    for (name, arguments) in [
        ("hello", &[][..]),
        ("float", &[]),
        ("fork_tree", &["2", "2"]),
        ("malloc_threads", &["3", "300"]),
    ] {
        if let Some(guest) = c(name) {
            everywhere(&guest, arguments);
        }
    }
}
