//! README's first command: the machine and a guest are built, and the guest runs before one's eyes.

use crate::guests::Machine;
use std::process::ExitCode;

/// The guest that has both threads and fork in it.
const TOUR: &str = "tour";

/// Builds both, says the line that is run, and runs it; its exit status is the guest's.
pub fn run() -> ExitCode {
    eprintln!("building the machine and the guests (optimised; a minute or two the first time)");
    match Machine::build().and_then(|machine| machine.show(TOUR)) {
        Ok(status) => ExitCode::from(status),
        Err(error) => {
            eprintln!("xtask: {error}");
            ExitCode::FAILURE
        }
    }
}
