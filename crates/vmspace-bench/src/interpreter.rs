//! The interpreter beside qemu-riscv64 on the same program, in turns, median of five.

use crate::built::Built;
use std::process::{Command, Stdio};
use std::time::Instant;

const ROUNDS: usize = 5;

/// Seconds for the guest `compute`, or why there are none.
pub struct Speed {
    pub vmspace: f64,
    pub qemu: f64,
}

/// Times both engines.
pub fn measure(built: &Result<Built, String>) -> Result<Speed, String> {
    let built = built.as_ref().map_err(String::clone)?;
    let guest = built.guest("compute");
    let (mut vmspace, mut qemu) = ([0.0; ROUNDS], [0.0; ROUNDS]);
    for round in 0..ROUNDS {
        eprintln!("timing the interpreter: round {} of {ROUNDS}", round + 1);
        qemu[round] = seconds(Command::new("qemu-riscv64").arg(&guest))
            .ok_or("qemu-riscv64 is not installed (apt-get install qemu-user)")?;
        vmspace[round] = seconds(
            Command::new(&built.command)
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
