//! The command and the guests that are measured, built.

use std::path::{Path, PathBuf};
use std::process::Command;

/// Where they are.
pub struct Built {
    /// `vmspace`, in the release profile.
    pub command: PathBuf,
    guests: PathBuf,
}

impl Built {
    /// Builds them; or which it was that did not build.
    pub fn new() -> Result<Built, String> {
        let top = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."));
        let cargo = |arguments: &[&str], what: &str| {
            eprintln!("building: cargo {}", arguments.join(" "));
            let status = Command::new(env!("CARGO")).current_dir(top).args(arguments).status();
            if status.is_ok_and(|status| status.success()) {
                Ok(())
            } else {
                Err(format!("{what} did not build"))
            }
        };
        let guests = [
            "build",
            "--release",
            "--manifest-path",
            "guests/Cargo.toml",
            "--target",
            "riscv64gc-unknown-none-elf",
            "--target-dir",
            "guests/target",
            "--bin",
            "compute",
            "--bin",
            "mapped",
            "--bin",
            "paging",
        ];
        cargo(&guests, "the guests")?;
        cargo(&["build", "--release", "-p", "vmspace-cli"], "the command")?;
        let target = std::env::var_os("CARGO_TARGET_DIR").map_or(top.join("target"), Into::into);
        Ok(Built {
            command: target.join("release/vmspace"),
            guests: top.join("guests/target/riscv64gc-unknown-none-elf/release"),
        })
    }

    /// A guest's program.
    pub fn guest(&self, name: &str) -> PathBuf {
        self.guests.join(name)
    }
}
