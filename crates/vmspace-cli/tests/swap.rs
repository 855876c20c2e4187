//! `--swap`: what cannot be a device, what is left behind, and what is told.

mod common;

use std::fs::{self, File};
use std::io::{BufRead, BufReader, Read, Write};
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};

use common::guests::rust;
use common::{Elf, code, directory, errors, executable, vmspace};

/// Runs with these options and expects a refusal whose line holds all of `words`.
fn refused(options: &[&str], program: &Path, words: &[&str]) {
    let mut command = vmspace(["run"]);
    command.args(options).arg("--").arg(program).stdin(Stdio::null());
    let output = command.output().expect("the command runs");
    let text = errors(&output);
    assert_eq!(code(&output), 2, "{text}");
    assert_eq!(text.lines().count(), 1, "one line: {text}");
    assert!(text.starts_with("vmspace: ") && text.trim_end().ends_with(')'), "{text}");
    for word in words {
        assert!(text.contains(word), "{word:?} is not in: {text}");
    }
}

#[test]
fn devices_that_cannot_be() {
    let directory = directory("swap-refused");
    let program = executable(&directory, "exit", &Elf::exit(0).bytes());
    let swap = |device: &str, words: &[&str]| {
        let given = format!("--swap {device}");
        let mut all = vec![&*given];
        all.extend(words);
        refused(&["--swap", device], &program, &all);
    };
    let file = |name: &str, size: &str| format!("file:{}/{name}:{size}", directory.display());
    for device in ["disk:1M", "zram64M", "file:1G", "64M", "/swap:1G"] {
        swap(device, &["is no device", "zram:64M", "file:PATH:1G"]);
    }
    for device in ["zram:", "zram:much", "zram:-1", "file:/swap:", "file:/swap:1T"] {
        swap(device, &["ends with no size", ":64M"]);
    }
    swap("zram:1000000G", &["the host has", "give less"]);
    swap("zram:4095", &["holds no page of 4096 bytes", "at least 4K"]);
    swap(&file("new", "0"), &["holds no page"]);
    swap(&file("new", "1000000G"), &["cannot be made so large", "give less"]);
    swap(&file("new", "99999999G"), &["more than entries of sv48 name", "4194304G"]);
    swap(&file("missing/new", "1M"), &["make its directory first"]);
    swap(&file("", "1M"), &["is a directory", "plain file"]);
    swap(&file("exit", "1M"), &["is the program"]);
    swap("file:/dev/null:1M", &["is a device"]);
    fs::write(directory.join("kept"), b"kept").expect("a file");
    swap(&file("kept", "1M"), &["holds something already", "a new file"]);
    assert_eq!(fs::read(directory.join("kept")).expect("the file"), b"kept");
    let fifo = directory.join("fifo");
    let mode = rustix::fs::Mode::from_raw_mode(0o700);
    rustix::fs::mknodat(rustix::fs::CWD, &fifo, rustix::fs::FileType::Fifo, mode, 0)
        .expect("a FIFO");
    swap(&file("fifo", "1M"), &["is a FIFO"]);
    // Nobody writes it, the superuser neither.
    let unwritable = "/sys/kernel/uevent_seqnum";
    match fs::exists(unwritable) {
        Ok(true) => {
            swap(&format!("file:{unwritable}:1M"), &["permission denied", "read and write"])
        }
        _ => eprintln!("not tested: there is no {unwritable}"),
    }
    let many = ["--format", "i386", "--swap", "zram:1M", "--swap", "zram:1M", "--swap", "zram:1M"];
    let words = ["--swap zram:2M", "entries of i386", "at most 4"];
    refused(&[&many[..], &["--swap", "zram:1M", "--swap", "zram:2M"]].concat(), &program, &words);
    let words = ["/dev/swap0", "give a smaller --swap, or more --memory"];
    refused(&["--memory", "1M", "--swap", "zram:1G"], &program, &words);
    let (one, other) = (file("twice", "1M"), file("twice", "1M"));
    let words = ["twice:1M", "is used for swap already", "a file of its own"];
    refused(&["--swap", &one, "--swap", &other], &program, &words);
    let report = directory.join("report");
    fs::write(&report, b"").expect("a file");
    let swap = file("report", "1M");
    let report = ["--swap", &swap, "--report-file", report.to_str().expect("a name")];
    refused(&report, &program, &["report", "is a swap file", "--report-file"]);
    for name in ["new", "twice"] {
        assert!(!directory.join(name).exists(), "{name} is left behind");
    }
    let bytes = fs::read(&program).expect("the program");
    assert!(bytes == Elf::exit(0).bytes(), "the program is as it was");
}

/// On a disk of its own, which has a mebibyte: in namespaces of its own, where the host allows that.
#[test]
fn a_full_disk_would_be_found_when_pages_are_lost() {
    let directory = directory("swap-full");
    let program = executable(&directory, "exit", &Elf::exit(7).bytes());
    let disk = directory.join("disk");
    fs::create_dir(&disk).expect("a directory");
    let on_disk = |inner: &Command| {
        let mut outer = Command::new("unshare");
        let script =
            "mount -t tmpfs -o size=1M swap \"$0\" && \"$@\"; status=$?; ls \"$0\"; exit $status";
        outer.args(["--user", "--map-root-user", "--mount", "sh", "-c", script]).arg(&disk);
        outer.arg(inner.get_program()).args(inner.get_args()).stdin(Stdio::null()).output()
    };
    if !on_disk(&Command::new("true")).is_ok_and(|output| output.status.success()) {
        return eprintln!("not tested: the host lets nobody mount a disk");
    }
    for (size, status) in [("64M", 2), ("512K", 7)] {
        let mut command = vmspace(["run", "--report", "none", "--swap"]);
        command.arg(format!("file:{}/swap:{size}", disk.display())).arg("--").arg(&program);
        let output = on_disk(&command).expect("the command runs");
        let text = errors(&output);
        assert_eq!((code(&output), &*output.stdout), (status, &b""[..]), "{text}");
        if status == 2 {
            assert_eq!(text.lines().count(), 1, "one line: {text}");
            for word in ["swap:64M", "no space left", "(free some space, or give less)"] {
                assert!(text.contains(word), "{word:?} is not in: {text}");
            }
        }
    }
}

#[test]
fn a_swap_file_of_a_run_that_has_ended_would_be_left_behind() {
    let directory = directory("swap-left");
    let program = executable(&directory, "exit", &Elf::exit(7).bytes());
    let (new, old) = (directory.join("a:new"), directory.join("old"));
    fs::write(&old, b"").expect("a file");
    let report = directory.join("report");
    let mut command = vmspace(["run", "--report", "json", "--report-file"]);
    command.arg(&report).args(["--swap", "zram:1M", "--swap"]);
    command.arg(format!("file:{}:64K", new.display())).arg("--swap");
    command.arg(format!("file:{}:128K", old.display())).arg("--").arg(&program);
    let output = command.output().expect("the command runs");
    assert_eq!(code(&output), 7, "{}", errors(&output));
    assert!(!new.exists() && old.exists());
    let report = fs::read_to_string(report).expect("the report");
    for word in [
        r#""name":"/dev/swap0""#,
        r#""slots":256"#,
        r#""name":"/dev/swap2""#,
        r#""slots":32"#,
        r#""used":0"#,
        r#""same_filled":0"#,
    ] {
        assert!(report.contains(word), "{word} is not in: {report}");
    }
}

const FORMATS: [&str; 4] = ["sv48", "i386", "x86-64", "aarch64-64k"];

/// Runs a guest with these devices, and expects it to be content.
fn content(options: &[&str], swap: &[&str], guest: &[&str]) -> String {
    let mut command = vmspace(["run", "--timeout", "120", "--report-file"]);
    let name = options.join("-").replace("--", "") + "-" + guest[0];
    let report = directory(&format!("swap-{name}")).join("report");
    command.arg(&report).args(options);
    for device in swap {
        command.args(["--swap", device]);
    }
    command.arg("--").arg(rust(guest[0])).args(&guest[1..]).stdin(Stdio::null());
    let output = command.output().expect("the command runs");
    assert_eq!(code(&output), 0, "{options:?} {swap:?} {guest:?}: {}", errors(&output));
    fs::read_to_string(report).expect("the report")
}

#[test]
fn swap_would_not_be_as_on_linux() {
    let directory = directory("swap-guest");
    let file = format!("file:{}/swap:4M", directory.display());
    for format in FORMATS {
        for tlb in ["sticky", "adversarial"] {
            let options = ["--harts", "2", "--format", format, "--tlb", tlb, "--check"];
            content(&options, &["zram:4M", &file], &["swaps"]);
            content(&options, &[&file, "zram:4M"], &["swaps"]);
        }
    }
}

/// Twice the memory, sorted and forked.
#[test]
fn a_program_larger_than_memory_would_not_end() {
    let directory = directory("swap-larger");
    let file = format!("file:{}/swap:64M", directory.display());
    for (format, memory, kib) in
        [("sv48", "4M", "8192"), ("i386", "4M", "8192"), ("aarch64-64k", "16M", "24576")]
    {
        for device in ["zram:64M", &*file] {
            let options = ["--format", format, "--memory", memory];
            let report = content(&options, &[device], &["tour", kib, "2"]);
            for word in ["written to swap", "swap, /dev/swap0", "refaults", "stalls"] {
                assert!(report.contains(word), "{word} is not in:\n{report}");
            }
        }
    }
}

/// A run that has pages in that file and waits for a byte to read; its output from there on.
fn waiting(swap: &Path) -> (Child, BufReader<ChildStdout>) {
    let mut command = vmspace(["run", "--timeout", "120", "--report", "none", "--swap"]);
    command.arg(format!("file:{}:4M", swap.display())).args(["--swap", "zram:1M", "--"]);
    let child = command.arg(rust("swaps")).arg("lost").stdin(Stdio::piped());
    let child = child.stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = child.spawn().expect("the command runs");
    let mut output = BufReader::new(child.stdout.take().expect("its output"));
    let mut line = String::new();
    output.read_line(&mut line).expect("a line");
    assert_eq!(line, "swaps: out\n");
    (child, output)
}

#[test]
fn the_file_of_a_run_that_was_killed_would_be_refused() {
    let swap = directory("swap-killed").join("swap");
    for _ in 0..2 {
        let (mut child, _output) = waiting(&swap);
        child.kill().and_then(|()| child.wait()).expect("it is killed");
        assert!(!swap.exists(), "it is left behind");
    }
}

/// The host makes the file shorter while pages are in it: who uses them gets SIGBUS, nobody else.
#[test]
fn pages_of_a_truncated_file_would_be_zeros() {
    let swap = directory("swap-lost").join("swap");
    fs::write(&swap, b"").expect("a file");
    let (mut child, mut output) = waiting(&swap);
    File::options().write(true).open(&swap).and_then(|f| f.set_len(1)).expect("a shorter file");
    child.stdin.take().expect("its input").write_all(b"x").expect("a byte is taken");
    let mut rest = String::new();
    output.read_to_string(&mut rest).expect("the rest");
    let end = child.wait_with_output().expect("its end");
    assert_eq!((code(&end), rest.as_str()), (0, "ok\n"), "{}", errors(&end));
    let text = errors(&end);
    assert_eq!(text.lines().count(), 1, "one line: {text}");
    for word in ["/dev/swap0", "cannot be read back", "file shorter", "SIGBUS"] {
        assert!(text.contains(word), "{word:?} is not in: {text}");
    }
}
