//! The report for programs: one JSON object in one line.
//!
//! Guarantee: names stay what they are as long as `schema` does; new ones may join them. Numbers are
//! exact; times are nanoseconds, of the machine's clock where a seed decides the run.

use clap::ValueEnum;
use serde_json::{Map, Value, json};
use vmspace_linux::{Ending, Report, SwapReport};

use crate::args::RunOptions;

/// The meaning of the names.
const SCHEMA: u64 = 1;

/// The report.
pub fn json(given: &RunOptions, ending: &Ending, status: u8, report: &Report) -> String {
    let report = json!({
        "schema": SCHEMA,
        "version": env!("CARGO_PKG_VERSION"),
        "program": given.program.iter().map(|word| word.to_string_lossy()).collect::<Vec<_>>(),
        "options": options(given),
        "ending": self::ending(ending),
        "status": status,
        "time": nanoseconds(report.time),
        "instructions": report.instructions,
        "threads": report.threads,
        "memory": {
            "page_size": report.page_size,
            "peak_frames": report.peak_frames,
            "total_frames": report.total_frames,
        },
        "faults": faults(report),
        "tables": {
            "made": report.memory.tables_made,
            "freed": report.memory.tables_freed,
            "alive": report.memory.tables_alive,
        },
        "reclaim": reclaim(report),
        "swap": report.swap.iter().map(swap).collect::<Vec<_>>(),
        "tlb": translations(report),
        "shootdowns": {
            "batches": report.machine.shootdowns,
            "pages": report.machine.shootdown_pages,
            "spaces": report.machine.shootdown_spaces,
            "interrupted": report.machine.harts_interrupted,
            "outside": report.machine.harts_outside,
        },
        "calls": counts(&report.calls),
        "missing": counts(&report.missing),
        "unknown": report.unknown,
        "refused": counts(&report.refused),
    });
    format!("{report}\n")
}

fn options(given: &RunOptions) -> Value {
    json!({
        "memory": given.memory,
        "swap": given.swap.iter().map(|device| &*device.words).collect::<Vec<_>>(),
        "harts": given.harts,
        "processes": given.processes,
        "format": given.format.name(),
        "tlb": names(&given.tlb),
        "check": given.check,
        "root": given.root.as_ref().map(|path| path.display().to_string()),
        "cwd": given.cwd.display().to_string(),
        "env": given.env.iter().map(|word| word.to_string_lossy()).collect::<Vec<_>>(),
        "timeout": given.timeout.map(nanoseconds),
        "trace": given.trace.as_ref().map(name),
        "seed": given.seed.and_then(crate::seed::Seeds::only),
    })
}

/// An option's value as it is given.
/// The names of an option's values, as they are given.
pub fn names(values: &[impl ValueEnum]) -> String {
    values.iter().map(name).collect::<Vec<_>>().join(",")
}

fn name(value: &impl ValueEnum) -> String {
    value.to_possible_value().map_or_else(String::new, |value| value.get_name().to_string())
}

fn nanoseconds(time: std::time::Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

fn ending(ending: &Ending) -> Value {
    match ending {
        Ending::Exited(code) => json!({ "kind": "exited", "code": code }),
        Ending::Killed(signal) => json!({ "kind": "killed", "signal": signal }),
        Ending::TimedOut => json!({ "kind": "timed-out" }),
        Ending::Interrupted => json!({ "kind": "interrupted" }),
        Ending::Violation(violation) => {
            json!({ "kind": "violation", "text": violation.to_string() })
        }
        Ending::Deadlock => json!({ "kind": "deadlock" }),
        Ending::Broken => json!({ "kind": "broken" }),
    }
}

fn faults(report: &Report) -> Value {
    let memory = &report.memory;
    json!({
        "anonymous": memory.faults_anonymous,
        "zero": memory.faults_zero,
        "cow_copied": memory.faults_cow_copy,
        "cow_reused": memory.faults_cow_reuse,
        "shared": memory.faults_shared,
        "swapped": memory.faults_swapped,
        "stack": memory.faults_stack,
        "spurious": memory.faults_spurious,
        "refused": memory.faults_refused,
        "out_of_memory": report.out_of_memory,
    })
}

fn reclaim(report: &Report) -> Value {
    let memory = &report.memory;
    json!({
        "scanned": memory.pages_scanned,
        "aged": memory.pages_aged,
        "stolen": memory.pages_stolen,
        "written": memory.pages_out,
        "swapped_out": memory.pages_swapped_out,
        "swapped_in": memory.pages_swapped_in,
        "refaults": memory.pages_refaulted,
        "stalls": memory.stalls,
    })
}

/// A device; the numbers are of pages, and of bytes that pages took compressed.
fn swap(device: &SwapReport) -> Value {
    let compression = device.compression.map(|compression| {
        json!({
            "pages": compression.pages,
            "same_filled": compression.filled,
            "whole": compression.whole,
            "bytes": compression.bytes,
        })
    });
    json!({
        "name": device.name,
        "slots": device.slots,
        "used": device.used,
        "peak": device.peak,
        "compression": compression,
    })
}

fn translations(report: &Report) -> Value {
    let machine = &report.machine;
    json!({
        "hits": machine.tlb_hits,
        "misses": machine.tlb_misses,
        "accessed_set": machine.harts.accessed_set,
        "dirty_set": machine.harts.dirty_set,
        "speculated": machine.harts.speculated,
        "checks": machine.harts.checks,
    })
}

fn counts(counts: &[(&'static str, u64)]) -> Map<String, Value> {
    counts.iter().map(|(name, number)| ((*name).to_string(), json!(number))).collect()
}
