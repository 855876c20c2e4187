//! Births and deaths of threads and processes.
//!
//! Guarantee: threads and unreaped processes together never exceed the limit. A process that is
//! killed ends in each of its threads, on a hart, the next time that the thread would go on; the
//! last one frees the memory and closes the files before the parent is told. Orphans are reaped as
//! Linux's init reaps them; the run ends when the initial process does.

use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};

use vmspace::MaySleep;
use vmspace::format::Format;

use crate::Errno;
use crate::files::proc::maps;
use crate::kernel::{Ending, Kernel, State};
use crate::signal::{Info, SIGCHLD};
use crate::space::Space;
use crate::task::{INIT, INITIAL, Id, Process, Status, Task, Thread, Wake};

/// Linux's default pid_max.
const LAST_ID: Id = 32_768;

impl<'vm, F: Format> Kernel<'vm, F> {
    /// A number for a new thread, or EAGAIN at the limit.
    pub fn new_id(&self, state: &mut State<'vm, F>) -> Result<Id, Errno> {
        self.check_limit(state)?;
        loop {
            state.last_id = if state.last_id >= LAST_ID { INITIAL } else { state.last_id + 1 };
            let id = state.last_id;
            let used = |p: &Process| p.group == id || p.session == id;
            if !state.threads.contains_key(&id)
                && !state.processes.contains_key(&id)
                && !state.processes.values().any(used)
            {
                return Ok(id);
            }
        }
    }

    /// EAGAIN when there may be no further thread.
    pub fn check_limit(&self, state: &State<'vm, F>) -> Result<(), Errno> {
        let zombies = state.processes.values().filter(|p| p.zombie.is_some()).count();
        match state.threads.len() + zombies < self.limit {
            true => Ok(()),
            false => Err(Errno::EAGAIN),
        }
    }

    /// Makes a thread known, and ready to run.
    pub fn start(
        &self,
        state: &mut State<'vm, F>,
        task: Box<Task<'vm, F>>,
        blocked: crate::signal::SignalSet,
    ) {
        let thread = Thread {
            process: task.process,
            blocked,
            pending: Default::default(),
            attention: task.attention.clone(),
            wait: None,
            timer: None,
            woken: None,
            parked: None,
            shown: task.shown(),
        };
        if let Some(process) = state.processes.get_mut(&task.process) {
            process.threads.push(task.id);
        }
        state.threads.insert(task.id, thread);
        self.counts.tasks.add(1);
        self.enqueue(state, task);
    }

    /// Ends a process: its threads will end as they would go on. The first status stands.
    pub fn kill(&self, state: &mut State<'vm, F>, id: Id, status: Status) {
        let Some(process) = state.processes.get_mut(&id) else { return };
        if process.dying.is_some() || process.zombie.is_some() {
            return;
        }
        process.dying = Some(status);
        self.summon(state, id);
        if id == INITIAL {
            self.end(state, ending(status));
        }
    }

    /// Makes each thread of a process look at what has become of it.
    pub fn summon(&self, state: &mut State<'vm, F>, id: Id) {
        let Some(process) = state.processes.get(&id) else { return };
        for thread in process.threads.clone() {
            if let Some(thread) = state.threads.get(&thread) {
                thread.attention.store(true, Ordering::Release);
            }
            self.wake(state, thread, Wake::Again);
        }
    }

    /// Ends a thread: what it owes to others, its files and memory, then the thread, and with the
    /// last one the process.
    pub fn leave(&self, ms: &mut MaySleep, mut task: Box<Task<'vm, F>>, code: u8) {
        self.leave_memory(ms, &mut task);
        if task.process == INITIAL {
            self.keep_maps(ms);
        }
        self.lock().threads.remove(&task.id);
        let Task { id, process, space, files, image, .. } = *task;
        self.close_all(files);
        self.counts.sample(self.vm);
        drop(image);
        self.leave_space(ms, space);
        let mut state = self.lock();
        let state = &mut *state;
        let Some(of) = state.processes.get_mut(&process) else { return };
        of.threads.retain(|thread| *thread != id);
        if id == process {
            of.exit_code = code;
        }
        match (&of.threads[..], of.successor) {
            ([], _) => self.bury(state, process),
            ([one], Some(successor)) if *one == successor => self.summon(state, process),
            _ => {}
        }
    }

    /// Notes the initial process's mappings, if they are wanted: the last of its threads does so
    /// when it ends, or who ends the run while it still has threads.
    pub fn keep_maps(&self, ms: &mut MaySleep) {
        let shown = match self.wants_maps {
            true => {
                self.lock().threads.values().find(|t| t.process == INITIAL).map(|t| t.shown.view())
            }
            false => None,
        };
        if let Some(view) = shown.flatten() {
            let text = maps(ms, self, &view.space);
            *self.last_maps.lock().unwrap_or_else(PoisonError::into_inner) = Some(text);
            self.close_all(view.files);
        }
    }

    /// What a thread owes to those who share its memory, before it leaves that: robust futexes, and
    /// the word that says that it is there.
    pub fn leave_memory(&self, ms: &mut MaySleep, task: &mut Task<'vm, F>) {
        self.leave_robust_list(ms, task);
        let word = std::mem::take(&mut task.clear_child_id);
        if word != 0 {
            self.store(ms, task, word, &[0; 4]);
            self.wake_futex(ms, task, word, 1);
        }
    }

    /// Gives up a use of a space. The last one ends it, and the files go that were mapped nowhere else.
    pub fn leave_space(&self, ms: &mut MaySleep, space: Arc<Space<'vm, F>>) {
        let space = Arc::into_inner(space);
        let files = space.map(|space| self.mapped(ms, &space, 0..u64::MAX)).unwrap_or_default();
        self.vm.reap(ms);
        self.drop_unmapped(ms, files);
    }

    /// The process has no threads left: it becomes a zombie, or nothing.
    fn bury(&self, state: &mut State<'vm, F>, id: Id) {
        let Some(process) = state.processes.get_mut(&id) else { return };
        let status = process.dying.unwrap_or(Status::Exited(process.exit_code));
        process.zombie = Some(status);
        let (parent, signal) = (process.parent, process.exit_signal);
        self.resume_vfork(state, id);
        if id == INITIAL {
            return self.end(state, ending(status));
        }
        self.adopt(state, id);
        let reaps = |p: &Process| p.actions[usize::from(SIGCHLD)].reaps();
        match state.processes.get(&parent) {
            Some(p) if signal == SIGCHLD && !reaps(p) => {}
            Some(_) if signal != SIGCHLD => {}
            _ => drop(state.processes.remove(&id)),
        }
        self.tell_parent(state, parent, Info { signal, ..status.info(id) });
    }

    /// The children of a dead process have [`INIT`] for a parent, which reaps them.
    fn adopt(&self, state: &mut State<'vm, F>, dead: Id) {
        for process in state.processes.values_mut().filter(|p| p.parent == dead) {
            process.parent = INIT;
        }
        state.processes.retain(|_, p| p.parent != INIT || p.zombie.is_none());
    }
}

/// How the run ends when the initial process ends so.
fn ending(status: Status) -> Ending {
    match status {
        Status::Exited(code) => Ending::Exited(code),
        Status::Killed(signal) | Status::Stopped(signal) => Ending::Killed(signal),
        Status::Continued => Ending::Exited(0),
    }
}
