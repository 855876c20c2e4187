//! The parts of the page about memory that is short.

use super::verdict;
use crate::latency::Latency;
use crate::paging::{self, Run, Table};
use crate::refaults::Refaults;
use std::fmt::{Result, Write};

/// What was measured of it.
pub struct Reclaim {
    pub refaults: Refaults,
    pub paging: [Table; 2],
    pub latency: Latency,
}

pub fn write(text: &mut String, reclaim: &Reclaim) -> Result {
    write_refaults(text, &reclaim.refaults)?;
    write_paging(text, &reclaim.paging)?;
    write_latency(text, &reclaim.latency)
}

fn write_refaults(text: &mut String, refaults: &Refaults) -> Result {
    writeln!(
        text,
        "## Refaults: a hot set and a scan\n\n\
         Pages brought back from a device that counts, by the library in a machine of few frames; others\n\
         simulated with the {} frames that it had to use. Sizes are in memories, and 60 memories are\n\
         touched; Belady's optimum knows the future. With a scan ours is to be below FIFO's and LRU's.\n\
         What is touched again soon is kept from a scan; a hot set that another replaces at once is\n\
         kept so too, longer than it should be.\n\n\
         | trace | Belady | LRU | FIFO | vmspace | of LRU's | |\n|---|---:|---:|---:|---:|---:|---|",
        refaults.frames
    )?;
    for row in &refaults.rows {
        let reached = if row.scan { verdict(row.ours < row.fifo.min(row.lru)) } else { "" };
        let (belady, lru, fifo, ours) = (row.belady, row.lru, row.fifo, row.ours);
        let share = ours as f64 / lru as f64;
        writeln!(
            text,
            "| {} | {belady} | {lru} | {fifo} | {ours} | {share:.2} | {reached} |",
            row.what
        )?;
    }
    writeln!(text)
}

fn write_paging(text: &mut String, tables: &[Table]) -> Result {
    writeln!(
        text,
        "## A program at a quarter of its memory (guest `paging`; pages per second)\n\n\
         It touches {} MiB page by page, in order and then at random; each touch verifies a word of every\n\
         cache line and writes the next. The host's kernel runs it natively in a memory cgroup; over the\n\
         library the same accesses go by its entries, uninterpreted; the machine interprets it. Behind the\n\
         host's file is its disk, behind ours its page cache. In brackets: pages moved, times the kernel's.\n",
        paging::BYTES >> 20
    )?;
    for table in tables {
        writeln!(
            text,
            "| to {} | in order: touched | stolen | brought back | at random: touched | stolen | \
             brought back |\n|---|---:|---:|---:|---:|---:|---:|",
            table.device
        )?;
        let kernel = table.rows.first().and_then(|row| row.run.as_ref().ok());
        for row in &table.rows {
            if let Ok(run) = &row.run {
                write_run(text, row.who, run, kernel)?;
            }
        }
        writeln!(text)?;
        for row in &table.rows {
            if let Err(why) = &row.run {
                writeln!(text, "Not measured: {}, to {}: {why}.\n", row.who, table.device)?;
            }
        }
    }
    Ok(())
}

fn write_run(text: &mut String, who: &str, run: &Run, kernel: Option<&Run>) -> Result {
    write!(text, "| {who} |")?;
    for (place, phase) in run.0.iter().enumerate() {
        let moved = phase.out + phase.back;
        let ratio = kernel.map_or(String::new(), |kernel| {
            let theirs = &kernel.0[place];
            format!(" ({:.2})", moved / (theirs.out + theirs.back))
        });
        let (touched, out, back) = (phase.touched, phase.out, phase.back);
        write!(text, " {touched:.0} | {out:.0} | {back:.0}{ratio} |")?;
    }
    writeln!(text)
}

fn write_latency(text: &mut String, latency: &Latency) -> Result {
    writeln!(
        text,
        "## How long a fault takes beside a busy stealer (ns)\n\n\
         Anonymous faults of one thread, zeroing included, each timed by itself; beside it, on another\n\
         thread, nobody, or one who fills memory and steals it again without end.\n\n\
         | beside | p50 | p99 | p99.9 |\n|---|---:|---:|---:|"
    )?;
    for (beside, times) in [("nobody", &latency.alone), ("a busy stealer", &latency.beside)] {
        let [p50, p99, p999] = times;
        writeln!(text, "| {beside} | {p50} | {p99} | {p999} |")?;
    }
    match latency.stolen {
        0 => writeln!(text, "\nThe stealer stole nothing.\n"),
        stolen => writeln!(text, "\nMeanwhile {stolen:.0} pages were stolen per second.\n"),
    }
}
