//! Mutations: each protection of the library is removed in turn, and its test must fail.
//!
//! The tests are `crates/vmspace/tests/mutations.rs`, built with `--cfg vmspace_mutations`. First all
//! of them run with every protection in its place, and must pass; then each alone, in a process of
//! its own, without the protection that it is about, and must fail, saying `caught: …`. A process
//! that hangs or dies of something else has caught nothing. Where an interleaving is too long to be
//! made by hand, shuttle finds it. Then the machine has its turn: its own
//! test, and a program that runs on it, as it comes and in schedules that seeds draw.

use crate::guests::{Machine, PLANTS, Run, Setting};
use crate::process::{self, tail};
use crate::project::cargo_with;
use crate::steps::Steps;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;
use vmspace::mutation::Mutation::{self, *};

const CFG: &str = "vmspace_mutations";
/// The same for the whole manager under shuttle.
pub const SHUTTLE_CFGS: &str = "shuttle vmspace_mutations";

/// The exit status of `vmspace run --check` that has seen a stale translation used.
const STALE_FOUND: i32 = 3;

/// How long a test may take: it needs a small part of a second.
const LIMIT: Duration = Duration::from_secs(20);

/// How much longer than in the tests, in hundredths, shuttle looks for what is planted: which of the
/// interleavings it draws shows it changes with every line of the library.
const ROUNDS: &str = "1000";

/// What must catch a mutation.
enum Catcher {
    /// A test that makes the interleaving.
    Test(&'static str),
    /// Operations that shuttle runs at once, until it has found the interleaving.
    Operations(&'static str),
}

/// What must catch a mutation.
fn catcher(mutation: Mutation) -> Catcher {
    let test = match mutation {
        NoShootdownAtUnmap => {
            "shootdowns::unmap_without_shootdown_lets_a_stale_store_reach_a_reused_frame"
        }
        NoShootdownAtProtect => {
            "shootdowns::protect_without_shootdown_lets_a_store_reach_a_read_only_page"
        }
        NoShootdownAtFork => {
            "shootdowns::fork_without_shootdown_lets_the_parent_write_into_the_child"
        }
        NoShootdownAtCopy => {
            "shootdowns::a_copy_without_shootdown_leaves_another_thread_on_the_old_page"
        }
        NoShootdownAtDontNeed => "shootdowns::dont_need_without_shootdown_leaves_the_old_contents",
        NoShootdownAtTruncation => {
            "shootdowns::truncation_without_shootdown_lets_a_stale_store_reach_a_reused_frame"
        }
        NoShootdownAtCopyTruncation => {
            "shootdowns::truncation_without_shootdown_lets_a_stale_store_reach_a_copy_s_reused_frame"
        }
        NoShootdownAtClean => "shootdowns::cleaning_without_shootdown_loses_what_is_stored_next",
        NoShootdownAtRemap => {
            "shootdowns::remap_without_shootdown_lets_a_store_reach_a_page_that_has_moved_away"
        }
        NoTablesInShootdown => {
            "shootdowns::unlinked_tables_not_named_leave_a_walk_in_the_old_table"
        }
        NoBreakBeforeMake => "orders::a_new_entry_before_the_flush_gives_one_address_two_pages",
        UnlockBeforeAcknowledgement => {
            "orders::unlocking_before_the_acknowledgements_lets_a_call_return_too_early"
        }
        FreeBeforeFlush => {
            "orders::freeing_before_the_flush_lets_a_stale_store_reach_a_reused_frame"
        }
        NoGracePeriod => "orders::tables_reused_without_a_grace_period_corrupt_a_walker",
        NoStaleCheck => "orders::a_detached_table_whose_lock_is_taken_swallows_a_change",
        StoreForCompareExchange => "hardware::a_store_over_the_hardware_dirty_bit_loses_it",
        NoShootdownAtSteal => "steals::stealing_without_shootdown_loses_what_is_stored_next",
        NoLockedCheckAtSteal => "steals::a_locked_page_is_stolen",
        NoPinCheckAtSteal => "steals::a_stolen_page_parts_its_space_from_a_device",
        WaitAtSteal => "steals::who_steals_waits_for_the_locks_of_another_space",
        NoWriteAtSteal => "steals::a_page_that_is_not_written_comes_back_as_something_else",
        StoreAtAgeing => "hardware::looking_at_a_page_by_load_and_store_loses_its_dirty_bit",
        DriversInDrivers => "steals::a_pager_that_needs_memory_meets_itself",
        NoRecordAtFork => "steals::what_the_child_has_cannot_be_stolen",
        NoVisitorHeld => "steals::a_space_that_is_looked_at_ends",
        NoSecondLookAtGrowth => {
            "steals::a_stack_that_grows_by_what_it_was_takes_away_what_was_pushed"
        }
        NoSecondLookAtPin => "orders::a_page_held_by_what_its_entry_said_before_is_the_childs",
        PartBeforeRefusal => return Catcher::Operations("fault steal"),
        OnePassAtSwapoff => return Catcher::Operations("page_out swapoff"),
        NoSecondLookAtFault => return Catcher::Operations("fault unmap"),
        NoSequence => return Catcher::Operations("fault map_table"),
    };
    Catcher::Test(test)
}

/// Plants them all, one after the other.
pub fn run(steps: &mut Steps) {
    let mut program = PathBuf::new();
    let unharmed = steps.step("the tests pass with every protection in its place", || {
        program = build(CFG, "--test mutations")?;
        unharmed(&program)
    });
    let mut explorer = PathBuf::new();
    let built = steps.step("shuttle, with mutations", || {
        explorer = build(SHUTTLE_CFGS, "--release --test shuttle")?;
        Ok(())
    });
    if !unharmed || !built {
        return;
    }
    let caught = |mutation: &&Mutation| match catcher(**mutation) {
        Catcher::Test(test) => plant(**mutation, test, test_of(&program, test)),
        Catcher::Operations(names) => plant(**mutation, names, explore(&explorer, names)),
    };
    let caught = Mutation::ALL.iter().filter(caught).count();
    println!("{caught} of {} caught", Mutation::ALL.len());
    steps.step("each mutation is caught", || match Mutation::ALL.len() - caught {
        0 => Ok(()),
        survivors => Err(format!("{survivors} survived")),
    });
    steps.step("the machine's checker catches them in its own way", || {
        process::succeed(&mut cargo_with(CFG, "test --package vmspace-machine --test mutations"))
    });
    steps.step("the guest `stale` stops where a shootdown is missing", stale);
    steps.step("a seed is found with which it stops, and replayed by the command printed", scan);
}

/// Builds one of the library's tests (as cargo's options) with `--cfg`s; where its program is.
pub fn build(cfgs: &str, test: &str) -> Result<PathBuf, String> {
    let line =
        format!("test --package vmspace {test} --no-run --message-format=json-render-diagnostics");
    let messages = process::output(&mut cargo_with(cfgs, &line))?;
    messages
        .lines()
        .filter_map(|line| line.split_once(r#""executable":""#))
        .filter_map(|(_, rest)| rest.split_once('"'))
        .map(|(path, _)| PathBuf::from(path))
        .next_back()
        .ok_or_else(|| "cargo did not say where it put the tests' program".to_owned())
}

fn unharmed(program: &Path) -> Result<(), String> {
    let outcome = process::run(&mut Command::new(program), "", LIMIT)?;
    print!("{}", outcome.stdout);
    if outcome.status == 0 { Ok(()) } else { Err(tail(&outcome.stderr)) }
}

fn test_of(program: &Path, test: &str) -> Command {
    let mut command = Command::new(program);
    command.args(["--exact", "--nocapture", test]);
    command
}

/// Shuttle, with these operations at once.
pub fn explore(program: &Path, operations: &str) -> Command {
    let mut command = Command::new(program);
    command.arg("--nocapture").env("VMSPACE_SHUTTLE", operations).env("VMSPACE_ROUNDS", ROUNDS);
    command
}

/// Runs what must catch a mutation with the mutation planted. Whether it was caught.
fn plant(mutation: Mutation, catcher: &str, mut command: Command) -> bool {
    command.env(PLANTS, mutation.number().to_string());
    let name = format!("{mutation:?}");
    let (caught, text) = match process::run(&mut command, "", LIMIT) {
        Ok(o) => (
            o.stderr.contains("caught: "),
            format!("{:.2} s{}", o.seconds, if o.late { ", killed" } else { "" }),
        ),
        Err(error) => (false, error),
    };
    let verdict = if caught { "caught by" } else { "SURVIVED " };
    println!("{name:28} {verdict} {catcher} ({text})");
    caught
}

/// What the guest `stale` calls the mutations that it is about.
const STALE: [(Mutation, &str); 7] = [
    (NoShootdownAtUnmap, "unmap"),
    (NoShootdownAtProtect, "protect"),
    (NoShootdownAtFork, "fork"),
    (NoShootdownAtCopy, "cow"),
    (NoShootdownAtDontNeed, "dontneed"),
    (NoTablesInShootdown, "tables"),
    (NoShootdownAtRemap, "remap"),
];

/// Runs it on the machine that checks everything, with each planted and without.
fn stale() -> Result<(), String> {
    let machine = Machine::build_with(CFG)?;
    for (mutation, name) in STALE {
        let run = Run::rust(&format!("stale {name} 6"), Setting::strictest());
        for (machine, stale) in [(&machine, false), (&machine.planting(mutation.number()), true)] {
            let outcome = machine.run(&run, LIMIT.as_secs())?;
            if stale && outcome.status == STALE_FOUND {
                let report = outcome.stderr.lines().next().unwrap_or_default();
                println!("{:28} caught by stale {name}: {report}", format!("{mutation:?}"));
            } else if stale || outcome.status != 0 {
                let wrong = format!("{mutation:?}: exit status {}", outcome.status);
                return Err(machine.failure(&run, &outcome, &wrong));
            }
        }
    }
    Ok(())
}

/// Tries seeds with each planted and without; what was found is what the printed command shows.
fn scan() -> Result<(), String> {
    let machine = Machine::build_with(CFG)?;
    for (mutation, name) in STALE {
        let run = Run::rust(&format!("stale {name} 2"), Setting::strictest()).scanning(1, 20);
        let outcome = machine.run(&run, LIMIT.as_secs())?;
        if outcome.status != 0 {
            return Err(machine.failure(&run, &outcome, "fails with nothing planted"));
        }
        let machine = machine.planting(mutation.number());
        let found = machine.run(&run, LIMIT.as_secs())?;
        let again = machine.replay(&found, LIMIT.as_secs());
        let again = again.ok_or_else(|| machine.failure(&run, &found, "names no command"))??;
        let (heading, story) = found.stderr.split_once('\n').unwrap_or_default();
        if (found.status, again.status) != (STALE_FOUND, STALE_FOUND) || story != again.stderr {
            return Err(machine.failure(&run, &again, "the command shows another run"));
        }
        println!("{:28} {heading}", format!("{mutation:?}"));
    }
    Ok(())
}
