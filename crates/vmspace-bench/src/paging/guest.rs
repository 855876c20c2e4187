//! The program on the machine: interpreted, with swap devices of the command line.

use super::host::Device;
use super::{BYTES, ROUNDS, Run, SWAP};
use crate::built::Built;
use std::process::{Command, Stdio};

/// Runs it with a quarter of its memory.
pub fn measure(built: &Result<Built, String>, device: Device) -> Result<Run, String> {
    let built = built.as_ref().map_err(String::clone)?;
    let mib = |bytes: u64| format!("{}M", bytes >> 20);
    let swap = match device {
        Device::Zram => format!("zram:{}", mib(SWAP)),
        // The file goes with the run that made it.
        Device::File => format!("file:{}:{}", super::scratch().display(), mib(SWAP)),
    };
    let mut command = Command::new(&built.command);
    command
        .args(["run", "--harts", "1", "--report", "none", "--memory", &mib(BYTES / 4)])
        .args(["--swap", &swap, "--"])
        .arg(built.guest("paging"))
        .args([(BYTES >> 20).to_string(), ROUNDS.to_string()])
        .stderr(Stdio::inherit());
    Run::of(&mut command)
}
