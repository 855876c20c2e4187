//! Exit statuses, time-out, Ctrl-C, the report, standard files, and the formats' table.

mod common;

use std::fs;
use std::io::Write;
use std::process::Stdio;
use std::time::{Duration, Instant};

use common::{Elf, addi, call, code, directory, errors, executable, exit, program, vmspace};

/// `j .`
const LOOP: u32 = 0x6f;
const EBREAK: u32 = 0x10_0073;
/// `ld a0, 0(x0)`
const NULL_READ: u32 = 0x3503;
/// `sub sp, sp, 16; read(0, sp, 8) → write(1, sp, a0) → exit_group(a0)`
fn echo() -> Vec<u32> {
    [
        &[addi(2, 2, -16), addi(10, 0, 0), addi(11, 2, 0), addi(12, 0, 8)][..],
        &call(63),
        &[addi(12, 10, 0), addi(10, 0, 1)],
        &call(64),
        &call(94),
    ]
    .concat()
}

const FORMATS: [&str; 3] = ["sv48", "x86-64", "aarch64-64k"];

#[test]
fn the_status_is_the_programs() {
    let path = executable(&directory("status"), "exit", &Elf::exit(42).bytes());
    let path = path.to_str().expect("a name");
    for format in FORMATS {
        for tlb in ["normal", "sticky", "forgetful", "nonleaf,late", "speculative", "adversarial"] {
            let arguments = [
                "run", "--format", format, "--tlb", tlb, "--check", "--report", "none", "--", path,
            ];
            let output = vmspace(arguments).output().expect("the command runs");
            assert_eq!(code(&output), 42, "{format} {tlb}: {}", errors(&output));
            assert!(output.stderr.is_empty(), "no report was asked for");
        }
    }
}

#[test]
fn signals_end_programs() {
    for (test, instructions, signal) in [
        ("segv", [NULL_READ, LOOP], 11),
        ("trap", [EBREAK, LOOP], 5),
        ("illegal", [0xffff_ffff, LOOP], 4),
        ("wild", [0x67, LOOP], 11),
    ] {
        let path = program(test, &instructions);
        let output = vmspace(["run", "--", &path]).output().expect("the command runs");
        assert_eq!(code(&output), 128 + signal, "{}", errors(&output));
        assert!(errors(&output).contains(&format!("killed by signal {signal}")));
    }
}

#[test]
fn a_thread_that_only_makes_calls_would_never_let_go_of_its_hart() {
    // The child of clone(SIGCHLD) asks for its number for ever; the parent sleeps for a while.
    let mut instructions = vec![addi(10, 0, 17), addi(11, 0, 0)];
    instructions.extend(call(220));
    // `bnez a0, 4 instructions on`, `j 2 back`
    instructions.extend([16 << 7 | 10 << 15 | 0x1063]);
    instructions.extend(call(172));
    instructions.push(0xff9f_f06f);
    // `t0 = 2000 << 10; [sp - 8] = t0; nanosleep(sp - 16, 0); exit_group(0)`
    instructions.extend([addi(5, 0, 2000), 10 << 20 | 5 << 15 | 1 << 12 | 5 << 7 | 0x13]);
    instructions.extend([addi(2, 2, -16), 5 << 20 | 2 << 15 | 3 << 12 | 8 << 7 | 0x23]);
    instructions.extend([addi(10, 2, 0), addi(11, 0, 0)]);
    instructions.extend(call(101));
    instructions.extend(exit(0));
    let path = program("greedy", &instructions);
    let output = vmspace(["run", "--timeout", "30", "--", &path]).output().expect("it runs");
    assert_eq!(code(&output), 0, "{}", errors(&output));
}

#[test]
fn time_is_limited() {
    let path = program("spin", &[LOOP]);
    let begun = Instant::now();
    let output = vmspace(["run", "--harts", "2", "--timeout", "0.2", "--", &path])
        .output()
        .expect("the command runs");
    assert_eq!(code(&output), 124);
    assert!(errors(&output).contains("its time was over"));
    assert!(begun.elapsed() < Duration::from_secs(20));
}

#[test]
fn interruption_prints_the_report() {
    let path = program("interrupted", &[LOOP]);
    let child = vmspace(["run", "--", &path]).stderr(Stdio::piped()).spawn().expect("it runs");
    std::thread::sleep(Duration::from_millis(500));
    let id = rustix::process::Pid::from_child(&child);
    rustix::process::kill_process(id, rustix::process::Signal::INT).expect("it is there");
    let output = child.wait_with_output().expect("it ends");
    assert_eq!(code(&output), 130);
    assert!(errors(&output).contains("was interrupted") && errors(&output).contains("TLB hits"));
}

#[test]
fn standard_files_are_passed_on() {
    let path = program("echo", &echo());
    for format in FORMATS {
        let mut child = vmspace(["run", "--format", format, "--", &path])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("it runs");
        let mut input = child.stdin.take().expect("its input");
        // The program waits for its input, parked.
        std::thread::sleep(Duration::from_millis(100));
        input.write_all(b"hello").expect("it reads");
        drop(input);
        let output = child.wait_with_output().expect("it ends");
        assert_eq!((code(&output), &output.stdout[..]), (5, &b"hello"[..]));
    }
}

#[test]
fn a_broken_pipe_is_a_signal() {
    let path = program("pipe", &echo());
    let script = "exec 3>&1; (printf hello; sleep 1) | { '$V' run --report none -- '$P'; echo $? >&3; } | true";
    let script = script.replace("$V", env!("CARGO_BIN_EXE_vmspace")).replace("$P", &path);
    let script = script.replace("(printf hello; sleep 1)", "(sleep 1; printf hello)");
    let output = std::process::Command::new("sh").args(["-c", &script]).output().expect("a shell");
    assert_eq!(String::from_utf8_lossy(&output.stdout).trim(), "141", "{}", errors(&output));
}

#[test]
fn the_report_goes_where_it_is_told() {
    let directory = directory("report");
    let path = executable(&directory, "exit", &Elf::exit(0).bytes());
    let report = directory.join("report.txt");
    let arguments = [
        "run".as_ref(),
        "--report-file".as_ref(),
        report.as_os_str(),
        "--".as_ref(),
        path.as_os_str(),
    ];
    let output = vmspace(arguments).output().expect("the command runs");
    assert_eq!(code(&output), 0);
    assert!(output.stderr.is_empty());
    let text = fs::read_to_string(report).expect("the report");
    for word in [
        "exited with status 0",
        "instructions",
        "million a second",
        "exit_group",
        "copy-on-write",
        "tables alive",
        "shootdown batches",
        "harts interrupted",
        "TLB hits",
        "memory at the peak",
    ] {
        assert!(text.contains(word), "{word} is not in:\n{text}");
    }
}

#[test]
fn missing_calls_are_named() {
    let path = program("missing", &[call(198), call(94)].concat());
    let output = vmspace(["run", "--", &path]).output().expect("the command runs");
    assert_eq!(code(&output), 256 - 38, "socket gives -ENOSYS");
    let text = errors(&output);
    assert!(text.lines().any(|l| l.contains("socket") && l.contains("ENOSYS")), "{text}");
}

#[test]
fn traces_are_lines() {
    let path = program("trace", &echo());
    let output = vmspace(["run", "--report", "none", "--trace", "calls", "--", &path])
        .stdin(Stdio::null())
        .output()
        .expect("the command runs");
    let text = errors(&output);
    assert!(text.contains("] read(0, 0x") && text.contains("] exit_group(0) = ?"), "{text}");
}

#[test]
fn formats_are_listed() {
    let output = vmspace(["formats"]).output().expect("the command runs");
    assert_eq!(code(&output), 0);
    let text = String::from_utf8_lossy(&output.stdout);
    for word in
        FORMATS.iter().chain(&["least memory", "256 KiB", "64 KiB", "9 + 9 + 9 + 9", "128 TiB"])
    {
        assert!(text.contains(word), "{word} is not in:\n{text}");
    }
}

#[test]
fn help_teaches() {
    for arguments in [&["--help"][..], &["run", "--help"], &["--version"]] {
        let output = vmspace(arguments).output().expect("the command runs");
        assert_eq!(code(&output), 0);
        assert!(!output.stdout.is_empty());
    }
    let output = vmspace(["run", "--help"]).output().expect("the command runs");
    assert!(String::from_utf8_lossy(&output.stdout).contains("Examples:"));
}
