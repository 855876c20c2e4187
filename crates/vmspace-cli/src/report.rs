//! The report: its text and where it goes.

use std::fs::{File, OpenOptions};
use std::io::{Seek, Write};
use std::os::unix::fs::MetadataExt;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use vmspace_linux::{Ending, Report, SwapArea};

use crate::args::RunOptions;
use crate::failure::{Failure, shown};
use crate::formats::bytes;
use crate::seed::Seeds;
use crate::standard;

/// Where the report goes.
pub enum Destination {
    Nowhere,
    StandardError,
    File {
        path: PathBuf,
        file: File,
        /// It was not there before.
        new: bool,
    },
}

impl Destination {
    /// Opens the report's file, which is neither `program` nor a swap file, and sees that it can be
    /// written.
    pub fn open(given: &RunOptions, program: &Path) -> Result<Destination, Failure> {
        let Some(path) = given.report_file.as_deref() else {
            return Ok(Destination::StandardError);
        };
        let identity = |path| std::fs::metadata(path).ok().map(|found| (found.dev(), found.ino()));
        let new = identity(path).is_none();
        let swap = given.swap.iter().filter_map(|device| Some((device.file()?, "a swap file")));
        for (other, what) in swap.chain([(program, "the program")]) {
            if !new && identity(path) == identity(other) {
                let what = format!("is {what} (give another --report-file)");
                return Err(Failure::new(path.display(), what));
            }
        }
        // A FIFO that nobody reads is an error, not a wait.
        let nonblocking = rustix::fs::OFlags::NONBLOCK.bits().cast_signed();
        let file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .custom_flags(nonblocking)
            .open(path)
            .map_err(|error| Failure::output(path.display(), &error))?;
        let destination = Destination::File { path: path.to_owned(), file, new };
        match destination.probe() {
            Ok(()) => Ok(destination),
            Err(error) => {
                destination.abandon();
                Err(Failure::output(path.display(), &error))
            }
        }
    }

    /// Finds a full disk before the run: a file gets a line that the report will replace; what is
    /// no file, a device say, gets an empty write.
    fn probe(&self) -> std::io::Result<()> {
        let Destination::File { file, .. } = self else { return Ok(()) };
        if !file.metadata()?.is_file() {
            rustix::io::write(file, &[])?;
            return Ok(());
        }
        let mut file = file;
        file.write_all(b"vmspace: the run has not ended\n")?;
        file.sync_data()
    }

    /// The run did not begin: nothing is left behind.
    pub fn abandon(self) {
        if let Destination::File { path, new: true, .. } = self {
            // It is as good as gone when it cannot be removed.
            let _ = std::fs::remove_file(path);
        }
    }

    /// Writes the report.
    pub fn write(self, text: &str) -> Result<(), Failure> {
        match self {
            Destination::Nowhere => Ok(()),
            Destination::StandardError => {
                standard::say(text.trim_end());
                Ok(())
            }
            Destination::File { path, mut file, .. } => {
                let is_file = file.metadata().is_ok_and(|metadata| metadata.is_file());
                let start = match is_file {
                    true => file.rewind().and_then(|()| file.set_len(0)),
                    false => Ok(()),
                };
                start
                    .and_then(|()| file.write_all(text.as_bytes()))
                    .map_err(|error| Failure::output(path.display(), &error))
            }
        }
    }
}

/// Lines of a label, a number and a remark, under headings.
struct Page(String);

impl Page {
    fn heading(&mut self, text: &str) {
        self.0 += &format!("\n{text}\n");
    }

    fn line(&mut self, label: &str, number: u64, remark: &str) {
        let line = format!("  {label:<26}{:>16}  {remark}", grouped(number));
        self.0 += line.trim_end();
        self.0.push('\n');
    }

    /// As `line`, but silent about nothing.
    fn some(&mut self, label: &str, number: u64, remark: &str) {
        if number > 0 {
            self.line(label, number, remark);
        }
    }
}

/// A number with its thousands set apart.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// A share in per cent, in words; nothing when there is no whole.
fn share(part: u64, whole: u64) -> String {
    match whole {
        0 => String::new(),
        _ => format!("{:.2} %", part as f64 * 100.0 / whole as f64),
    }
}

/// Bytes to one place behind the point.
pub fn size(number: u64) -> String {
    match number {
        n if n >= 1 << 30 => format!("{:.1} GiB", n as f64 / (1u64 << 30) as f64),
        n if n >= 1 << 20 => format!("{:.1} MiB", n as f64 / (1u64 << 20) as f64),
        n => format!("{:.1} KiB", n as f64 / 1024.0),
    }
}

fn ending_in_words(ending: &Ending) -> String {
    match ending {
        Ending::Exited(code) => format!("exited with status {code}"),
        Ending::Killed(signal) => format!("was killed by signal {signal} ({})", name(*signal)),
        Ending::TimedOut => "was given up: its time was over".to_string(),
        Ending::Interrupted => "was interrupted".to_string(),
        Ending::Violation(violation) => format!("was stopped: {}", violation.kind()),
        Ending::Deadlock => "was stopped: all threads wait, and nothing can wake one".to_string(),
        Ending::Broken => "was stopped: the machine itself failed".to_string(),
    }
}

/// The names of the signals that end programs most.
fn name(signal: u8) -> &'static str {
    match signal {
        1 => "SIGHUP",
        2 => "SIGINT",
        3 => "SIGQUIT",
        4 => "SIGILL",
        5 => "SIGTRAP",
        6 => "SIGABRT",
        7 => "SIGBUS",
        8 => "SIGFPE",
        9 => "SIGKILL",
        10 => "SIGUSR1",
        11 => "SIGSEGV",
        12 => "SIGUSR2",
        13 => "SIGPIPE",
        14 => "SIGALRM",
        15 => "SIGTERM",
        _ => "another",
    }
}

/// The report for people.
pub fn text(given: &RunOptions, ending: &Ending, report: &Report) -> String {
    let program = given.program.first().map(|path| path.display().to_string()).unwrap_or_default();
    let program = shown(&program);
    let format = given.format.name();
    let seconds = report.time.as_secs_f64();
    let rate = report.instructions as f64 / seconds.max(1e-9) / 1e6;
    // What the host's clock says differs from run to run; the machine's says nothing of speed.
    let (clock, rate) = match given.seed.and_then(Seeds::only) {
        Some(seed) => (format!(" of its own clock, seed {seed}"), String::new()),
        None => (String::new(), format!("{rate:.1} million a second")),
    };
    let how = ending_in_words(ending);
    let mut page = Page(format!("vmspace: {program} {how} after {seconds:.3} s{clock}\n"));
    page.heading("machine");
    page.line("instructions", report.instructions, &rate);
    page.line("threads", report.threads, "started, the first included");
    let used = report.peak_frames * report.page_size;
    let total = report.total_frames * report.page_size;
    let pages = format!(
        "pages of {}, {format}; {} of {}",
        bytes(report.page_size),
        size(used),
        size(total)
    );
    page.line("memory at the peak", report.peak_frames, &pages);
    faults(&mut page, report);
    reclaim(&mut page, report);
    swap(&mut page, report);
    translations(&mut page, report);
    calls(&mut page, report);
    page.0
}

fn faults(page: &mut Page, report: &Report) {
    let memory = &report.memory;
    page.heading("faults and tables");
    page.line("anonymous pages", memory.faults_anonymous, "");
    page.line("zero page", memory.faults_zero, "read before they were written");
    page.line("copy-on-write, copied", memory.faults_cow_copy, "");
    page.line("copy-on-write, reused", memory.faults_cow_reuse, "nobody else had the page");
    page.some("shared pages", memory.faults_shared, "");
    page.some("from swap", memory.faults_swapped, "");
    page.some("stack growth", memory.faults_stack, "");
    page.some("spurious", memory.faults_spurious, "somebody else had been faster");
    page.some("refused", memory.faults_refused, "not mapped, or not allowed");
    page.some("out of memory", report.out_of_memory, "processes killed so that others go on");
    let alive =
        format!("{} made, {} freed", grouped(memory.tables_made), grouped(memory.tables_freed));
    page.line("tables alive", memory.tables_alive, &alive);
}

fn reclaim(page: &mut Page, report: &Report) {
    let memory = &report.memory;
    if memory.pages_scanned == 0 {
        return;
    }
    page.heading("reclaim");
    page.line("pages scanned", memory.pages_scanned, "");
    page.line("aged", memory.pages_aged, "used since they were looked at before");
    page.line("stolen", memory.pages_stolen, &share(memory.pages_stolen, memory.pages_scanned));
    page.line("written to files", memory.pages_out, "");
    page.line("written to swap", memory.pages_swapped_out, "");
    page.line("brought from swap", memory.pages_swapped_in, "read-ahead included");
    let refaults = share(memory.pages_refaulted, memory.pages_stolen);
    page.line("refaults", memory.pages_refaulted, &format!("wanted again soon: {refaults}"));
    page.line("stalls", memory.stalls, "who asked for memory had to steal it");
}

fn swap(page: &mut Page, report: &Report) {
    for device in &report.swap {
        let bytes = |pages| size(pages * report.page_size);
        let what = match &device.area {
            SwapArea::Compressed(_) => "compressed".to_string(),
            SwapArea::File(path, _) => format!("in {}", shown(&path.display().to_string())),
        };
        page.heading(&format!("swap, {}: {what}", device.name));
        page.line("pages that it takes", device.slots, &bytes(device.slots));
        page.line("used at the peak", device.peak, &bytes(device.peak));
        page.line("used at the end", device.used, "");
        if let Some(compression) = &device.compression {
            let whole = compression.pages * report.page_size;
            let became = match whole {
                0 => String::new(),
                _ => format!("to {} of their size", share(compression.bytes, whole)),
            };
            page.line("compressed", compression.pages, &became);
            page.some("one word again and again", compression.filled, "stored as nothing");
            page.some("not made smaller", compression.whole, "stored as they were");
        }
    }
}

fn translations(page: &mut Page, report: &Report) {
    let machine = &report.machine;
    page.heading("translations");
    let accesses = machine.tlb_hits + machine.tlb_misses;
    page.line("TLB hits", machine.tlb_hits, &share(machine.tlb_hits, accesses));
    page.line("TLB misses", machine.tlb_misses, &share(machine.tlb_misses, accesses));
    page.line("accessed bits set", machine.harts.accessed_set, "");
    page.line("dirty bits set", machine.harts.dirty_set, "");
    page.some("speculative walks", machine.harts.speculated, "for pages that nobody asked for");
    page.some("checks", machine.harts.checks, "cached translations compared");
    let batches = format!(
        "{} pages, {} whole spaces",
        grouped(machine.shootdown_pages),
        grouped(machine.shootdown_spaces)
    );
    page.line("shootdown batches", machine.shootdowns, &batches);
    let outside = format!("{} were outside", grouped(machine.harts_outside));
    page.line("harts interrupted", machine.harts_interrupted, &outside);
}

fn calls(page: &mut Page, report: &Report) {
    let total: u64 = report.calls.iter().map(|(_, n)| n).sum();
    page.heading("system calls");
    page.line("all", total + report.unknown, "");
    for (name, number) in &report.calls {
        let missing = report.missing.iter().find(|(missing, _)| missing == name);
        let remark = missing.map_or(String::new(), |(_, n)| match n == number {
            true => "not there: ENOSYS".to_string(),
            false => format!("{} of them not there: ENOSYS", grouped(*n)),
        });
        page.line(name, *number, &remark);
    }
    page.some("unknown numbers", report.unknown, "not there: ENOSYS");
    for (what, number) in &report.refused {
        page.line(what, *number, "refused");
    }
}
