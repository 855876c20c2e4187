//! `--seed`: the same seed gives the same bytes, other seeds other schedules, and a race that was
//! planted is found and replayed. And the report for programs.

mod common;

use std::collections::BTreeSet;
use std::fs::{File, FileTimes};
use std::io::Write;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, UNIX_EPOCH};

use common::guests::{c, rust};
use common::{ECALL, addi, call, code, directory, errors, exit, program, vmspace, write_out};
use serde_json::Value;

/// Runs a program with these options and nothing to read.
fn run(options: &[&str], program: &Path, arguments: &[&str]) -> Output {
    let mut command = vmspace(["run", "--timeout", "120"]);
    command.args(options).arg("--").arg(program).args(arguments).stdin(Stdio::null());
    command.output().expect("the command runs")
}

/// All that a run has said.
fn said(output: &Output) -> (i32, String, String) {
    (code(output), String::from_utf8_lossy(&output.stdout).into_owned(), errors(output))
}

/// The same run twice, in text and in JSON, differs in nothing.
fn the_same_twice(options: &[&str], program: &Path, arguments: &[&str]) {
    for report in ["text", "json"] {
        let mut options = options.to_vec();
        options.extend(["--report", report]);
        let [first, second] = [(); 2].map(|()| said(&run(&options, program, arguments)));
        assert_eq!(first.0, 0, "{options:?}: {}", first.2);
        assert!(first == second, "{options:?}: {first:#?} and then {second:#?}");
    }
}

#[test]
fn the_same_seed_gives_the_same_bytes() {
    let settings: [&[&str]; 3] = [
        &["--harts", "2"],
        &["--harts", "3", "--format", "x86-64", "--tlb", "sticky", "--check"],
        &["--harts", "2", "--format", "aarch64-64k", "--tlb", "adversarial", "--check"],
    ];
    for (setting, seed) in settings.into_iter().zip(["1", "2", "18446744073709551615"]) {
        let options = [setting, &["--seed", seed]].concat();
        the_same_twice(&options, &rust("threads"), &["3", "3"]);
        the_same_twice(&options, &rust("forks"), &["2", "2"]);
        the_same_twice(&options, &rust("spin"), &["8"]);
        if let Some(guest) = c("malloc_threads") {
            the_same_twice(&options, &guest, &["3", "100"]);
        }
    }
}

#[test]
fn fifty_seeds_give_more_than_one_schedule() {
    for harts in ["1", "2"] {
        let orders: BTreeSet<Vec<u8>> = (0..50)
            .map(|seed| {
                let seed = seed.to_string();
                let options = ["--harts", harts, "--seed", &seed, "--report", "none"];
                let output = run(&options, &rust("planted"), &["order", "2", "20"]);
                assert_eq!(code(&output), 0, "{}", errors(&output));
                output.stdout
            })
            .collect();
        assert!(orders.len() > 1, "50 seeds, {harts} harts: {orders:?}");
    }
}

/// Scans for a failure, then pastes the command that was printed to a shell.
fn found_and_replayed(race: &str, harts: &str, status: i32) {
    let options = ["--harts", harts, "--seed", "1..200", "--report", "json"];
    let scan = run(&options, &rust("planted"), &[race]);
    let text = errors(&scan);
    assert_eq!(code(&scan), status, "{race}: {text}");
    let (heading, failing) = text.split_once('\n').expect("two lines at least");
    assert!(heading.starts_with("vmspace: seed ") && heading.contains("1..200"), "{heading}");
    let line = failing.lines().find_map(|line| line.strip_prefix("replay: "));
    let replay = Command::new("sh")
        .args(["-c", line.expect("the command that replays it")])
        .stdin(Stdio::null())
        .output()
        .expect("a shell");
    assert_eq!(said(&replay), (status, said(&scan).1, failing.to_string()), "{race}");
}

#[test]
fn a_race_is_found_among_seeds_and_replayed_by_the_command_printed() {
    for harts in ["1", "2"] {
        found_and_replayed("counter", harts, 1);
        found_and_replayed("lock", harts, 1);
        found_and_replayed("wakeup", harts, 4);
    }
}

#[test]
fn seeds_that_all_succeed_are_told_in_one_line() {
    let output = run(&["--seed", "3..6"], &rust("planted"), &["order"]);
    let line = "vmspace: all of the seeds 3..6 end with status 0\n";
    assert_eq!(said(&output), (0, String::new(), line.to_string()));
}

/// `clock_gettime(0, sp); getrandom(sp + 16, 16, 0)`; writes both; `exit_group(0)`.
fn clock_and_random() -> Vec<u32> {
    [
        &[addi(2, 2, -32), addi(10, 0, 0), addi(11, 2, 0)][..],
        &call(113),
        &[addi(10, 2, 16), addi(11, 0, 16), addi(12, 0, 0)],
        &call(278),
        &write_out(32),
        &exit(0),
    ]
    .concat()
}

#[test]
fn clock_and_random_bytes_come_from_the_seed() {
    let path = program("clock", &clock_and_random());
    let written = |seed: &str| {
        let output = run(&["--seed", seed, "--report", "none"], Path::new(&path), &[]);
        assert_eq!((code(&output), output.stdout.len()), (0, 32), "{}", errors(&output));
        output.stdout
    };
    let (one, two) = (written("1"), written("2"));
    assert_eq!(one, written("1"));
    assert_eq!(one[..8], 946_684_800u64.to_le_bytes(), "the year 2000 begins");
    assert!(one[16..] != two[16..] && one[16..] != [0; 16], "{one:?} and {two:?}");
}

#[test]
fn a_long_sleep_takes_no_time_but_the_programs_own() {
    // nanosleep({ 1000 s, 0 }, 0); exit_group(0)
    let code = [
        &[addi(2, 2, -16), addi(5, 0, 1000), 5 << 20 | 2 << 15 | 3 << 12 | 0x23][..],
        &[2 << 15 | 3 << 12 | 8 << 7 | 0x23, addi(10, 2, 0), addi(11, 0, 0)],
        &call(101),
        &exit(0),
    ]
    .concat();
    let path = program("sleep", &code);
    let output = run(&["--seed", "1", "--report", "json"], Path::new(&path), &[]);
    let report = json(&output);
    assert_eq!((&report["status"], &report["ending"]["kind"]), (&0.into(), &"exited".into()));
    assert!(report["time"].as_u64() >= Some(1_000_000_000_000), "{}", report["time"]);
}

/// `read(0, sp, 8) → write(1, sp, a0)`, twice; `fstat(1, sp) → write(1, sp, 128)`; `exit_group(0)`.
fn echo_and_stat() -> Vec<u32> {
    let echo = [
        &[addi(10, 0, 0), addi(11, 2, 0), addi(12, 0, 8)][..],
        &call(63),
        &[addi(12, 10, 0), addi(10, 0, 1), addi(11, 2, 0)],
        &call(64),
    ]
    .concat();
    let stat = [&[addi(10, 0, 1), addi(11, 2, 0)][..], &call(80), &write_out(128)].concat();
    [&[addi(2, 2, -128)][..], &echo, &echo, &stat, &exit(0)].concat()
}

#[test]
fn what_the_standard_files_are_and_how_input_arrives_is_not_seen() {
    let path = program("standard", &echo_and_stat());
    let command = || vmspace(["run", "--seed", "1", "--report", "json", "--", &path]);
    let directory = directory("standard-files");
    let file = |name: &str| directory.join(name);
    std::fs::write(file("input"), "hello, world").expect("a file");

    let mut child = command()
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("it runs");
    let mut input = child.stdin.take().expect("its input");
    for part in ["he", "llo, wo", "rld"] {
        input.write_all(part.as_bytes()).expect("it reads");
    }
    drop(input);
    let piped = child.wait_with_output().expect("it ends");
    assert_eq!((code(&piped), &piped.stdout[..12]), (0, &b"hello, world"[..]));

    let output = command()
        .stdin(File::open(file("input")).expect("the input"))
        .stdout(File::create(file("output")).expect("the output"))
        .output()
        .expect("it runs");
    assert_eq!(errors(&output), errors(&piped));
    assert_eq!(std::fs::read(file("output")).expect("the output"), piped.stdout);
}

/// `newfstatat(AT_FDCWD, "f", sp, 0) → write(1, sp, 128)`; `exit_group(0)`.
fn stat_of_f() -> Vec<u32> {
    let store = 4 << 25 | 5 << 20 | 2 << 15 | 3 << 12 | 0x23;
    [
        &[addi(2, 2, -144), addi(5, 0, b'f'.into()), store][..],
        &[addi(10, 0, -100), addi(11, 2, 128), addi(12, 2, 0), addi(13, 0, 0)],
        &call(79),
        &write_out(128),
        &exit(0),
    ]
    .concat()
}

#[test]
fn a_file_made_anew_shows_neither_its_inode_nor_when_it_was_read() {
    let path = program("stat-file", &stat_of_f());
    let old = UNIX_EPOCH + Duration::from_secs(1_000_000_000);
    let seen = |root: &str, read: u64| {
        let root = directory(root);
        std::fs::write(root.join("f"), "hello").expect("a file");
        let read = FileTimes::new().set_modified(old).set_accessed(old + Duration::from_secs(read));
        let file = File::options().write(true).open(root.join("f")).expect("the file");
        file.set_times(read).expect("its times");
        let root = root.to_str().expect("a name");
        let options = ["--seed", "1", "--root", root, "--report", "none"];
        let output = run(&options, Path::new(&path), &[]);
        assert_eq!((code(&output), output.stdout.len()), (0, 128), "{}", errors(&output));
        // Up to the time of its last change of status, which is nobody's to set.
        output.stdout[..104].to_vec()
    };
    let one = seen("stat-one", 0);
    assert_eq!(
        (one[8], one[48], one[88..96].to_vec()),
        (1, 5, 1_000_000_000u64.to_le_bytes().to_vec())
    );
    assert_eq!(one, seen("stat-two", 77));
}

/// `mmap(0, 4096, PROT_READ, MAP_PRIVATE, openat(AT_FDCWD, "f", 0, 0), 0)`; `exit_group(0)`.
fn map_f() -> Vec<u32> {
    let store = 5 << 20 | 2 << 15 | 3 << 12 | 0x23;
    [
        &[addi(2, 2, -16), addi(5, 0, b'f'.into()), store][..],
        &[addi(10, 0, -100), addi(11, 2, 0), addi(12, 0, 0), addi(13, 0, 0)],
        &call(56),
        &[addi(14, 10, 0), addi(10, 0, 0), addi(11, 0, 1), addi(12, 0, 1)],
        &[addi(13, 0, 2), addi(15, 0, 0)],
        &call(222),
        &exit(0),
    ]
    .concat()
}

#[test]
fn a_listing_of_mappings_would_show_the_hosts_inodes() {
    let path = program("map-file", &map_f());
    let listing = |root: &str| {
        let root = directory(root);
        std::fs::write(root.join("f"), "hello").expect("a file");
        let root = root.to_str().expect("a name");
        let options = ["--seed", "1", "--root", root, "--report", "none", "--maps"];
        let output = run(&options, Path::new(&path), &[]);
        assert_eq!(code(&output), 0, "{}", errors(&output));
        errors(&output)
    };
    let one = listing("maps-one");
    let line = one.lines().find(|line| line.ends_with("/f")).expect("the file's line");
    assert!(line.contains(" 00000000 08:01 1 "), "{line}");
    assert_eq!(one, listing("maps-two"));
}

#[test]
fn a_failure_without_a_seed_names_no_command() {
    let output = run(&["--report", "none"], &rust("torture"), &["raw", "abort"]);
    assert_eq!(said(&output), (134, String::new(), String::new()));
    let output = run(&["--report", "none", "--seed", "5"], &rust("torture"), &["raw", "abort"]);
    let text = errors(&output);
    assert_eq!(code(&output), 134);
    assert!(text.starts_with("replay: ") && text.ends_with("torture raw abort\n"), "{text}");
    assert!(text.contains(" run --timeout 120 --report none --seed 5 -- "), "{text}");
}

fn json(output: &Output) -> Value {
    let text = errors(output);
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"))
}

#[test]
fn the_report_for_programs_says_what_was_run_and_how_it_ended() {
    let guest = rust("forks");
    let options = ["--harts", "2", "--memory", "64M", "--env", "A=b", "--report", "json"];
    for (seed, wanted) in [(&["--seed", "7"][..], Value::from(7)), (&[], Value::Null)] {
        let output = run(&[&options, seed].concat(), &guest, &["1", "2"]);
        let report = json(&output);
        assert_eq!(report["schema"], 1);
        assert_eq!(report["program"].as_array().expect("words")[1..], ["1", "2"]);
        let given = &report["options"];
        assert_eq!((&given["seed"], &given["harts"]), (&wanted, &2.into()));
        assert_eq!((&given["memory"], &given["format"]), (&(64 << 20).into(), &"sv48".into()));
        assert_eq!((&given["env"][0], &given["tlb"]), (&"A=b".into(), &"normal".into()));
        assert_eq!(given["timeout"], 120_000_000_000u64);
        assert_eq!(
            (&report["ending"]["kind"], &report["ending"]["code"]),
            (&"exited".into(), &0.into())
        );
        assert_eq!((&report["calls"]["clone"], &report["threads"]), (&2.into(), &3.into()));
        for count in ["instructions", "time"] {
            assert!(report[count].as_u64() > Some(0), "{count}: {report}");
        }
    }
    let output = run(&["--report", "json"], &rust("torture"), &["raw", "abort"]);
    assert_eq!(json(&output)["ending"], serde_json::json!({ "kind": "killed", "signal": 6 }));
}

#[test]
fn who_waits_for_a_signal_would_spin_until_one_comes() {
    const SP: u32 = 2;
    const RT_SIGSUSPEND: i32 = 133;
    // rt_sigsuspend(sp, 8): what lies there, a mask, holds back one signal at the most.
    let wait = [addi(10, SP, 0), addi(11, 0, 8), addi(17, 0, RT_SIGSUSPEND), ECALL, ECALL];
    let output = run(&["--seed", "1"], Path::new(&program("suspended", &wait)), &[]);
    assert_eq!(code(&output), 4, "no deadlock: {}", errors(&output));
}
