//! What the files of /proc say.

use std::fmt::Write;

use vmspace::MaySleep;
use vmspace::format::Format;

use super::{About, Machine, Proc, View, maps};
use crate::Errno;
use crate::kernel::Kernel;
use crate::task::{Id, Task};

/// A process's numbers, under the kernel's lock.
struct Numbers {
    parent: Id,
    group: Id,
    session: Id,
    threads: usize,
    state: (char, &'static str),
}

impl<'vm, F: Format> Kernel<'vm, F> {
    /// The text of a file of /proc.
    pub fn read_proc(
        &self,
        ms: &mut MaySleep,
        task: &Task<'vm, F>,
        proc: Proc,
    ) -> Result<Vec<u8>, Errno> {
        match proc {
            Proc::Machine(Machine::Meminfo) => Ok(self.meminfo().into_bytes()),
            Proc::Machine(Machine::Cpuinfo) => Ok(self.cpuinfo().into_bytes()),
            Proc::Machine(Machine::Overcommit) => Ok(b"0\n".to_vec()),
            Proc::Machine(Machine::MaxMapCount) => Ok(b"65530\n".to_vec()),
            Proc::About(id, file) => {
                self.viewing(task, id, |view| self.about(ms, task, id, view, file))
            }
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
            About::Maps => maps(ms, self, &view.space),
            About::Comm => format!("{name}\n"),
            About::Cmdline => {
                let (start, end) = view.space.marks.arguments;
                let mut bytes = vec![0; (end - start) as usize];
                let read = view.space.read(ms, start, &mut bytes);
                bytes.truncate(read);
                return Ok(bytes);
            }
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
                     FDSize:\t{}\nVmSize:\t{:8} kB\nVmRSS:\t{:8} kB\nThreads:\t{threads}\n",
                    view.place.mask(),
                    crate::files::MOST_FILES,
                    kib(usage.mapped),
                    kib(usage.resident),
                )
            }
        };
        Ok(text.into_bytes())
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
        let (parent, group, session) = (process.parent, process.group, process.session);
        Ok(Numbers { parent, group, session, threads: process.threads.len(), state: word })
    }

    fn meminfo(&self) -> String {
        let kib = |frames: u64| frames << F::PAGE_SHIFT >> 10;
        let (total, free) = (kib(self.vm.total_frames()), kib(self.vm.free_frames()));
        let rows = [
            ("MemTotal:", total),
            ("MemFree:", free),
            ("MemAvailable:", free),
            ("Buffers:", 0),
            ("Cached:", 0),
            ("SwapTotal:", 0),
            ("SwapFree:", 0),
        ];
        rows.iter().map(|(name, kib)| format!("{name:<15}{kib:>9} kB\n")).collect()
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

/// A thread's name, up to its zero.
fn comm(name: &[u8; 16]) -> String {
    let end = name.iter().position(|byte| *byte == 0).unwrap_or(name.len());
    String::from_utf8_lossy(&name[..end]).into_owned()
}

/// /proc/PID/stat, with what is known here; the rest is 0.
fn stat(id: Id, name: &str, numbers: &Numbers, size: u64, resident: u64) -> String {
    let Numbers { parent, group, session, threads, state: (letter, _) } = numbers;
    let mut fields = [0u64; 45];
    // From field 8 (tpgid) on: num_threads is field 20, vsize 23, rss 24.
    fields[20 - 8] = *threads as u64;
    fields[23 - 8] = size;
    fields[24 - 8] = resident;
    let rest: Vec<String> = fields.iter().map(u64::to_string).collect();
    let rest = rest.join(" ");
    format!("{id} ({name}) {letter} {parent} {group} {session} 0 {rest}\n")
}
