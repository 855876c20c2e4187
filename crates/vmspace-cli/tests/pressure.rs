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
fn swapoff_without_room_would_cost_a_process_its_life() {
    for (format, memory, swap, kib) in
        [("sv48", "4M", "zram:16M", "6144"), ("aarch64-64k", "16M", "zram:64M", "24576")]
    {
        let mut command = vmspace(["run", "--timeout", "120", "--report", "none", "--harts", "2"]);
        command.args(["--format", format, "--memory", memory, "--swap", swap, "--check", "--"]);
        let output = command.arg(rust("swaps")).args(["full", kib]).stdin(Stdio::null()).output();
        let output = output.expect("the command runs");
        assert_eq!(code(&output), 0, "{format}: {}", errors(&output));
        assert_eq!(errors(&output), "", "somebody was killed");
    }
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

/// Lets `hog` do a deed on one hart without swap, so that who runs when is the same in every run, and
/// expects it to be content and so many processes to be killed because memory was over.
fn on_one_hart(deed: &str, killed: usize) {
    let mut command = vmspace(["run", "--timeout", "60", "--report", "none", "--harts", "1"]);
    command.args(["--memory", "4M", "--check", "--"]).arg(rust("hog")).arg(deed);
    let output = command.stdin(Stdio::null()).output().expect("the command runs");
    let errors = errors(&output);
    assert_eq!(code(&output), 0, "{deed}: {errors}");
    let told = errors.lines().filter(|line| line.contains("Out of memory: Killed process"));
    assert_eq!(told.count(), killed, "{deed}: {errors}");
}

#[test]
fn an_innocent_would_be_killed_while_another_is_dying_already() {
    on_one_hart("dying", 0);
}

#[test]
fn a_call_that_finds_no_memory_would_fail_while_a_victim_ends() {
    on_one_hart("called", 2);
}

#[test]
fn a_futex_on_a_page_that_finds_no_memory_would_be_a_bad_address() {
    on_one_hart("futex", 2);
}

#[test]
fn robust_futexes_of_a_victim_would_never_be_released() {
    on_one_hart("robust", 2);
}

#[test]
fn where_nobody_may_be_chosen_the_one_who_asks_would_end_in_silence() {
    on_one_hart("exempt", 1);
}
