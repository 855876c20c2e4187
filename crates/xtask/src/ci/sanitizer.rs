//! ThreadSanitizer over the machine, with the guests that have threads and processes.
//!
//! It sees unsynchronised accesses of the host's threads (the library's, the machine's and the
//! personality's words, memory that a hart zeroes or copies while another still reaches it), not
//! orders of memory: those are loom's. The library's fences order what is read between atomics, and
//! whatever is not atomic is handed over by a Release and an Acquire besides, so nothing is reported
//! that the sanitizer, which knows no fences, would only take for a race.
//!
//! What it can prove is little, and shown first: a frame that is zeroed while a hart still stores to it,
//! since zeroing alone is not atomic. It needs a program whose threads do not order their accesses
//! themselves, for their atomics are the host's, and memory so small that the frame is used again at
//! once. Most other planted faults go by in silence: all that harts and library share is atomic.

use crate::guests;
use crate::process::{output, succeed};
use crate::project::{cargo_flagged, command, target};
use crate::steps::Steps;
use std::path::Path;

/// std is built with the sanitizer too, which needs a target named.
const TARGET: &str = "x86_64-unknown-linux-gnu";

/// Builds the machine with it and runs the guests.
pub fn run(steps: &mut Steps) {
    let what = "ThreadSanitizer over the machine";
    if let Err(why) = sources() {
        return steps.skip(what, why);
    }
    let folder = target().join("sanitizer");
    let built = steps.step(format!("{what}: build it, and std"), || {
        let line = format!(
            "+nightly build --quiet --release --package vmspace-cli -Zbuild-std --target {TARGET}"
        );
        succeed(&mut cargo_flagged("-Zsanitizer=thread --cfg vmspace_mutations", &folder, &line))
    });
    if built {
        guests::sanitized(steps, &folder.join(TARGET).join("release/vmspace"));
    }
}

/// Whether there is a nightly toolchain with std's sources, for this target.
fn sources() -> Result<(), &'static str> {
    let host = output(command("rustc").arg("-vV")).unwrap_or_default();
    if !host.contains(TARGET) {
        return Err("this is no x86-64 Linux");
    }
    let folder = output(command("rustc").args(["+nightly", "--print=sysroot"]));
    let folder = folder.map_err(|_| "there is no nightly toolchain")?;
    let library = Path::new(folder.trim()).join("lib/rustlib/src/rust/library");
    if library.is_dir() { Ok(()) } else { Err("the nightly toolchain has no rust-src") }
}
