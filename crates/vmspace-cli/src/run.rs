//! `vmspace run`.
//!
//! Guarantee: everything that can be wrong with what the user gave is found before the program
//! runs, in this order: the program, its root, the swap devices, the machine, the report's file. What
//! was made for a run that did not begin is removed.

use std::path::Path;
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};

use vmspace::Vm;
use vmspace::format::Format;
use vmspace_linux::{
    Addresses, Ending, Loaded, Options, ProgramError, Report, Root, Sample, Stealer, Swap,
};
use vmspace_machine::{Config, MachineError, MachinePlatform, TlbTraits};

use crate::args::{ReportKind, RunOptions, Tlb, Trace};
use crate::failure::Failure;
use crate::formats::{Visitor, bytes};
use crate::json::{json, names};
use crate::progress;
use crate::report::{Destination, text};
use crate::seed::{Seeds, replay_line};
use crate::standard;
use crate::swap;

/// Ctrl-C was pressed.
static INTERRUPTED: AtomicBool = AtomicBool::new(false);

/// The exit statuses that are ours.
const VIOLATION: u8 = 3;
const DEADLOCK: u8 = 4;
const TIMED_OUT: u8 = 124;
const INTERRUPT: u8 = 130;
const BROKEN: u8 = 70;

/// Runs the program.
pub fn run(options: &RunOptions) -> Result<ExitCode, Failure> {
    if !standard::open()[1] {
        let what = "is closed (redirect it, to /dev/null if nobody is to read it)";
        return Err(Failure::new("standard output", what));
    }
    if let (ReportKind::None, Some(file)) = (options.report, &options.report_file) {
        let what = "has nothing to hold with --report none (leave one of them out)";
        return Err(Failure::given("--report-file", file.display(), what));
    }
    if options.tlb.contains(&Tlb::Normal) && options.tlb.iter().any(|tlb| *tlb != Tlb::Normal) {
        let what = "contradicts itself: normal is without the others (leave one of them out)";
        return Err(Failure::given("--tlb", names(&options.tlb), what));
    }
    match options.seed {
        Some(seeds) if seeds.only().is_none() => seeds.scan(),
        _ => options.format.visit(Run(options)),
    }
}

struct Run<'a>(&'a RunOptions);

impl Visitor for Run<'_> {
    type Output = Result<ExitCode, Failure>;

    fn visit<F: Format>(self) -> Result<ExitCode, Failure> {
        let given = self.0;
        let options = options_of(given);
        let path = given.program.first().map(Path::new).unwrap_or(Path::new(""));
        let name = path.display();
        let program = vmspace_linux::check(path, Addresses::of::<F>(), &options).map_err(
            |error| match error {
                ProgramError::Open(_) if path.as_os_str().as_encoded_bytes().starts_with(b"-") => {
                    Failure::new(&name, "is neither an option nor a program (vmspace run --help)")
                }
                error => Failure::new(&name, error),
            },
        )?;
        let root = Root::open(given.root.as_deref(), &given.cwd)
            .map_err(|error| Failure::new(error.path().display(), &error))?;
        raise_descriptors();
        let (swap, stealer) = (swap::open::<F>(&given.swap, path)?, Stealer::default());
        let vm = machine::<F>(given, &root, &swap, &stealer)?;
        let loaded = vmspace_linux::load(&vm, &program, root, swap, stealer, &options)
            .map_err(|error| Failure::new(&name, error))?;
        let destination = match given.report {
            ReportKind::None => Destination::Nowhere,
            _ => Destination::open(given, path)?,
        };
        let (ending, report) =
            match progress::beside(given.progress, || Sample::take(&vm), || run_loaded(loaded)) {
                Ok(result) => result,
                Err(error) => {
                    destination.abandon();
                    return Err(Failure::new(&name, error));
                }
            };
        let code = status(&ending);
        if let Ending::Violation(violation) = &ending {
            standard::say(&violation.to_string());
        }
        let maps = report.maps.as_deref().unwrap_or_default();
        if given.report != ReportKind::Text && !maps.is_empty() {
            standard::say(maps.trim_end());
        }
        destination.write(&match given.report {
            ReportKind::Json => json(given, &ending, code, &report),
            _ => text(given, &ending, &report) + maps,
        })?;
        if let Some(seed) = options.seed
            && code != 0
            && !matches!(ending, Ending::Interrupted)
        {
            standard::say(&replay_line(seed));
        }
        Ok(ExitCode::from(code))
    }
}

fn options_of(given: &RunOptions) -> Options {
    Options {
        arguments: given.program.clone(),
        environment: given.env.clone(),
        processes: given.processes,
        trace: given.trace.map(|trace| match trace {
            Trace::Calls => vmspace_linux::Trace::Calls,
            Trace::Faults => vmspace_linux::Trace::Faults,
        }),
        maps: given.maps,
        timeout: given.timeout,
        seed: given.seed.and_then(Seeds::only),
        standard_files: standard::open(),
    }
}

/// Lets the run have as many descriptors as the host allows: a file that a program has open takes
/// up to three.
fn raise_descriptors() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    // Where it stays as it is, a program that opens many files is told EMFILE earlier.
    let _ = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit });
}

/// Builds the machine and the manager over it.
fn machine<F: Format>(
    given: &RunOptions,
    root: &Root,
    swap: &Swap,
    stealer: &Stealer,
) -> Result<Vm<MachinePlatform<F>>, Failure> {
    let config = Config {
        memory: given.memory,
        harts: given.harts,
        tlb: given.tlb.iter().copied().map(traits).collect(),
        seed: given.seed.and_then(Seeds::only).unwrap_or_default(),
        check: given.check,
        ..Config::default()
    };
    let platform = MachinePlatform::<F>::new(config).map_err(|error| refusal(given, error))?;
    let platform = platform.with_pager(root.pager()).with_swap(swap.devices());
    let platform = platform.with_low_memory(stealer.alarm());
    let frames = platform.frames();
    Vm::new(platform, frames).map_err(|error| match error {
        vmspace::Error::TooSmall { least } => {
            let least = bytes((least << F::PAGE_SHIFT).next_multiple_of(1 << 20));
            let (format, harts) = (given.format.name(), given.harts);
            let what =
                format!("is too little for {format} with --harts {harts} (give at least {least})");
            Failure::new(format_args!("--memory {}", bytes(given.memory)), what)
        }
        other => Failure::new("machine", format_args!("{other} (give other --memory or --harts)")),
    })
}

fn traits(tlb: Tlb) -> TlbTraits {
    match tlb {
        Tlb::Normal => TlbTraits::NORMAL,
        Tlb::Sticky => TlbTraits::STICKY,
        Tlb::Forgetful => TlbTraits::FORGETFUL,
        Tlb::Nonleaf => TlbTraits::NONLEAF,
        Tlb::Speculative => TlbTraits::SPECULATIVE,
        Tlb::Late => TlbTraits::LATE,
        Tlb::Adversarial => TlbTraits::ADVERSARIAL,
    }
}

/// The option to be changed, and how.
fn refusal(given: &RunOptions, error: MachineError) -> Failure {
    let memory = |asked| format!("--memory {}", bytes(asked));
    match error {
        MachineError::Harts { asked, most } => Failure::new(
            format_args!("--harts {asked}"),
            format_args!("so many harts cannot be (give 1 to {most})"),
        ),
        MachineError::TooSmall { asked, least } => {
            let (format, harts, least) = (given.format.name(), given.harts, bytes(least));
            let what =
                format!("is too little for {format} with --harts {harts} (give at least {least})");
            Failure::new(memory(asked), what)
        }
        MachineError::TooLarge { asked, host } => {
            let host = bytes(host);
            Failure::new(memory(asked), format_args!("the host has {host} of memory (give less)"))
        }
        MachineError::TooHigh { asked, most, format } => {
            let most = bytes(most);
            let what = format!(
                "entries of {format} reach {most} of memory (give less, or another --format)"
            );
            Failure::new(memory(asked), what)
        }
        MachineError::Refused { asked } => {
            Failure::new(memory(asked), "the host refuses so much memory (give less)")
        }
        other => Failure::new("machine", format_args!("{other} (give other --memory or --harts)")),
    }
}

/// Runs until the end, or until Ctrl-C.
fn run_loaded<F: Format>(loaded: Loaded<'_, F>) -> Result<(Ending, Report), ProgramError> {
    let main = std::thread::current();
    // Without a handler Ctrl-C still ends the run, only without a report.
    let _ = ctrlc::set_handler(move || {
        if INTERRUPTED.swap(true, Ordering::AcqRel) {
            std::process::exit(INTERRUPT.into());
        }
        main.unpark();
    });
    loaded.run(&INTERRUPTED)
}

fn status(ending: &Ending) -> u8 {
    match ending {
        Ending::Exited(code) => *code,
        Ending::Killed(signal) => 128 + signal,
        Ending::TimedOut => TIMED_OUT,
        Ending::Interrupted => INTERRUPT,
        Ending::Violation(_) => VIOLATION,
        Ending::Deadlock => DEADLOCK,
        Ending::Broken => BROKEN,
    }
}
