//! Whatever the user gets wrong is one line that names the thing and the cure, and status 2.

mod common;

use std::fs::{self, File};
use std::path::Path;
use std::process::Stdio;

use common::{CODE, Elf, Header, code, directory, errors, executable, vmspace};

/// Runs with these arguments and expects a refusal whose line holds all of `words`.
fn refused<S: AsRef<std::ffi::OsStr>>(arguments: &[S], words: &[&str]) {
    let output = vmspace(arguments).stdin(Stdio::null()).output().expect("the command runs");
    let text = errors(&output);
    assert_eq!(code(&output), 2, "{text}");
    assert!(output.stdout.is_empty());
    assert_eq!(text.lines().count(), 1, "one line: {text}");
    assert!(text.starts_with("vmspace: ") && text.trim_end().ends_with(')'), "{text}");
    for word in words {
        assert!(text.contains(word), "{word:?} is not in: {text}");
    }
}

fn refused_program(path: &Path, words: &[&str]) {
    let name = path.display().to_string();
    let mut words = words.to_vec();
    words.push(&name);
    refused(&["run".as_ref(), "--".as_ref(), path.as_os_str()], &words);
}

fn refused_elf(name: &str, elf: &Elf, words: &[&str]) {
    let directory = directory(&format!("bad-{name}"));
    refused_program(&executable(&directory, name, &elf.bytes()), words);
}

#[test]
fn files_that_are_no_programs() {
    let directory = directory("no-programs");
    let file = |name: &str, bytes: &[u8]| executable(&directory, name, bytes);
    refused_program(&directory.join("missing"), &["no such file"]);
    refused_program(&directory, &["is a directory"]);
    refused_program(&file("empty", b""), &["is empty"]);
    refused_program(&file("text", b"hello, world\n"), &["not an ELF file", "riscv64"]);
    refused_program(&file("script", b"#!/bin/sh\n"), &["is a script"]);
    refused_program(&file("short", b"\x7fELF"), &["truncated"]);
    refused_program(Path::new("/dev/null"), &["is a device"]);

    let fifo = directory.join("fifo");
    let mode = rustix::fs::Mode::from_raw_mode(0o700);
    rustix::fs::mknodat(rustix::fs::CWD, &fifo, rustix::fs::FileType::Fifo, mode, 0)
        .expect("a FIFO");
    refused_program(&fifo, &["is a FIFO"]);

    let locked = directory.join("locked");
    fs::write(&locked, Elf::exit(0).bytes()).expect("a file");
    fs::set_permissions(&locked, std::os::unix::fs::PermissionsExt::from_mode(0o600))
        .expect("its permissions");
    refused_program(&locked, &["permission denied", "chmod +rx"]);
}

#[test]
fn programs_of_another_kind() {
    let elf = Elf::exit(0);
    refused_elf("x86", &Elf { machine: 62, ..Elf::exit(0) }, &["x86-64", "riscv64"]);
    refused_elf("odd", &Elf { machine: 4711, ..Elf::exit(0) }, &["architecture number 4711"]);
    refused_elf("class", &Elf { class: 1, ..Elf::exit(0) }, &["32-bit"]);
    refused_elf("order", &Elf { order: 2, ..Elf::exit(0) }, &["big-endian"]);
    refused_elf("object", &Elf { kind: 1, ..Elf::exit(0) }, &["object file", "link"]);
    let interpreter =
        Header { kind: 3, flags: 4, offset: 0x1_0000, address: 0, filled: 4, length: 4 };
    let headers = vec![interpreter, elf.headers[0]];
    refused_elf("dynamic", &Elf { headers, ..elf }, &["dynamically linked", "-static"]);
}

#[test]
fn damaged_programs() {
    let elf = |headers: &[Header]| Elf { headers: headers.to_vec(), ..Elf::exit(0) };
    let text = Elf::exit(0).headers[0];
    let count = Some(65_535);
    refused_elf("headers", &Elf { count, ..Elf::exit(0) }, &["65535 program headers", "1170"]);
    refused_elf("none", &elf(&[]), &["no segment"]);
    refused_elf("overlap", &elf(&[text, text]), &["segment 1 overlaps"]);
    refused_elf(
        "cut",
        &elf(&[Header { filled: 1 << 20, length: 1 << 20, ..text }]),
        &["truncated"],
    );
    refused_elf("more", &elf(&[Header { length: 4, ..text }]), &["segment 0", "more in the file"]);
    refused_elf("high", &elf(&[Header { address: u64::MAX - 4095, ..text }]), &["beyond"]);
    refused_elf("huge", &elf(&[Header { length: u64::MAX, ..text }]), &["beyond"]);
    refused_elf("low", &elf(&[Header { address: 0, ..text }]), &["0x10000"]);
    let entry = CODE + 0x1000;
    refused_elf("entry", &Elf { entry, ..Elf::exit(0) }, &["entry point 0x11000"]);

    let directory = directory("truncated");
    let bytes = Elf::exit(0).bytes();
    for length in [20, 63, 64, 100, 0x1_0000, 0x1_0008] {
        let path = executable(&directory, &format!("at-{length}"), &bytes[..length]);
        refused_program(&path, &["truncated"]);
    }
}

#[test]
fn segments_that_do_not_fit_the_pages() {
    let text = Elf::exit(0).headers[0];
    let data =
        Header { flags: 6, offset: 0, address: CODE + 0x1000, filled: 0, length: 64, ..text };
    let elf = Elf { headers: vec![text, data], ..Elf::exit(7) };
    let directory = directory("unaligned");
    let path = executable(&directory, "unaligned", &elf.bytes());
    let path = path.to_str().expect("a name");
    refused(
        &["run", "--format", "aarch64-64k", "--", path],
        &["segment 1", "65536", "-z max-page-size=65536"],
    );
    let output = vmspace(["run", "--", path]).output().expect("the command runs");
    assert_eq!(code(&output), 7, "pages of 4 KiB serve: {}", errors(&output));
}

#[test]
fn programs_and_memory_that_a_format_does_not_reach() {
    // Memory begins at 2 GiB: frames of 20 bits reach two more, of 22 bits fourteen.
    let directory = directory("unreached");
    let path = executable(&directory, "exit", &Elf::exit(0).bytes());
    let path = path.to_str().expect("a name");
    let memory = |format, words: &[&str]| {
        refused(&["run", "--format", format, "--memory", "20G", "--", path], words);
    };
    memory("i386", &["--memory 20 GiB", "i386 reach 2 GiB", "another --format"]);
    memory("sv32", &["--memory 20 GiB", "sv32 reach 14 GiB", "another --format"]);

    let text = Elf::exit(0).headers[0];
    let high = Header { flags: 6, address: 0xb000_0000, filled: 0, length: 64, ..text };
    let elf = Elf { headers: vec![text, high], ..Elf::exit(7) };
    let path = executable(&directory, "high", &elf.bytes());
    let path = path.to_str().expect("a name");
    for format in ["sv32", "i386", "i386-pae"] {
        let words = ["segment 1", "0xb0000040", format, "0xa8000000", "--format sv48"];
        refused(&["run", "--format", format, "--", path], &words);
    }
    let output = vmspace(["run", "--format", "sv39", "--", path]).output().expect("it runs");
    assert_eq!(code(&output), 7, "39 bits serve: {}", errors(&output));
}

#[test]
fn machines_that_cannot_be() {
    let directory = directory("machines");
    let path = executable(&directory, "exit", &Elf::exit(0).bytes());
    let path = path.to_str().expect("a name");
    let run = |option: &str, value: &str, words: &[&str]| {
        refused(&["run", option, value, "--", path], words);
    };
    run("--harts", "0", &["harts", "1"]);
    run("--harts", "100000", &["100000", "harts"]);
    run("--harts", "two", &["--harts two"]);
    run("--seed", "x", &["--seed x", "1..200"]);
    run("--seed", "9..1", &["--seed 9..1", "1..9"]);
    run("--hart", "2", &["--hart: is neither an option nor a program"]);
    run("--memory", "4K", &["memory"]);
    run("--memory", "999999G", &["memory", "host"]);
    run("--memory", "99999999999999999999", &["--memory"]);
    run("--memory", "many", &["--memory many", "64M"]);
    run("--memory", "-1", &["--memory"]);
    run("--processes", "0", &["--processes 0"]);
    run("--format", "sv99", &["--format sv99", "sv32, sv39, sv48"]);
    run("--tlb", "leaky", &["leaky"]);
    run("--tlb", "sticky,leaky", &["leaky"]);
    run("--tlb", "normal,sticky", &["--tlb normal,sticky", "contradicts itself", "leave one"]);
    run("--tlb", "late,normal", &["--tlb late,normal", "contradicts itself"]);
    run("--tlb", "sticky,", &["--tlb"]);
    run("--env", "NOTHING", &["--env NOTHING", "NAME=value"]);
    run("--harts", "", &["--harts ''", "is no number"]);
    run("--report-file", "", &["--report-file: has no value"]);
    run("--tlb", "LATE", &["--tlb LATE", "take one of normal, sticky"]);
    run("--report", "xml", &["--report xml", "text, json, none"]);
    run("--check=yes", "--maps", &["--check yes", "takes no value"]);
    run("--seed=1", "--seed=2", &["--seed: is given more than once"]);
    run("--timeout", "-3", &["--timeout"]);
    run("--timeout", "NaN", &["--timeout NaN"]);
    run("--trace", "everything", &["everything"]);
    run("--no-such", "option", &["--no-such"]);
    refused(&["run"], &["PROGRAM"]);
    refused(&["walk"], &["walk: is no command"]);
    refused(&["--report", "none", "run", path], &["--report", "behind 'run'"]);
    refused(&["formats", "--json"], &["--json: is not understood"]);
    refused(&["run", "--", ""], &["'': no such file"]);
    refused(&[] as &[&str], &["vmspace --help"]);
}

#[test]
fn a_message_in_other_words_would_not_say_what_to_do() {
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt;

    let directory = directory("words");
    let path = executable(&directory, "exit", &Elf::exit(0).bytes());
    let run = |option: &str, value: &[u8], words: &[&str]| {
        let arguments =
            ["run".as_ref(), option.as_ref(), OsStr::from_bytes(value), path.as_os_str()];
        let output = vmspace(arguments).stdin(Stdio::null()).output().expect("the command runs");
        for foreign in ["os error", "invalid", "unexpected", "argument", "digit"] {
            assert!(!errors(&output).contains(foreign), "{}", errors(&output));
        }
        refused(&arguments, words);
    };
    for option in ["--memory", "--harts", "--processes", "--format", "--seed", "--timeout"] {
        run(option, b"4\xff", &[option, "no text"]);
        run(option, b"x\x1b[31m", &[option, "x\\u{1b}[31m"]);
        run(option, b"1 2", &[option, "1 2"]);
    }
    for option in ["--tlb", "--report", "--trace"] {
        run(option, b"4\xff", &[option, "take one of"]);
        run(option, b"x\n", &[option, "x\\n", "take one of"]);
    }
    let circle = directory.join("circle");
    std::os::unix::fs::symlink("circle", &circle).expect("a link");
    run("--root", circle.as_os_str().as_bytes(), &["circle", "too many levels", "--root"]);
    run("--root", b"a\tb", &["a\\tb", "no such directory"]);
    run("--env", b"=x", &["--env =x"]);
    let bytes = OsStr::from_bytes(b"A=\xff");
    let output = vmspace(["run".as_ref(), "--env".as_ref(), bytes, path.as_os_str()]).output();
    assert_eq!(code(&output.expect("it runs")), 0, "an environment is bytes");
}

#[test]
fn roots_that_cannot_be() {
    let directory = directory("roots");
    let program = executable(&directory, "exit", &Elf::exit(0).bytes());
    let program = program.to_str().expect("a name");
    let missing = directory.join("missing");
    let missing = missing.to_str().expect("a name");
    let root = directory.to_str().expect("a name");
    let run = |options: &[&str], words: &[&str]| {
        let mut all = vec!["run"];
        all.extend(options);
        all.extend(["--", program]);
        refused(&all, words);
    };
    run(&["--root", missing], &[missing, "no such directory", "--root"]);
    run(&["--root", program], &[program, "is no directory", "--root"]);
    run(&["--root", root, "--cwd", "/gone"], &["/gone", "no such directory", "--cwd"]);
    run(&["--root", root, "--cwd", "exit"], &["exit", "is no directory", "--cwd"]);
    run(&["--root", root, "--cwd", "/../../etc"], &["/../../etc", "no such directory"]);
    run(&["--cwd", "/tmp"], &["/tmp", "give --root"]);
    run(&["--root", "/proc"], &["/proc", "--root"]);
    run(&["--root", "/proc/self/fd"], &["/proc/self/fd", "--root"]);
    fs::set_permissions(&directory, std::os::unix::fs::PermissionsExt::from_mode(0o311))
        .expect("its permissions");
    // The superuser reads it all the same.
    if fs::read_dir(&directory).is_err() {
        run(&["--root", root], &["permission denied", "chmod"]);
    }
    fs::set_permissions(&directory, std::os::unix::fs::PermissionsExt::from_mode(0o755))
        .expect("its permissions");
    let output = vmspace(["run", "--root", root, "--", program]).output().expect("it runs");
    assert_eq!(code(&output), 0, "{}", errors(&output));
}

#[test]
fn memory_that_does_not_hold_the_program() {
    let text = Elf::exit(0).headers[0];
    let elf = Elf { code: vec![0x13; 1 << 20], ..Elf::exit(0) };
    let headers = vec![Header { filled: 4 << 20, length: 4 << 20, ..text }];
    let directory = directory("memory");
    let path = executable(&directory, "large", &Elf { headers, ..elf }.bytes());
    let path = path.to_str().expect("a name");
    refused(&["run", "--memory", "3M", "--", path], &["memory", "--memory"]);
}

#[test]
fn arguments_that_do_not_fit() {
    let directory = directory("arguments");
    let path = executable(&directory, "exit", &Elf::exit(0).bytes());
    let path = path.to_str().expect("a name");
    let long = format!("X={}", "x".repeat(130_000));
    let fits = vmspace(["run", "--env", &long, "--", path]).output().expect("the command runs");
    assert_eq!(code(&fits), 0, "{}", errors(&fits));
    let part = "y".repeat(100_000);
    let mut many = vec!["run", "--", path];
    many.extend(std::iter::repeat_n(part.as_str(), 15));
    let fits = vmspace(&many).output().expect("the command runs");
    assert_eq!(code(&fits), 0, "{}", errors(&fits));
    let part = "y".repeat(60_000);
    many.extend(std::iter::repeat_n(part.as_str(), 10));
    if vmspace(&many).output().is_ok() {
        refused(&many, &["arguments and environment", "2097152"]);
    }
}

#[test]
fn outputs_that_cannot_be_written() {
    let directory = directory("outputs");
    let path = executable(&directory, "exit", &Elf::exit(5).bytes());
    let path = path.to_str().expect("a name");
    let run = |file: &str, words: &[&str]| {
        refused(&["run", "--report-file", file, "--", path], words);
    };
    run("/dev/full", &["/dev/full", "no space left"]);
    run("/nonexistent/report", &["/nonexistent/report", "directory"]);
    run(directory.to_str().expect("a name"), &["is a directory"]);

    refused(
        &["run", "--report", "none", "--report-file", "unused", "--", path],
        &["--report-file unused", "--report none"],
    );

    // A bad program leaves no report.
    let report = directory.join("report");
    let name = report.to_str().expect("a name");
    refused(&["run", "--report-file", name, "--", "/nonexistent"], &["no such file"]);
    assert!(!report.exists());

    // The report does not replace the program, nor an old one when the program is not begun.
    run(path, &["is the program", "--report-file"]);
    assert!(fs::read(path).is_ok_and(|bytes| bytes == Elf::exit(5).bytes()));
    fs::write(&report, "old").expect("a file");
    let mut big = Elf::exit(5);
    big.headers[0].length = 1 << 30;
    let big = executable(&directory, "big", &big.bytes());
    let big = big.to_str().expect("a name");
    refused(&["run", "--report-file", name, "--", big], &["memory"]);
    assert!(fs::read(&report).is_ok_and(|text| text == b"old"));

    let full = || File::options().write(true).open("/dev/full").expect("/dev/full");
    let output = vmspace(["formats"]).stdout(full()).output().expect("the command runs");
    assert_eq!(code(&output), 2);
    assert!(errors(&output).contains("standard output"), "{}", errors(&output));
    let output = vmspace(["run", "--", path]).stderr(full()).output().expect("the command runs");
    assert_eq!(code(&output), 5, "a report that nobody can read changes nothing");
}

#[test]
fn closed_standard_files() {
    let directory = directory("closed");
    let path = executable(&directory, "exit", &Elf::exit(5).bytes());
    let shell = |redirection: &str| {
        let command = env!("CARGO_BIN_EXE_vmspace");
        let script = format!("'{command}' run -- '{}' {redirection}", path.display());
        std::process::Command::new("sh").args(["-c", &script]).output().expect("a shell")
    };
    let output = shell(">&-");
    assert_eq!(code(&output), 2);
    assert!(errors(&output).starts_with("vmspace: standard output: is closed"));
    assert_eq!(errors(&output).lines().count(), 1);
    assert_eq!(code(&shell("2>&-")), 5);
    assert_eq!(code(&shell("<&-")), 5);
}
