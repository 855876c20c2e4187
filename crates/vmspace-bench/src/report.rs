//! docs/performance.md: every figure, the bound it stands under, and what falls short.

pub mod reclaim;

use crate::count::Counts;
use crate::files::Files;
use crate::interpreter::Speed;
use crate::operations;
use crate::time::regions::Regions;
use crate::time::rivals::{self, Row};
use crate::time::{Time, Times};
use reclaim::Reclaim;
use std::fmt::Write;

/// Pairs whose costs must not grow with the length: short, long, the most that the ratio may be.
const FLAT: [(&str, &str, &str, f64); 4] = [
    ("map", "map-64k", "map-1g", 1.5),
    ("protect", "protect-64k", "protect-1g", 1.5),
    ("unmap", "unmap-64k", "unmap-1g", 1.5),
    ("fork", "fork-64k", "fork-1g", 1.2),
];

/// The interpreter's aim: a third of qemu's speed.
const THIRD: f64 = 1.0 / 3.0;

const HEAD: &str = "\
# Performance

Written by `cargo bench-all`; do not edit. Instructions are counted by valgrind and are the same for
the same binary; they are bounds, and the command fails when one is broken. Times are medians of
five beside a yardstick in the same run, on whatever machine ran it: the ratio is what carries.

";

/// The page's text, and the bounds that are broken.
pub fn write(
    counts: &Counts,
    times: &Times,
    files: &Result<Files, String>,
    reclaim: &Reclaim,
    speed: &Result<Speed, String>,
) -> (String, Vec<String>) {
    let mut text = String::from(HEAD);
    let mut broken = Vec::new();
    let written = write_counts(&mut text, counts, &mut broken)
        .and_then(|()| write_all_times(&mut text, times))
        .and_then(|()| write_files(&mut text, files))
        .and_then(|()| reclaim::write(&mut text, reclaim))
        .and_then(|()| write_speed(&mut text, speed));
    // Writing to a String cannot fail.
    debug_assert!(written.is_ok());
    (text, broken)
}

/// The part of the page that is about times.
pub fn times(times: &Times) -> String {
    let mut text = String::new();
    // Writing to a String cannot fail.
    let _ = write_all_times(&mut text, times);
    text
}

/// The part of the page that is about memory that is short.
pub fn reclaim(reclaim: &Reclaim) -> String {
    let mut text = String::new();
    // Writing to a String cannot fail.
    let _ = reclaim::write(&mut text, reclaim);
    text
}

fn write_all_times(text: &mut String, times: &Times) -> std::fmt::Result {
    write_times(text, &times.cycle)?;
    write_rivals(text, &times.rivals)?;
    write_regions(text, &times.regions)
}

fn write_counts(text: &mut String, counts: &Counts, broken: &mut Vec<String>) -> std::fmt::Result {
    writeln!(text, "## Instructions of the library per operation (sv48)\n")?;
    let counts = match counts {
        Ok(counts) => counts,
        Err(why) => return writeln!(text, "Not measured: {why}.\n"),
    };
    writeln!(text, "| operation | instructions | bound | |\n|---|---:|---:|---|")?;
    for operation in operations::ALL.iter().filter(|o| !o.what.is_empty()) {
        let count = counts[operation.name];
        let (bound, verdict) = match operation.bound {
            None => (String::new(), ""),
            Some(bound) if count <= bound as f64 => (bound.to_string(), "holds"),
            Some(bound) => {
                broken
                    .push(format!("{}: {count:.0} instructions, {bound} allowed", operation.what));
                (bound.to_string(), "**broken**")
            }
        };
        writeln!(text, "| {} | {count:.0} | {bound} | {verdict} |", operation.what)?;
    }
    writeln!(text, "\n## Flatness: an untouched range's cost does not grow with its length\n")?;
    writeln!(
        text,
        "| operation | 64 KiB | long | ratio | bound | |\n|---|---:|---:|---:|---:|---|"
    )?;
    for (what, short, long, bound) in FLAT {
        let ratio = counts[long] / counts[short];
        let holds = ratio <= bound;
        if !holds {
            broken.push(format!("{what}: the long range costs {ratio:.2} times the short one"));
        }
        let verdict = if holds { "holds" } else { "**broken**" };
        let (short, long) = (counts[short], counts[long]);
        writeln!(text, "| {what} | {short:.0} | {long:.0} | {ratio:.2} | {bound} | {verdict} |")?;
    }
    writeln!(text)
}

fn write_times(text: &mut String, times: &[Time]) -> std::fmt::Result {
    writeln!(text, "## Beside a bare walk (262,144 pages, ns a page, one thread)\n")?;
    writeln!(
        text,
        "The bare walk goes from the root for each page (for each table, in ranges) and"
    )?;
    writeln!(
        text,
        "does one swap or compare-exchange an entry; no locks, no counts, no shootdowns."
    )?;
    writeln!(
        text,
        "Where it translates, it looks at each entry as hardware does: a table, a leaf or nothing.\n"
    )?;
    writeln!(text, "| | bare walk | vmspace | ratio | aim | |\n|---|---:|---:|---:|---:|---|")?;
    for time in times {
        let ratio = time.ours / time.yardstick;
        let reached = verdict(ratio <= time.aim);
        writeln!(
            text,
            "| {} | {:.2} | {:.2} | {ratio:.2} | {} | {reached} |",
            time.what, time.yardstick, time.ours, time.aim
        )?;
    }
    writeln!(text)
}

fn write_rivals(text: &mut String, rows: &[Row]) -> std::fmt::Result {
    writeln!(
        text,
        "## Beside rivals (262,144 pages, ns a page; in brackets times ours)\n\n\
         Page by page, tables there already, the same pages in the same order. They take `&mut self`:\n\
         on two threads, each with a gigabyte of its own, they stand behind a mutex that is locked for\n\
         each page. vmspace locks each thread's gigabyte once, for all its pages, and translates\n\
         without locks; its entries change by atomic instructions, theirs by plain stores. memory_set\n\
         does areas of 2 MiB in one call each.\n"
    )?;
    writeln!(
        text,
        "| | {} |\n|---{}|",
        rivals::STEPS.map(|step| format!("{step} | two threads")).join(" | "),
        "|---:|---:".repeat(rivals::STEPS.len())
    )?;
    let Some(ours) = rows.first() else { return Ok(()) };
    for row in rows {
        write!(text, "| {} |", row.name)?;
        for step in 0..rivals::STEPS.len() {
            for (time, ours) in [(row.one, ours.one), (row.two, ours.two)] {
                write!(text, " {:.1} ({:.1}) |", time[step], time[step] / ours[step])?;
            }
        }
        writeln!(text)?;
    }
    writeln!(text)
}

/// What is aimed at with 40,000 regions, in nanoseconds.
const LOOKUP: f64 = 60.0;
const ERASE_INSERT: f64 = 1000.0;

/// How much more than one two threads are to do.
const TWO_THREADS: f64 = 1.9;

fn verdict(reached: bool) -> &'static str {
    if reached { "reached" } else { "**falls short**" }
}

fn write_regions(text: &mut String, regions: &Regions) -> std::fmt::Result {
    writeln!(
        text,
        "## Many regions (ns)\n\n\
         Looking up the region at an address, at random, without locks; taking a region out and putting\n\
         it back (unmap and map of a page). Beside them the maple tree of Linux, as measured once on a\n\
         host like this one: an erase and an insert took it 700 to 1,000 ns.\n\n\
         | regions | lookup | maple tree | erase and insert | aims | |\n|---:|---:|---:|---:|---|---|"
    )?;
    for many in &regions.many {
        let reached = many.lookup <= LOOKUP && many.erase_insert <= ERASE_INSERT;
        writeln!(
            text,
            "| {} | {:.0} | {:.0} | {:.0} | {LOOKUP:.0}, {ERASE_INSERT:.0} | {} |",
            many.regions,
            many.lookup,
            many.maple_lookup,
            many.erase_insert,
            verdict(reached)
        )?;
    }
    writeln!(text, "\n| operation | ns |\n|---|---:|")?;
    for alone in &regions.alone {
        writeln!(text, "| {} | {:.1} |", alone.what, alone.time)?;
    }
    match &regions.two_threads {
        Err(why) => writeln!(text, "\nTwo threads in one space: not measured, because {why}.\n"),
        Ok(ratio) => writeln!(
            text,
            "\nTwo threads in one space, each mapping and unmapping a range of its own, do {ratio:.2} \
             times what one\ndoes (aim {TWO_THREADS}: {}).\n",
            verdict(*ratio >= TWO_THREADS)
        ),
    }
}

/// A mapped file's speed as a share of anonymous memory's.
const FILES: f64 = 0.9;

fn write_files(text: &mut String, files: &Result<Files, String>) -> std::fmt::Result {
    writeln!(
        text,
        "## A mapped file beside anonymous memory (guest `mapped`: faults, then every word read and written)\n"
    )?;
    let files = match files {
        Ok(files) => files,
        Err(why) => return writeln!(text, "Not measured: {why}.\n"),
    };
    let share = files.anonymous / files.file;
    writeln!(
        text,
        "| anonymous, ns a page | file, ns a page | share of its speed | aim | |\n\
         |---:|---:|---:|---:|---|\n| {:.0} | {:.0} | {share:.2} | {FILES} | {} |\n",
        files.anonymous,
        files.file,
        verdict(share >= FILES)
    )
}

fn write_speed(text: &mut String, speed: &Result<Speed, String>) -> std::fmt::Result {
    writeln!(text, "## The interpreter beside qemu-riscv64 (guest `compute`, integer code)\n")?;
    match speed {
        Err(why) => writeln!(text, "Not measured: {why}."),
        Ok(speed) => {
            let share = speed.qemu / speed.vmspace;
            writeln!(text, "| vmspace | qemu-riscv64 | share of qemu's speed | aim | |")?;
            writeln!(text, "|---:|---:|---:|---:|---|")?;
            writeln!(
                text,
                "| {:.2} s | {:.2} s | {share:.2} | {THIRD:.2} | {} |",
                speed.vmspace,
                speed.qemu,
                verdict(share >= THIRD)
            )
        }
    }
}
