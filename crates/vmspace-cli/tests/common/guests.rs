//! The guest programs, built: those in Rust by cargo alone, those in C where Debian's cross compiler is
//! installed.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

fn guests() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../guests")
}

/// A guest in Rust.
pub fn rust(name: &str) -> PathBuf {
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
pub fn c(name: &str) -> Option<PathBuf> {
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
