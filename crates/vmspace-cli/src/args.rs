//! The command line.

use std::error::Error as _;
use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::error::{ContextKind, ErrorKind};
use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::failure::Failure;
use crate::formats::FormatName;
use crate::seed::Seeds;
use crate::standard;

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
    Run(RunOptions),
    /// Lists the page-table formats and their geometry
    Formats,
}

/// Options of `run`.
#[derive(Args, Debug)]
pub struct RunOptions {
    /// The machine's memory in bytes, or with K, M or G
    #[arg(long, value_name = "SIZE", default_value = "256M", value_parser = size)]
    pub memory: u64,
    /// Harts: each is a thread of the host's
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub harts: usize,
    /// The most processes and threads together; beyond it fork and clone give EAGAIN
    #[arg(long, value_name = "N", default_value = "512", value_parser = processes)]
    pub processes: usize,
    /// The page-table format (`vmspace formats` lists them)
    #[arg(long, value_name = "NAME", default_value = "sv48", value_parser = FormatName::parse)]
    pub format: FormatName,
    /// How a TLB behaves: one or more of these, as in `sticky,late`
    #[arg(long, value_enum, value_name = "TRAITS", default_value = "normal")]
    #[arg(value_delimiter = ',')]
    pub tlb: Vec<Tlb>,
    /// Compare each cached translation that is used with its entry, and watch for two translations
    /// of a page where the format forbids it; exit 3 on a stale one
    #[arg(long)]
    pub check: bool,
    /// Runs all harts on one thread, in a schedule that the seed draws: the same seed gives the same
    /// run, clock and random numbers included, and a failure prints the command that replays it.
    ///
    /// A..B tries the seeds from A to B, up to the first with which the program fails: ends with
    /// another status than 0. Programs that are tried have nothing to read, and nothing is heard of
    /// them; the one that fails is run again in the open. In a run that a seed decides, a deadlock
    /// ends the program; exit 4.
    #[arg(long, value_name = "N|A..B", value_parser = Seeds::parse)]
    pub seed: Option<Seeds>,
    /// The host's directory that is / to the program, which cannot leave it (none: no files of the host)
    #[arg(long, value_name = "DIR")]
    pub root: Option<PathBuf>,
    /// The directory inside the root that the program begins in
    #[arg(long, value_name = "DIR", default_value = "/")]
    pub cwd: PathBuf,
    /// A variable of the program's environment, which is empty otherwise (may be repeated)
    #[arg(long, value_name = "K=V", value_parser = variable)]
    pub env: Vec<String>,
    /// Give up after so long; exit 124
    #[arg(long, value_name = "SECONDS", value_parser = seconds)]
    pub timeout: Option<Duration>,
    /// What is reported at the end
    #[arg(long, value_enum, value_name = "KIND", default_value = "text")]
    pub report: ReportKind,
    /// Print the initial process's mappings at its end, as /proc/PID/maps has them
    #[arg(long)]
    pub maps: bool,
    /// Where the report goes instead of standard error
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
fn size(text: &str) -> Result<u64, String> {
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

fn variable(text: &str) -> Result<String, String> {
    match text.split_once('=') {
        Some((name, _)) if !name.is_empty() => Ok(text.to_string()),
        _ => Err("is no variable (write it as NAME=value)".to_string()),
    }
}

/// Help and version as asked for; every mistake as one line.
pub fn explain(error: &clap::Error) -> Result<ExitCode, Failure> {
    match error.kind() {
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => {
            standard::print(&error.render().to_string())
                .map_err(|e| Failure::output("standard output", &e))?;
            Ok(ExitCode::SUCCESS)
        }
        ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => {
            Err(Failure::new("command", "is missing (try 'vmspace --help')"))
        }
        ErrorKind::ValueValidation => Err(bad_value(error)),
        _ => Err(Failure::new("command line", first_paragraph(error))),
    }
}

/// `--harts x: what (cure)`.
fn bad_value(error: &clap::Error) -> Failure {
    let context = |kind| error.get(kind).map(ToString::to_string).unwrap_or_default();
    let option = context(ContextKind::InvalidArg);
    let option = option.split(' ').next().unwrap_or_default();
    let value = context(ContextKind::InvalidValue);
    let what = error.source().map(ToString::to_string).unwrap_or_default();
    let cure = if what.ends_with(')') { "" } else { " (try 'vmspace run --help')" };
    Failure::new(format_args!("{option} {value}"), format_args!("{what}{cure}"))
}

/// What clap says first, in one line.
fn first_paragraph(error: &clap::Error) -> String {
    let text = error.render().to_string();
    let lines: Vec<&str> = text.lines().take_while(|line| !line.trim().is_empty()).collect();
    let text = lines.iter().map(|line| line.trim()).collect::<Vec<_>>().join(" ");
    format!("{} (try 'vmspace --help')", text.trim_start_matches("error: "))
}
