//! Who ends when memory is over, so that the others go on.
//!
//! Guarantee: a process is killed only when a fault finds no memory and nothing is left that could be
//! stolen; it is the one whose end gives most, by Linux's `oom_badness`. One that is ending already is
//! chosen like any other, and then nobody is killed. A process with an `oom_score_adj` of -1000 is
//! never chosen, and where no other is left, who found no memory is killed himself, since nobody
//! will ever give him any.
//!
//! While a victim ends, no other is chosen: who finds no memory meanwhile tries again. A victim ends by
//! itself, so that it leaves what it owes to others as every process does (robust futexes: those that
//! it still reaches without more memory). Only when others have tried [`PATIENCE`] times is its memory
//! taken away (Linux's oom_reaper), and then it is no reason to wait any more: in a call nobody gives
//! the hart away, so that the victim may never come to run.
//!
//! Whoever has the victim's memory ends with it: nobody could go on in half of a space.

use std::collections::{BTreeMap, BTreeSet};
use std::num::IntErrorKind;
use std::sync::Arc;

use vmspace::format::Format;
use vmspace::{Access, FaultError, MaySleep};

use crate::Errno;
use crate::files::node::Node;
use crate::files::proc::comm;
use crate::kernel::{Kernel, State};
use crate::signal::SIGKILL;
use crate::space::Space;
use crate::task::{Id, Process, Status, Task, Thread};
use crate::trace;

/// What keeps a process from being chosen (OOM_SCORE_ADJ_MIN), and the most that there is.
const NEVER: i16 = -1000;
const MOST: i16 = 1000;

/// How often others find no memory before a victim that still ends has its own taken away. A fault
/// that finds none lets others run, so it is enough for so many threads at once.
const PATIENCE: u32 = 64;

/// A process that may be chosen.
struct Candidate<'vm, F: Format> {
    process: Id,
    adjustment: i16,
    name: [u8; 16],
    space: Arc<Space<'vm, F>>,
}

/// Linux's `oom_badness`: the pages that the end of who has the space would give, tables among them,
/// and so many thousandths of all pages; nothing for who is never chosen.
fn badness<F: Format>(
    ms: &mut MaySleep,
    space: &Space<'_, F>,
    adjustment: i16,
    total: u64,
) -> Option<i64> {
    let pages = space.usage(ms).resident + space.swapped() + space.table_frames();
    let pages = pages.cast_signed();
    let adjusted = pages + i64::from(adjustment) * total.cast_signed() / 1000;
    (adjustment != NEVER).then_some(adjusted)
}

/// Linux's `proc_oom_score`: from 0, of who is never chosen, over 666, of who gives nothing.
fn score(badness: Option<i64>, total: u64) -> i64 {
    badness.map_or(0, |badness| (1000 + badness * 1000 / total.cast_signed()) * 2 / 3)
}

impl<F: Format> Candidate<'_, F> {
    /// How bad it is; nothing for who is never chosen.
    fn badness(&self, ms: &mut MaySleep, total: u64) -> Option<i64> {
        badness(ms, &self.space, self.adjustment, total)
    }
}

impl<'vm, F: Format> Kernel<'vm, F> {
    /// A fault of the task has found no memory: has a process end for it. Whether it is worth trying
    /// again; if not, the address is bad or the task's own process ends.
    pub fn find_memory(
        &self,
        ms: &mut MaySleep,
        task: &Task<'vm, F>,
        address: u64,
        access: Access,
    ) -> bool {
        let _choosing = self.choosing.lock();
        if self.is_ending(task.process) {
            return false;
        }
        // A victim may have ended since the fault.
        let again = task.space.fault(ms, address, access);
        if again != Err(FaultError::OutOfMemory) {
            return again.is_ok();
        }
        if !self.stop_swap_off() && !self.victim_ends(ms) {
            self.choose(ms, task);
        }
        !self.is_ending(task.process)
    }

    /// Has the process end whose end gives most, or the task's own.
    fn choose(&self, ms: &mut MaySleep, task: &Task<'vm, F>) {
        let (candidates, total) = (self.candidates(), self.all_pages());
        let worst = candidates
            .iter()
            .filter_map(|candidate| Some((candidate.badness(ms, total)?, candidate)))
            .max_by_key(|(badness, _)| *badness);
        match worst {
            Some((_, victim)) => self.end_victim(ms, victim),
            None => self.end_victim(ms, &self.candidate(task)),
        }
        for candidate in candidates {
            self.leave_space(ms, candidate.space);
        }
    }

    /// Copies bytes from a task's memory, in a call of its; how many. A page that finds no memory has
    /// a process end for it, as when the program touches it.
    pub fn load(
        &self,
        ms: &mut MaySleep,
        task: &Task<'vm, F>,
        address: u64,
        into: &mut [u8],
    ) -> usize {
        let mut done = 0;
        loop {
            done += task.space.read(ms, address.wrapping_add(done as u64), &mut into[done..]);
            let at = address.wrapping_add(done as u64);
            if done == into.len() || !self.find_memory(ms, task, at, Access::Read) {
                return done;
            }
        }
    }

    /// The same to a task's memory.
    pub fn store(
        &self,
        ms: &mut MaySleep,
        task: &Task<'vm, F>,
        address: u64,
        from: &[u8],
    ) -> usize {
        let mut done = 0;
        loop {
            done += task.space.write(ms, address.wrapping_add(done as u64), &from[done..]);
            let at = address.wrapping_add(done as u64);
            if done == from.len() || !self.find_memory(ms, task, at, Access::Write) {
                return done;
            }
        }
    }

    /// A word of a task's memory, in a call of its, likewise. None: it cannot be read.
    pub fn load_u32(&self, ms: &mut MaySleep, task: &Task<'vm, F>, word: u64) -> Option<u32> {
        loop {
            match task.space.load_u32(ms, word) {
                None if self.find_memory(ms, task, word, Access::Read) => {}
                found => return found,
            }
        }
    }

    /// Compare-exchange of a word of a task's memory, likewise. None: it cannot be written.
    pub fn compare_exchange_u32(
        &self,
        ms: &mut MaySleep,
        task: &Task<'vm, F>,
        word: u64,
        (old, new): (u32, u32),
    ) -> Option<Result<u32, u32>> {
        loop {
            match task.space.compare_exchange_u32(ms, word, old, new) {
                None if self.find_memory(ms, task, word, Access::Write) => {}
                done => return done,
            }
        }
    }

    /// Whether the process is ending or gone.
    fn is_ending(&self, process: Id) -> bool {
        self.lock().processes.get(&process).is_none_or(|process| process.dying.is_some())
    }

    /// Whether a victim still ends that is worth waiting for. One that has been waited for too often
    /// has its memory taken away.
    fn victim_ends(&self, ms: &mut MaySleep) -> bool {
        let (mut ends, mut overdue) = (false, Vec::new());
        let mut state = self.lock();
        let State { processes, threads, .. } = &mut *state;
        for process in processes.values_mut().filter(|process| process.zombie.is_none()) {
            let Some(patience @ 1..) = &mut process.victim else { continue };
            *patience -= 1;
            ends = true;
            if *patience == 0 {
                overdue.extend(space_of(process, threads));
            }
        }
        drop(state);
        if ends {
            // The host may have fewer CPUs than harts: the victim's is to run.
            std::thread::yield_now();
        }
        for (space, _) in overdue {
            space.reap(ms);
            self.leave_space(ms, space);
        }
        ends
    }

    /// All processes but those that were chosen or wait for nothing but their parent. Who was made by
    /// vfork has his parent's memory.
    fn candidates(&self) -> Vec<Candidate<'vm, F>> {
        let state = self.lock();
        let living = state.processes.iter().filter(|(_, of)| of.zombie.is_none());
        let own = living.filter(|(_, of)| of.victim.is_none() && of.vfork.is_none());
        let candidate = |(id, of): (&Id, &Process)| {
            let (space, name) = space_of(of, &state.threads)?;
            Some(Candidate { process: *id, adjustment: of.oom_adjustment, name, space })
        };
        own.filter_map(candidate).collect()
    }

    /// The task's process, whatever it is. The task keeps the space meanwhile.
    fn candidate(&self, task: &Task<'vm, F>) -> Candidate<'vm, F> {
        let Task { process, name, .. } = *task;
        let state = self.lock();
        let adjustment = state.processes.get(&process).map_or(0, |of| of.oom_adjustment);
        Candidate { process, adjustment, name, space: task.space.clone() }
    }

    /// All pages that there are, on swap too.
    fn all_pages(&self) -> u64 {
        self.vm.total_frames() + self.vm.swaps().map(|swap| swap.slots).sum::<u64>()
    }

    /// Kills the victim and all who have its memory; nothing is told of who was ending anyway.
    fn end_victim(&self, ms: &mut MaySleep, victim: &Candidate<'vm, F>) {
        let line = self.obituary(ms, victim);
        let mut state = self.lock();
        let threads = state.threads.values();
        let having = threads.filter(|thread| thread.shown.has_space(&victim.space));
        let ending: BTreeSet<Id> = having.map(|thread| thread.process).collect();
        let mut killed = false;
        for id in ending {
            if let Some(process) = state.processes.get_mut(&id) {
                process.victim = Some(PATIENCE);
                killed |= process.dying.is_none();
            }
            self.kill(&mut state, id, Status::Killed(SIGKILL));
        }
        drop(state);
        if killed {
            trace::line(line);
            self.counts.out_of_memory.add(1);
        }
    }

    /// What Linux's log says of a victim.
    fn obituary(&self, ms: &mut MaySleep, victim: &Candidate<'vm, F>) -> String {
        let Candidate { process, adjustment, name, space } = victim;
        let (mut anonymous, mut file, mut shared) = (0, 0, 0);
        let mut from = 0;
        while let Some(region) = space.next_region(ms, from) {
            from = region.end;
            let pages = space.smaps_of(ms, &region);
            anonymous += pages.anonymous;
            let inode = region.object.and_then(|object| self.inode_of(object));
            match inode.is_some_and(|(inode, _)| matches!(inode.node, Node::Host(_))) {
                true => file += pages.rss - pages.anonymous,
                false => shared += pages.rss - pages.anonymous,
            }
        }
        let total = space.usage(ms).mapped << F::PAGE_SHIFT;
        format!(
            "Out of memory: Killed process {process} ({}) total-vm:{}kB, anon-rss:{}kB, \
             file-rss:{}kB, shmem-rss:{}kB, UID:{} oom_score_adj:{adjustment}",
            comm(name),
            total >> 10,
            anonymous >> 10,
            file >> 10,
            shared >> 10,
            crate::stack::ID,
        )
    }

    /// What /proc/PID/oom_score shows.
    pub fn oom_score(&self, ms: &mut MaySleep, space: &Space<'vm, F>, adjustment: i16) -> i64 {
        let total = self.all_pages();
        score(badness(ms, space, adjustment, total), total)
    }
}

/// The process's space and name, unless it has left it. Who calls gives the space back by
/// [`Kernel::leave_space`].
fn space_of<'vm, F: Format>(
    process: &Process,
    threads: &BTreeMap<Id, Thread<'vm, F>>,
) -> Option<(Arc<Space<'vm, F>>, [u8; 16])> {
    let threads = process.threads.iter().filter_map(|thread| threads.get(thread));
    threads.into_iter().find_map(|thread| thread.shown.space())
}

/// What is written to /proc/PID/oom_score_adj, as the kernel reads numbers: EINVAL for what is none or
/// out of range.
pub(crate) fn adjustment(text: &[u8]) -> Result<i16, Errno> {
    let text = str::from_utf8(text).map_err(|_| Errno::EINVAL)?.trim_ascii();
    let (negative, digits) = match text.strip_prefix('-') {
        Some(digits) => (true, digits),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    let (digits, radix) = match digits.strip_prefix("0x").or(digits.strip_prefix("0X")) {
        Some(digits) => (digits, 16),
        None if digits.len() > 1 && digits.starts_with('0') => (digits, 8),
        None => (digits, 10),
    };
    if digits.starts_with(['+', '-']) {
        return Err(Errno::EINVAL);
    }
    let number = i64::from_str_radix(digits, radix).map_err(|error| match error.kind() {
        IntErrorKind::PosOverflow => Errno::ERANGE,
        _ => Errno::EINVAL,
    })?;
    let number = if negative { -number } else { number };
    match i32::try_from(number) {
        Err(_) => Err(Errno::ERANGE),
        Ok(number) => i16::try_from(number)
            .ok()
            .filter(|number| (NEVER..=MOST).contains(number))
            .ok_or(Errno::EINVAL),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn adjustments_are_numbers_as_linux_reads_them() {
        for (text, number) in
            [("0", 0), (" -1000\n", -1000), ("+17", 17), ("0x3e8\n", 1000), ("-010", -8)]
        {
            assert_eq!(adjustment(text.as_bytes()), Ok(number), "{text:?}");
        }
        for text in ["", "x", "1001", "-1001", "1 2", "--1", "-+1", "+-1", "0x", "1.5", "\u{663}"] {
            assert_eq!(adjustment(text.as_bytes()), Err(Errno::EINVAL), "{text:?}");
        }
        for text in ["2147483648", "-2147483649", "99999999999999999999"] {
            assert_eq!(adjustment(text.as_bytes()), Err(Errno::ERANGE), "{text:?}");
        }
        assert_eq!(adjustment(b"\xff"), Err(Errno::EINVAL));
    }

    #[test]
    fn scores_are_linuxs() {
        assert_eq!(score(None, 1000), 0, "never chosen");
        assert_eq!(score(Some(0), 1000), 666, "nothing to be gained");
        assert_eq!(score(Some(1000), 1000), 1333, "all there is");
        assert_eq!(score(Some(-1000), 1000), 0);
    }
}
