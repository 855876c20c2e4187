//! What the files of /proc say.

use std::fmt::Write;

use vmspace::MaySleep;
use vmspace::format::{Format, Geometry};

use super::maps::listing;
use super::{About, Machine, Proc, View};
use crate::Errno;
use crate::files::window::Window;
use crate::kernel::Kernel;
use crate::oom;
use crate::space::{MOST_MAPPINGS, Space};
use crate::task::{Id, Task};

/// The bytes of a word of pagemap.
pub(super) const WORD: u64 = 8;

/// A process's numbers, under the kernel's lock.
struct Numbers {
    parent: Id,
    group: Id,
    session: Id,
    threads: usize,
    state: (char, &'static str),
    oom_adjustment: i16,
}

/// A text of /proc that is being read; the cursor of listings is an address.
pub(crate) type Text = Window<u8, u64>;

impl<'vm, F: Format> Kernel<'vm, F> {
    /// Reads from a file of /proc; fewer bytes than asked for only at its end, or where the process that
    /// it is about ends meanwhile. ESRCH when that has ended; what was its pagemap is empty then.
    pub fn read_proc(
        &self,
        ms: &mut MaySleep,
        task: &Task<'vm, F>,
        (proc, text): (Proc, &Text),
        at: u64,
        into: &mut [u8],
    ) -> Result<usize, Errno> {
        if let Proc::About(id, About::Pagemap) = proc {
            let words = self.viewing(task, id, |view| Ok(pagemap(ms, &view.space, at, into)));
            return Ok(words.unwrap_or(0));
        }
        let mut done = 0;
        while done < into.len() {
            let rest = &mut into[done..];
            let read = text.read(
                at.saturating_add(done as u64),
                |from| self.part_of_proc(ms, task, proc, *from).map_err(gone),
                |bytes| {
                    let length = bytes.len().min(rest.len());
                    rest[..length].copy_from_slice(&bytes[..length]);
                    length
                },
            );
            match read {
                Ok(0) => break,
                Ok(read) => done += read,
                // What was read is told first.
                Err(_) if done > 0 => break,
                Err(error) => return Err(error),
            }
        }
        Ok(done)
    }

    /// A part of a file's text, and where the next one begins.
    fn part_of_proc(
        &self,
        ms: &mut MaySleep,
        task: &Task<'vm, F>,
        proc: Proc,
        from: u64,
    ) -> Result<(Vec<u8>, Option<u64>), Errno> {
        let whole = |text: String| Ok((text.into_bytes(), None));
        match proc {
            Proc::Machine(Machine::Meminfo) => whole(self.meminfo()),
            Proc::Machine(Machine::Vmstat) => whole(self.vmstat()),
            Proc::Machine(Machine::Swaps) => whole(self.proc_swaps()),
            Proc::Machine(Machine::Cpuinfo) => whole(self.cpuinfo()),
            Proc::Machine(Machine::Overcommit) => whole("0\n".to_string()),
            Proc::Machine(Machine::MaxMapCount) => whole(format!("{MOST_MAPPINGS}\n")),
            Proc::About(id, file) => self.viewing(task, id, |view| match file {
                About::Maps | About::Smaps => {
                    let smaps = file == About::Smaps;
                    let (text, next) = listing(ms, self, &view.space, from, smaps);
                    Ok((text.into_bytes(), next))
                }
                _ => Ok((self.about(ms, task, id, view, file)?, None)),
            }),
            _ => Err(Errno::EISDIR),
        }
    }

    fn about(
        &self,
        ms: &mut MaySleep,
        task: &Task<'vm, F>,
        id: Id,
        view: &View<'vm, F>,
        file: About,
    ) -> Result<Vec<u8>, Errno> {
        let numbers = self.numbers(id, id == task.process)?;
        let usage = view.space.usage(ms);
        let name = comm(&view.name);
        let text = match file {
            About::Comm => format!("{name}\n"),
            About::OomScore => {
                format!("{}\n", self.oom_score(ms, &view.space, numbers.oom_adjustment))
            }
            About::OomScoreAdj => format!("{}\n", numbers.oom_adjustment),
            About::Cmdline => return Ok(arguments(ms, &view.space)),
            About::Statm => format!("{} {} 0 0 0 0 0\n", usage.mapped, usage.resident),
            About::Stat => stat(id, &name, &numbers, usage.mapped << F::PAGE_SHIFT, usage.resident),
            About::Status => {
                let kib = |pages: u64| pages << F::PAGE_SHIFT >> 10;
                let Numbers { parent, threads, state: (letter, word), .. } = numbers;
                let user = crate::stack::ID;
                format!(
                    "Name:\t{name}\nUmask:\t{:04o}\nState:\t{letter} ({word})\nTgid:\t{id}\n\
                     Pid:\t{id}\nPPid:\t{parent}\nTracerPid:\t0\n\
                     Uid:\t{user}\t{user}\t{user}\t{user}\nGid:\t{user}\t{user}\t{user}\t{user}\n\
                     FDSize:\t{}\nVmSize:\t{:8} kB\nVmLck:\t{:8} kB\nVmRSS:\t{:8} kB\n\
                     VmPTE:\t{:8} kB\nVmSwap:\t{:8} kB\n\
                     Threads:\t{threads}\n",
                    view.place.mask(),
                    crate::files::MOST_FILES,
                    kib(usage.mapped),
                    kib(usage.locked),
                    kib(usage.resident),
                    kib(view.space.table_frames()),
                    kib(view.space.swapped()),
                )
            }
            About::Maps | About::Smaps | About::Pagemap => return Err(Errno::EINVAL),
        };
        Ok(text.into_bytes())
    }

    /// Writes to a file of /proc: all of it is read as one number.
    pub fn write_proc(&self, proc: Proc, bytes: &[u8]) -> Result<usize, Errno> {
        let Proc::About(id, About::OomScoreAdj) = proc else { return Err(Errno::EBADF) };
        let adjustment = oom::adjustment(bytes)?;
        let mut state = self.lock();
        state.processes.get_mut(&id).ok_or(Errno::ESRCH)?.oom_adjustment = adjustment;
        Ok(bytes.len())
    }

    fn numbers(&self, id: Id, runs: bool) -> Result<Numbers, Errno> {
        let state = self.lock();
        let process = state.processes.get(&id).ok_or(Errno::ENOENT)?;
        let waits = |thread: &Id| state.threads.get(thread).is_some_and(|t| t.wait.is_some());
        let word = match () {
            () if process.zombie.is_some() => ('Z', "zombie"),
            () if process.stopped => ('T', "stopped"),
            () if !runs && process.threads.iter().all(waits) => ('S', "sleeping"),
            () => ('R', "running"),
        };
        Ok(Numbers {
            parent: process.parent,
            group: process.group,
            session: process.session,
            threads: process.threads.len(),
            state: word,
            oom_adjustment: process.oom_adjustment,
        })
    }

    fn cpuinfo(&self) -> String {
        let mut text = String::new();
        for hart in 0..self.vm.platform().harts() {
            // Writing to a string does not fail.
            let _ = writeln!(text, "processor\t: {hart}\nhart\t\t: {hart}\nisa\t\t: rv64imafdc\n");
        }
        text
    }
}

/// What has no name any more, to who has it open.
fn gone(error: Errno) -> Errno {
    if error == Errno::ENOENT { Errno::ESRCH } else { error }
}

/// The strings of a program's arguments, each with its zero.
fn arguments<F: Format>(ms: &mut MaySleep, space: &Space<'_, F>) -> Vec<u8> {
    let (start, end) = space.marks.arguments;
    let mut bytes = vec![0; (end - start) as usize];
    let read = space.read(ms, start, &mut bytes);
    bytes.truncate(read);
    bytes
}

/// /proc/PID/pagemap from byte `at` on: a word a page, whole words only; how many bytes. Where frames
/// and slots lie is not told, as Linux tells nobody without CAP_SYS_ADMIN; pages are not watched for
/// being written.
fn pagemap<F: Format>(ms: &mut MaySleep, space: &Space<'_, F>, at: u64, into: &mut [u8]) -> usize {
    const FRAME: u64 = (1 << 55) - 1;
    let page = at / WORD;
    if page >= F::USER_PAGES {
        return 0;
    }
    let mut words = vec![0; into.len() / WORD as usize];
    let there = space.pagemap(ms, page << F::PAGE_SHIFT, &mut words).unwrap_or(0);
    for (bytes, word) in into.as_chunks_mut().0.iter_mut().zip(&words[..there]) {
        *bytes = (word & !FRAME).to_le_bytes();
    }
    there * WORD as usize
}

/// A thread's name, up to its zero.
pub(crate) fn comm(name: &[u8; 16]) -> String {
    let end = name.iter().position(|byte| *byte == 0).unwrap_or(name.len());
    String::from_utf8_lossy(&name[..end]).into_owned()
}

/// /proc/PID/stat, with what is known here; the rest is 0.
fn stat(id: Id, name: &str, numbers: &Numbers, size: u64, resident: u64) -> String {
    let Numbers { parent, group, session, threads, state: (letter, _), .. } = numbers;
    let mut fields = [0u64; 45];
    // From field 8 (tpgid) on: num_threads is field 20, vsize 23, rss 24.
    fields[20 - 8] = *threads as u64;
    fields[23 - 8] = size;
    fields[24 - 8] = resident;
    let rest: Vec<String> = fields.iter().map(u64::to_string).collect();
    let rest = rest.join(" ");
    format!("{id} ({name}) {letter} {parent} {group} {session} 0 {rest}\n")
}
