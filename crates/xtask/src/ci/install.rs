//! What the checks need beyond cargo: installed where it is missing, or left out with a line.

use crate::process::{exists, output, succeed};
use crate::project::{cargo, command};
use crate::steps::Steps;
use std::path::Path;

/// Debian's packages, each with a file or a program that shows that it is there.
const PACKAGES: [(&str, &str); 5] = [
    ("qemu-user", "qemu-riscv64"),
    ("valgrind", "valgrind"),
    ("make", "make"),
    ("gcc-riscv64-linux-gnu", "riscv64-linux-gnu-gcc"),
    ("libc6-dev-riscv64-cross", "/usr/riscv64-linux-gnu/lib/libc.a"),
];

const TARGETS: [&str; 3] =
    ["riscv64gc-unknown-none-elf", "x86_64-unknown-none", "aarch64-unknown-none"];

/// Installs all of it.
pub fn all(steps: &mut Steps) {
    packages(steps);
    for tool in ["clippy", "fmt"] {
        if output(&mut cargo(&format!("{tool} --version"))).is_err() {
            let component = if tool == "fmt" { "rustfmt" } else { tool };
            rustup(steps, &format!("component add {component}"));
        }
    }
    for target in TARGETS {
        let folder = output(command("rustc").args(["--print=target-libdir", "--target", target]));
        if !folder.is_ok_and(|folder| Path::new(folder.trim()).is_dir()) {
            rustup(steps, &format!("target add {target}"));
        }
    }
    if output(&mut cargo("+nightly miri --version")).is_err() {
        rustup(steps, "component add miri rust-src --toolchain nightly");
    }
}

fn packages(steps: &mut Steps) {
    let missing: Vec<_> =
        PACKAGES.iter().filter(|(_, sign)| !is_there(sign)).map(|(package, _)| *package).collect();
    if missing.is_empty() {
        return;
    }
    let installed = apt(&["update", "--quiet"]).and_then(|()| {
        apt(&[&["install", "--quiet", "--yes", "--no-install-recommends"], &missing[..]].concat())
    });
    if let Err(error) = installed {
        steps.skip(format!("installing {}", missing.join(", ")), error);
    }
}

fn is_there(sign: &str) -> bool {
    if sign.starts_with('/') { Path::new(sign).exists() } else { exists(sign) }
}

fn apt(arguments: &[&str]) -> Result<(), String> {
    succeed(command("apt-get").args(arguments).env("DEBIAN_FRONTEND", "noninteractive"))
}

fn rustup(steps: &mut Steps, line: &str) {
    if let Err(error) = succeed(command("rustup").args(line.split(' '))) {
        steps.skip(format!("rustup {line}"), error);
    }
}
