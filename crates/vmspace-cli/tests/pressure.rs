//! Programs that want more than the machine has: what they wrote comes back, what is locked stays, and
//! when nothing is left the right one ends.

mod common;

use std::process::Stdio;

use common::guests::rust;
use common::{code, errors, vmspace};

/// Formats, and how much larger than 4 KiB their pages are.
const FORMATS: [(&str, u64); 3] = [("sv48", 1), ("x86-64", 1), ("aarch64-64k", 16)];
const TLBS: [&[&str]; 2] = [&["sticky", "--check"], &["adversarial", "--check"]];

/// Runs a guest in every way, on a machine with so many KiB for each 4 KiB of a page and twice as much
/// swap, and expects it to be content. `{}` in its arguments stands for as many KiB as are `touched`.
fn everywhere(guest: &str, arguments: &str, memory: u64, touched: u64) {
    for (format, larger) in FORMATS {
        for tlb in TLBS {
            let (memory, swap) = (memory * larger, 2 * memory.max(touched) * larger);
            let (memory, swap) = (format!("{memory}K"), format!("zram:{swap}K"));
            let mut command = vmspace(["run", "--timeout", "120", "--report", "none"]);
            command.args(["--harts", "2", "--format", format, "--memory", &memory]);
            command.args(["--swap", &swap, "--tlb"]).args(tlb).arg("--").arg(rust(guest));
            let arguments = arguments.replace("{}", &(touched * larger).to_string());
            command.args(arguments.split_whitespace()).stdin(Stdio::null());
            let output = command.output().expect("the command runs");
            let errors = errors(&output);
            assert_eq!(code(&output), 0, "{guest} {arguments} on {format}, {tlb:?}: {errors}");
        }
    }
}

#[test]
fn forking_a_process_that_fills_two_thirds_of_memory() {
    everywhere("forkpressure", "{}", 3072, 2048);
}

#[test]
fn swapoff_while_forks_and_exits_go_on() {
    everywhere("swapper", "5 {}", 4096, 128);
}

#[test]
fn locked_pages_would_go_when_others_want_memory() {
    everywhere("mlocked", "{}", 2048, 2048);
}

#[test]
fn what_two_threads_write_to_a_page_that_comes_and_goes_would_be_lost() {
    everywhere("pressure", "{} 2 2", 1024, 2048);
    everywhere("shmpressure", "{} 1", 1024, 2048);
}

#[test]
fn who_takes_all_memory_would_take_others_with_it() {
    everywhere("hog", "", 2048, 1024);
}
