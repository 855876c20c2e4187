//! The guest programs over formats, TLBs and checking: each says itself whether all was right.
//!
//! The C guests are left out, in one line, where Debian's cross compiler is not installed.

mod common;

use std::fs::File;
use std::io::{BufRead, BufReader, Read, Write};
use std::path::Path;
use std::process::Stdio;

use common::guests::{c, rust};
use common::{code, errors, vmspace};

const FORMATS: [&str; 3] = ["sv48", "x86-64", "aarch64-64k"];
const TLBS: [&[&str]; 3] = [&["normal"], &["sticky", "--check"], &["adversarial", "--check"]];

/// Runs a guest and expects a status.
fn ends(options: &[&str], guest: &Path, arguments: &[&str], status: i32) {
    let mut command = vmspace(["run", "--timeout", "120", "--report", "none"]);
    command.args(options).arg("--").arg(guest).args(arguments).stdin(Stdio::null());
    let output = command.output().expect("the command runs");
    let name = guest.display();
    assert_eq!(code(&output), status, "{name} {arguments:?} {options:?}: {}", errors(&output));
}

/// Runs a guest in every way and expects it to be content.
fn everywhere(guest: &Path, arguments: &[&str]) {
    for format in FORMATS {
        for tlb in TLBS {
            let mut options = vec!["--harts", "2", "--format", format, "--tlb"];
            options.extend(tlb);
            ends(&options, guest, arguments, 0);
        }
    }
}

#[test]
fn rust_guests_run_everywhere() {
    for (name, arguments) in [
        ("hello", &["one", "two"][..]),
        ("pie", &[]),
        ("tour", &["512", "3"]),
        ("threads", &["3", "10"]),
        ("forks", &["2", "3"]),
        ("stale", &["all", "5"]),
        ("exec", &[]),
        ("handlers", &[]),
        ("files", &[]),
        ("remap", &[]),
        ("limits", &[]),
    ] {
        everywhere(&rust(name), arguments);
    }
}

/// The least memory that a refusal states, for a number of harts.
fn least(format: &str, harts: &str) -> String {
    let options = ["run", "--format", format, "--harts", harts, "--memory", "16K", "--"];
    let text = errors(&vmspace(options).arg(rust("hello")).output().expect("the command runs"));
    assert!(text.contains(format) && text.lines().count() == 1, "{text}");
    let least = text.trim_end().rsplit_once("give at least ").map(|(_, least)| least);
    least.unwrap_or_default().trim_end_matches("iB)").replace(' ', "")
}

#[test]
fn the_least_memory_that_is_taken_would_not_do() {
    let table = vmspace(["formats"]).output().expect("the command runs");
    let table = String::from_utf8(table.stdout).expect("text");
    let rows = table.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
    let formats: Vec<&str> =
        rows.filter(|row| row.get(2) == Some(&"KiB")).map(|row| row[0]).collect();
    assert!(formats.len() >= 13, "{table}");
    for format in formats {
        for harts in ["1", "200"] {
            let memory = least(format, harts);
            let options = ["--format", format, "--harts", harts, "--memory", &memory];
            ends(&options, &rust("hello"), &["one", "two"], 0);
        }
    }
}

#[test]
fn files_beneath_a_root_are_as_on_linux() {
    for format in FORMATS {
        let root = common::directory(&format!("files-{format}"));
        let path = root.to_str().expect("a name");
        let options = ["--harts", "2", "--format", format, "--check", "--root", path];
        ends(&options, &rust("files"), &[], 0);
        let left: Vec<_> = std::fs::read_dir(&root).expect("the root").collect();
        assert!(left.is_empty(), "the guest removes what it makes: {left:?}");
    }
}

/// The host makes a file shorter, and removes it, while a program has it mapped.
#[test]
fn a_file_that_shrinks_under_a_mapping_takes_the_machine_down() {
    let root = common::directory("shrinks");
    let victim = root.join("victim");
    std::fs::write(&victim, [b'v'; 4 << 16]).expect("a file");
    let mut command = vmspace(["run", "--timeout", "120", "--report", "none", "--root"]);
    command.arg(&root).args(["--format", "aarch64-64k", "--"]).arg(rust("files")).arg("shrunk");
    let child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = child.spawn().expect("the command runs");
    let mut output = BufReader::new(child.stdout.take().expect("its output"));
    let mut line = String::new();
    output.read_line(&mut line).expect("a line");
    assert_eq!(line, "files: mapped\n");
    File::options().write(true).open(&victim).and_then(|f| f.set_len(1)).expect("a shorter file");
    std::fs::remove_file(&victim).expect("its name is removed");
    child.stdin.take().expect("its input").write_all(b"x").expect("a byte is taken");
    let mut rest = String::new();
    output.read_to_string(&mut rest).expect("the rest");
    let end = child.wait_with_output().expect("its end");
    assert_eq!((code(&end), rest.as_str()), (0, "ok\n"), "{}", errors(&end));
}

/// Input that a program has no room for is not taken from it, whatever the host's file is.
#[test]
fn input_is_lost_where_a_buffer_is_bad() {
    let path = common::directory("input").join("input");
    std::fs::write(&path, b"abcdefgh").expect("a file");
    for options in [&[][..], &["--seed", "3"]] {
        let mut command = vmspace(["run", "--timeout", "120", "--report", "none"]);
        command.args(options).arg("--").arg(rust("files")).arg("input");
        let output = command.stdin(File::open(&path).expect("it is there")).output();
        let output = output.expect("the command runs");
        assert_eq!((code(&output), &output.stdout[..]), (0, &b"ok\n"[..]), "{}", errors(&output));
    }
}

/// What a file's last mapping has stored is the host's as soon as the mapping is gone.
#[test]
fn what_a_closed_file_was_given_by_its_last_mapping_is_kept_from_the_host() {
    let root = common::directory("stored");
    let victim = root.join("victim");
    std::fs::write(&victim, b"v").expect("a file");
    let mut command = vmspace(["run", "--timeout", "120", "--report", "none", "--root"]);
    command.arg(&root).arg("--").arg(rust("files")).arg("stored");
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("it runs");
    let mut output = BufReader::new(child.stdout.take().expect("its output"));
    let mut line = String::new();
    output.read_line(&mut line).expect("a line");
    assert_eq!(line, "files: stored\n");
    assert_eq!(std::fs::read(&victim).expect("the file"), b"s");
    child.stdin.take().expect("its input").write_all(b"x").expect("a byte is taken");
    assert_eq!(child.wait().expect("its end").code(), Some(0));
}

#[test]
fn a_process_has_more_mappings_than_linux_gives_it() {
    for format in FORMATS {
        ends(&["--format", format], &rust("limits"), &["many"], 0);
    }
}

#[test]
fn a_spinning_thread_starves_nobody() {
    for harts in ["1", "2"] {
        ends(&["--harts", harts], &rust("spin"), &["64"], 0);
    }
}

#[test]
fn absurd_deeds_end_as_on_linux() {
    for format in FORMATS {
        ends(&["--harts", "2", "--format", format], &rust("torture"), &["all"], 0);
    }
    for (deed, signal) in [
        ("wildjump", 11),
        ("nullread", 11),
        ("badaccess", 11),
        ("stackoverflow", 11),
        ("misatomic", 7),
        ("illegal", 4),
        ("ebreak", 5),
        ("abort", 6),
    ] {
        ends(&[], &rust("torture"), &["raw", deed], 128 + signal);
    }
    ends(&["--memory", "64M"], &rust("torture"), &["exhaust"], 0);
    ends(&["--memory", "64M", "--harts", "2"], &rust("torture"), &["forkbomb"], 0);
}

#[test]
fn c_guests_run_everywhere() {
    for (name, arguments) in [
        ("hello", &[][..]),
        ("float", &[]),
        ("fork_tree", &["2", "2"]),
        ("barrier", &["3", "5"]),
        ("signals", &[]),
        ("waits", &[]),
        ("malloc_threads", &["3", "300"]),
    ] {
        if let Some(guest) = c(name) {
            everywhere(&guest, arguments);
        }
    }
}
