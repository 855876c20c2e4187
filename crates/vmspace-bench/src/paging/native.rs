//! The program natively, in a process of its own.

use super::host::{Device, Shortage};
use super::program::{self, Progress};
use super::{BYTES, PAGE, ROUNDS, Run, SWAP};
use std::alloc::{Layout, alloc_zeroed};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::atomic::AtomicU64;
use std::time::Instant;

/// Runs it with a quarter of its memory.
pub fn measure(device: Device) -> Result<Run, String> {
    let shortage = Shortage::new(BYTES / 4, device, SWAP)?;
    let program = std::env::current_exe().map_err(|error| error.to_string())?;
    let mut command = Command::new(program);
    command.arg("paging").arg(&shortage.join).stderr(Stdio::inherit());
    Run::of(&mut command)
}

/// The program: joins the group, and prints what the guest `paging` prints.
pub fn program(join: &Path) -> Result<(), String> {
    std::fs::write(join, "0").map_err(|error| format!("{}: {error}", join.display()))?;
    let pages = BYTES as usize / PAGE;
    let layout =
        Layout::from_size_align(BYTES as usize, PAGE).map_err(|error| error.to_string())?;
    // SAFETY: the size is not zero. It is never freed.
    let base = unsafe { alloc_zeroed(layout) };
    if base.is_null() {
        return Err("no memory".into());
    }
    let page = |number: usize| -> &'static [AtomicU64] {
        assert!(number < pages);
        // SAFETY: within what was allocated, aligned, zeroed, and only reached as atomics.
        unsafe { std::slice::from_raw_parts(base.add(number * PAGE).cast(), PAGE / 8) }
    };
    swapped().ok_or("/proc/vmstat does not tell about swap")?;
    let began = Instant::now();
    let progress = || {
        let (out, back) = swapped().unwrap_or_default();
        Progress { nanoseconds: began.elapsed().as_nanos() as u64, out, back }
    };
    let [in_order, at_random] = program::run(pages, ROUNDS, page, progress)
        .map_err(|page| format!("page {page} does not hold what was written to it"))?;
    println!("in order {in_order}\nat random {at_random}");
    Ok(())
}

/// Pages that have gone out to swap, and come back.
fn swapped() -> Option<(u64, u64)> {
    program::swapped(&std::fs::read_to_string("/proc/vmstat").ok()?)
}
