//! The interpreter beside qemu-riscv64 on the same program, in turns, median of five.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Instant;

const ROUNDS: usize = 5;

/// Seconds for the guest `compute`, or why there are none.
pub struct Speed {
    pub vmspace: f64,
    pub qemu: f64,
}

/// Builds the guest and the command, and times both engines.
pub fn measure() -> Result<Speed, String> {
    let top = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."));
    let cargo = |arguments: &[&str]| {
        eprintln!("building: cargo {}", arguments.join(" "));
        let status = Command::new(env!("CARGO")).current_dir(top).args(arguments).status();
        status.is_ok_and(|status| status.success()).then_some(())
    };
    let guest = [
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
    ];
    cargo(&guest).ok_or("the guest did not build")?;
    cargo(&["build", "--release", "-p", "vmspace-cli"]).ok_or("the command did not build")?;
    let guest = top.join("guests/target/riscv64gc-unknown-none-elf/release/compute");
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or(top.join("target"), Into::into);
    let command = target.join("release/vmspace");
    let (mut vmspace, mut qemu) = ([0.0; ROUNDS], [0.0; ROUNDS]);
    for round in 0..ROUNDS {
        eprintln!("timing the interpreter: round {} of {ROUNDS}", round + 1);
        qemu[round] = seconds(Command::new("qemu-riscv64").arg(&guest))
            .ok_or("qemu-riscv64 is not installed (apt-get install qemu-user)")?;
        vmspace[round] = seconds(
            Command::new(&command)
                .args(["run", "--harts", "1", "--report", "none", "--"])
                .arg(&guest),
        )
        .ok_or("vmspace run failed")?;
    }
    Ok(Speed { vmspace: super::time::median(vmspace), qemu: super::time::median(qemu) })
}

fn seconds(command: &mut Command) -> Option<f64> {
    let start = Instant::now();
    let status = command.stdout(Stdio::null()).status().ok()?;
    status.success().then(|| start.elapsed().as_secs_f64())
}
