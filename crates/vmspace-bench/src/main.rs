//! Measures vmspace: instructions of the library per operation (exact, by valgrind), times beside
//! a bare walk and beside rivals in the same run, spaces of many regions, mapped files, what happens where
//! memory is short, and the interpreter beside qemu. Rewrites docs/performance.md and fails when an
//! instruction or flatness bound is broken. Times are printed and never gated.
//!
//! `cargo bench-all` does it all; `vmspace-bench count OPERATION N` is what valgrind runs.

mod built;
mod count;
mod files;
mod interpreter;
mod latency;
mod operations;
mod paging;
mod refaults;
mod report;
mod time;
mod world;

use built::Built;
use report::reclaim::Reclaim;
use std::process::ExitCode;
use time::Times;

const HELP: &str = "\
Measures vmspace and rewrites docs/performance.md.

Usage: cargo bench-all              measure everything
       cargo bench-all -- times     the times alone, printed
       cargo bench-all -- reclaim   what happens where memory is short, printed
       cargo bench-all -- list      the operations whose instructions are counted
       cargo bench-all -- count OPERATION N   run one, N times (what valgrind runs)
       cargo bench-all -- paging GROUP        touch memory, in the cgroup of that file";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match words[..] {
        [] => all(),
        ["list"] => {
            operations::ALL.iter().for_each(|operation| println!("{}", operation.name));
            ExitCode::SUCCESS
        }
        ["count", name, n] => match (operations::find(name), n.parse()) {
            (Some(operation), Ok(n)) => {
                world::run(operation, n);
                ExitCode::SUCCESS
            }
            _ => usage("count wants an operation of `list` and a number"),
        },
        ["paging", group] => match paging::native::program(group.as_ref()) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                eprintln!("vmspace-bench: {error}");
                ExitCode::FAILURE
            }
        },
        ["times"] => {
            println!("{}", report::times(&Times::measure()));
            ExitCode::SUCCESS
        }
        ["reclaim"] => {
            println!("{}", report::reclaim(&reclaim(&Built::new())));
            ExitCode::SUCCESS
        }
        ["--help" | "-h"] => {
            println!("{HELP}");
            ExitCode::SUCCESS
        }
        _ => usage("no such command"),
    }
}

fn usage(what: &str) -> ExitCode {
    eprintln!("vmspace-bench: {what}\n\n{HELP}");
    ExitCode::from(2)
}

fn reclaim(built: &Result<Built, String>) -> Reclaim {
    Reclaim {
        refaults: refaults::measure(),
        paging: paging::measure(built),
        latency: latency::measure(),
    }
}

fn all() -> ExitCode {
    let counts = count::all();
    let times = Times::measure();
    let built = Built::new();
    let files = files::measure(&built);
    let reclaim = reclaim(&built);
    let interpreter = interpreter::measure(&built);
    let (text, broken) = report::write(&counts, &times, &files, &reclaim, &interpreter);
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/performance.md");
    if let Err(error) = std::fs::write(path, &text) {
        eprintln!("vmspace-bench: docs/performance.md: {error}");
        return ExitCode::FAILURE;
    }
    println!("{text}");
    for line in &broken {
        eprintln!("vmspace-bench: {line}");
    }
    if broken.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
