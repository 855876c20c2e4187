//! The command line.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use clap::builder::{OsStringValueParser, TypedValueParser};
use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::formats::FormatName;
use crate::seed::Seeds;
use crate::swap::Given;

const EXAMPLES: &str = "\
Examples:
  vmspace run -- ./hello                       a static riscv64 program, one hart, 256 MiB
  vmspace run --harts 2 -- ./threads 64        64 threads on two harts
  vmspace run --memory 16M -- ./fork_tree      what does it do when memory is short?
  vmspace run --format aarch64-64k -- ./hello  the same program over other page tables
  vmspace run --tlb sticky --check -- ./hello  stale translations are found, exit status 3
  vmspace run --tlb adversarial -- ./hello     on the worst hardware that the manuals allow
  vmspace run --trace calls -- ./hello         each system call, as strace shows it
  vmspace run --seed 7 -- ./threads            one schedule of the threads, the same every time
  vmspace run --seed 1..200 -- ./threads       is there one among these in which it fails?
  vmspace run --root data -- ./sort /in /out   with the files beneath ./data, which is its /
  vmspace run --memory 16M --swap zram:64M -- ./sort        what memory does not hold, compressed
  vmspace run --swap zram:64M --swap file:swap:1G -- ./sort and in a file when that is full
  vmspace formats                              the page-table formats

Programs are linked statically for 64-bit RISC-V, with pages of any size in mind:
  riscv64-linux-gnu-gcc -static -Wl,-z,max-page-size=65536 -o hello hello.c";

/// Runs Linux programs on a machine whose every memory access goes through page tables that the
/// vmspace library builds.
#[derive(Parser, Debug)]
#[command(name = "vmspace", version, after_help = EXAMPLES)]
pub struct Cli {
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Subcommand, Debug)]
pub enum Command {
    /// Runs a program, passes on its output and its exit status, and reports what its memory did
    #[command(after_help = EXAMPLES)]
    Run(Box<RunOptions>),
    /// Lists the page-table formats and their geometry
    Formats,
}

/// Options of `run`.
#[derive(Args, Debug)]
pub struct RunOptions {
    /// The machine's memory in bytes, or with K, M or G (`vmspace formats` has the least)
    #[arg(long, value_name = "SIZE", default_value = "256M", value_parser = text(size))]
    pub memory: u64,
    /// Where pages go that memory has no room for: zram:SIZE keeps them compressed in the host's
    /// memory, file:PATH:SIZE in a file: an empty one, or one that is made, and loses its name at once.
    /// May be repeated: the first one given is used first. Programs know them as /dev/swap0,
    /// /dev/swap1 and so on, and may turn them off and on
    #[arg(long, value_name = "DEVICE", value_parser = OsStringValueParser::new().try_map(Given::parse))]
    pub swap: Vec<Given>,
    /// Harts: each is a thread of the host's
    #[arg(long, value_name = "N", default_value = "1", value_parser = text(harts))]
    pub harts: usize,
    /// The most processes and threads together; beyond it fork and clone give EAGAIN
    #[arg(long, value_name = "N", default_value = "512", value_parser = text(processes))]
    pub processes: usize,
    /// The page-table format (`vmspace formats` lists them)
    #[arg(long, value_name = "NAME", default_value = "sv48", value_parser = text(FormatName::parse))]
    pub format: FormatName,
    /// How a TLB behaves: one or more of these, as in `sticky,late`
    #[arg(long, value_enum, value_name = "TRAITS", default_value = "normal")]
    #[arg(value_delimiter = ',')]
    pub tlb: Vec<Tlb>,
    /// Compare each cached translation that is used with its entry, and watch for two translations
    /// of a page where the format forbids it; exit 3 on what is found
    #[arg(long)]
    pub check: bool,
    /// Runs all harts on one thread, in a schedule that the seed draws: the same seed gives the same
    /// run, clock and random numbers included, and a failure prints the command that replays it.
    ///
    /// A..B tries the seeds from A to B, up to the first with which the program fails: ends with
    /// another status than 0. Programs that are tried have nothing to read, and nothing is heard of
    /// them; the one that fails is run again in the open. In a run that a seed decides, a deadlock
    /// ends the program; exit 4.
    #[arg(long, value_name = "N|A..B", value_parser = text(Seeds::parse))]
    pub seed: Option<Seeds>,
    /// The host's directory that is / to the program, which cannot leave it (none: no files of the host)
    #[arg(long, value_name = "DIR")]
    pub root: Option<PathBuf>,
    /// The directory inside the root that the program begins in
    #[arg(long, value_name = "DIR", default_value = "/")]
    pub cwd: PathBuf,
    /// A variable of the program's environment, which is empty otherwise (may be repeated)
    #[arg(long, value_name = "K=V", value_parser = OsStringValueParser::new().try_map(variable))]
    pub env: Vec<OsString>,
    /// Give up after so long; exit 124
    #[arg(long, value_name = "SECONDS", value_parser = text(seconds))]
    pub timeout: Option<Duration>,
    /// A live line on standard error, where that is a terminal: memory used and free, swapped pages,
    /// faults and stolen pages a second
    #[arg(long)]
    pub progress: bool,
    /// What is reported at the end
    #[arg(long, value_enum, value_name = "KIND", default_value = "text")]
    pub report: ReportKind,
    /// Print the initial process's mappings at its end, as /proc/PID/maps has them
    #[arg(long)]
    pub maps: bool,
    /// Where the report goes instead of standard error (not with `--report none`)
    #[arg(long, value_name = "FILE")]
    pub report_file: Option<PathBuf>,
    /// A line on standard error for each of these
    #[arg(long, value_enum, value_name = "WHAT")]
    pub trace: Option<Trace>,
    /// The program, a path, and its arguments
    #[arg(required = true, trailing_var_arg = true, allow_hyphen_values = true)]
    #[arg(value_names = ["PROGRAM", "ARG"], num_args = 1..)]
    pub program: Vec<OsString>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub enum Tlb {
    /// Remembers what fits
    Normal,
    /// Forgets nothing unless it is told to
    Sticky,
    /// Forgets, and walks again, at random
    Forgetful,
    /// Remembers where tables are until told that tables were unlinked
    Nonleaf,
    /// Walks unasked for pages near the one asked for, and sets accessed
    Speculative,
    /// Acknowledges shootdowns late
    Late,
    /// All of these together
    Adversarial,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub enum ReportKind {
    /// For people
    Text,
    /// For programs: one JSON object; its `schema` number changes when a name in it does
    Json,
    /// Nothing
    None,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub enum Trace {
    /// System calls
    Calls,
    /// Page faults
    Faults,
}

/// `64K`, `256M`, `1G`, or bytes.
pub fn size(text: &str) -> Result<u64, String> {
    let bad = || "is no size (write it as 64M, 1G, or in bytes)".to_string();
    let (digits, shift) = match text.as_bytes().last() {
        Some(b'K' | b'k') => (&text[..text.len() - 1], 10),
        Some(b'M' | b'm') => (&text[..text.len() - 1], 20),
        Some(b'G' | b'g') => (&text[..text.len() - 1], 30),
        _ => (text, 0),
    };
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(bad());
    }
    let too_large = || "is more than any host has (give less)".to_string();
    let number: u64 = digits.parse().map_err(|_| too_large())?;
    number.checked_mul(1 << shift).ok_or_else(too_large)
}

fn harts(text: &str) -> Result<usize, String> {
    text.parse().map_err(|_| "is no number of harts (give 1 or more)".to_string())
}

fn processes(text: &str) -> Result<usize, String> {
    /// Linux's numbers for threads end here; half of them leaves room to find a free one.
    const MOST: usize = 16_384;
    match text.parse() {
        Ok(number @ 1..=MOST) => Ok(number),
        _ => Err(format!("is no number of processes (give 1 to {MOST})")),
    }
}

fn seconds(text: &str) -> Result<Duration, String> {
    let seconds = text.parse().ok().and_then(|s| Duration::try_from_secs_f64(s).ok());
    seconds
        .filter(|time| !time.is_zero())
        .ok_or_else(|| "is no time (give seconds, as 10 or 0.5)".to_string())
}

fn variable(word: OsString) -> Result<OsString, String> {
    match word.as_encoded_bytes().iter().position(|byte| *byte == b'=') {
        None | Some(0) => Err("is no variable (write it as NAME=value)".to_string()),
        Some(_) => Ok(word),
    }
}

/// A value that is text; what is no text is refused by the option's name as any other wrong value.
fn text<T: Clone + Send + Sync + 'static>(
    parse: fn(&str) -> Result<T, String>,
) -> impl TypedValueParser<Value = T> {
    OsStringValueParser::new().try_map(move |word| match word.to_str() {
        Some(word) => parse(word),
        None => Err("holds bytes that are no text (write it in UTF-8)".to_string()),
    })
}
