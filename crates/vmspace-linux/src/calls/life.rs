//! Calls that make, end and wait for threads and processes.

use std::sync::Arc;

use vmspace::format::Format;

use super::{Call, Outcome, Stop};
use crate::Errno;
use crate::kernel::{State, attention};
use crate::task::{AlternateStack, Id, Process, Restart, Status, Task, Wait};

const CSIGNAL: u64 = 0xff;
const CLONE_VM: u64 = 0x100;
const CLONE_FS: u64 = 0x200;
const CLONE_FILES: u64 = 0x400;
const CLONE_SIGHAND: u64 = 0x800;
const CLONE_VFORK: u64 = 0x4000;
const CLONE_PARENT: u64 = 0x8000;
const CLONE_THREAD: u64 = 0x1_0000;
const CLONE_SETTLS: u64 = 0x8_0000;
const CLONE_PARENT_SETTID: u64 = 0x10_0000;
const CLONE_CHILD_CLEARTID: u64 = 0x20_0000;
const CLONE_CHILD_SETTID: u64 = 0x100_0000;
/// New namespaces and CLONE_PIDFD: not there.
const CLONE_OTHER: u64 = 0x7e02_1000;

const WNOHANG: u64 = 1;
const WUNTRACED: u64 = 2;
const WEXITED: u64 = 4;
const WCONTINUED: u64 = 8;
const WNOWAIT: u64 = 0x100_0000;
const W_ANY_KIND: u64 = 0xe000_0000;

/// What `wait` is asked for.
struct Wanted {
    which: Which,
    exited: bool,
    stopped: bool,
    continued: bool,
    /// Children of any exit signal, or none.
    any_kind: bool,
    keep: bool,
}

enum Which {
    Any,
    Process(Id),
    Group(Id),
}

impl<'vm, F: Format> Call<'_, 'vm, F> {
    /// `clone(flags, stack, parent's word, thread pointer, child's word)`, RISC-V's order.
    pub(super) fn clone(&mut self) -> Outcome {
        let [flags, _, parent_word, _, child_word, _] = self.args;
        let has = |flag| flags & flag != 0;
        self.check_clone(flags)?;
        // Reserve the number first, so that nothing is copied for a child that may not be.
        let id = self.kernel.new_id(&mut self.kernel.lock())?;
        let child = self.child(id)?;
        let number = id.to_le_bytes();
        if has(CLONE_PARENT_SETTID) {
            self.store(parent_word, &number);
        }
        if has(CLONE_CHILD_SETTID) {
            self.kernel.store(self.ms, &child, child_word, &number);
        }
        self.begin(child, flags)
    }

    /// Whether Linux, and we, can make such a child.
    fn check_clone(&self, flags: u64) -> Result<(), Errno> {
        let has = |flag| flags & flag != 0;
        if has(CLONE_OTHER)
            || has(CLONE_THREAD) && !has(CLONE_SIGHAND)
            || has(CLONE_SIGHAND) && !has(CLONE_VM)
            || flags & CSIGNAL > 64
        {
            return Err(Errno::EINVAL);
        }
        if has(CLONE_SIGHAND) && !has(CLONE_THREAD) || has(CLONE_PARENT) {
            self.kernel.counts.refuse("clone of a kind that is not there");
            return Err(Errno::EINVAL);
        }
        Ok(())
    }

    /// A copy of the task that shares what the flags say.
    fn child(&mut self, id: Id) -> Result<Box<Task<'vm, F>>, Errno> {
        let [flags, stack, _, thread_pointer, child_word, _] = self.args;
        let has = |flag| flags & flag != 0;
        let space = match has(CLONE_VM) {
            true => self.task.space.clone(),
            false => {
                let child = self.task.space.fork(self.ms).map_err(|_| Errno::ENOMEM)?;
                Arc::new(child)
            }
        };
        let mut registers = self.task.registers.clone();
        registers.pc = registers.pc.wrapping_add(4);
        registers.x[10] = 0;
        if stack != 0 {
            registers.x[2] = stack;
        }
        if has(CLONE_SETTLS) {
            registers.x[4] = thread_pointer;
        }
        let files = match has(CLONE_FILES) {
            true => self.task.files.clone(),
            false => Arc::new(self.task.files.copy()),
        };
        let place = match has(CLONE_FS) {
            true => self.task.place.clone(),
            false => Arc::new(self.task.place.copy()),
        };
        let shares_stack = has(CLONE_VM) && !has(CLONE_VFORK);
        Ok(Box::new(Task {
            id,
            process: if has(CLONE_THREAD) { self.task.process } else { id },
            registers,
            space,
            files,
            place,
            attention: attention(),
            clear_child_id: if has(CLONE_CHILD_CLEARTID) { child_word } else { 0 },
            robust_list: 0,
            name: self.task.name,
            restart: Restart::default(),
            saved_mask: None,
            alternate: if shares_stack { AlternateStack::default() } else { self.task.alternate },
            image: None,
        }))
    }

    /// Makes the child known and lets it run.
    fn begin(&mut self, task: Box<Task<'vm, F>>, flags: u64) -> Outcome {
        let id = task.id;
        let mut state = self.kernel.lock();
        let state = &mut *state;
        // Others may have come meanwhile.
        self.kernel.check_limit(state)?;
        let parent = state.processes.get(&self.task.process).ok_or(Errno::EAGAIN)?;
        if parent.dying.is_some() || parent.successor.is_some() {
            return Err(Stop::Dying);
        }
        let vfork = flags & CLONE_VFORK != 0;
        if flags & CLONE_THREAD == 0 {
            let child = Process {
                parent: self.task.process,
                group: parent.group,
                session: parent.session,
                threads: Vec::new(),
                actions: parent.actions,
                pending: Default::default(),
                dying: None,
                successor: None,
                executed: false,
                executable: parent.executable.clone(),
                zombie: None,
                stopped: false,
                news: None,
                exit_signal: (flags & CSIGNAL) as u8,
                exit_code: 0,
                vfork: vfork.then_some(self.task.id),
                oom_adjustment: parent.oom_adjustment,
                victim: None,
            };
            state.processes.insert(id, child);
        }
        let blocked = state.threads.get(&self.task.id).map(|t| t.blocked).unwrap_or_default();
        self.kernel.start(state, task, blocked);
        if vfork && flags & CLONE_THREAD == 0 {
            self.kernel.sleep(state, self.task.id, Wait::Vfork(id), None);
            return Err(Stop::Parked);
        }
        Ok(id.cast_unsigned().into())
    }

    pub(super) fn exit_group(&mut self) -> Outcome {
        let status = Status::Exited(self.args[0] as u8);
        self.kernel.kill(&mut self.kernel.lock(), self.task.process, status);
        Err(Stop::Dying)
    }

    pub(super) fn set_tid_address(&mut self) -> Outcome {
        self.task.clear_child_id = self.args[0];
        Ok(self.task.id.cast_unsigned().into())
    }

    pub(super) fn set_robust_list(&mut self) -> Outcome {
        let [head, length, ..] = self.args;
        if length != 24 {
            return Err(Errno::EINVAL.into());
        }
        self.task.robust_list = head;
        Ok(0)
    }

    pub(super) fn get_robust_list(&mut self) -> Outcome {
        let [id, head, length, ..] = self.args;
        if id != 0 && id as Id != self.task.id {
            return Err(Errno::EPERM.into());
        }
        let list = self.task.robust_list;
        self.put_words(length, &[24])?;
        self.put_words(head, &[list])?;
        Ok(0)
    }

    pub(super) fn sched_getaffinity(&mut self) -> Outcome {
        let [id, length, mask, ..] = self.args;
        let harts = self.kernel.vm.platform().harts();
        let bytes = harts.div_ceil(64) * 8;
        if (length as usize) < bytes || length % 8 != 0 {
            return Err(Errno::EINVAL.into());
        }
        if id != 0 && !self.kernel.lock().threads.contains_key(&(id as Id)) {
            return Err(Errno::ESRCH.into());
        }
        let mut set = vec![0u8; bytes];
        for hart in 0..harts {
            set[hart / 8] |= 1 << (hart % 8);
        }
        self.put(mask, &set)?;
        Ok(bytes as u64)
    }

    pub(super) fn wait4(&mut self) -> Outcome {
        let [id, word, options, usage, ..] = self.args;
        if options & !(WNOHANG | WUNTRACED | WCONTINUED | W_ANY_KIND) != 0 {
            return Err(Errno::EINVAL.into());
        }
        let id = id as Id;
        let which = match id {
            -1 => Which::Any,
            0 => Which::Group(self.group()),
            ..-1 => Which::Group(id.checked_neg().ok_or(Errno::ESRCH)?),
            _ => Which::Process(id),
        };
        let wanted = Wanted {
            which,
            exited: true,
            stopped: options & WUNTRACED != 0,
            continued: options & WCONTINUED != 0,
            any_kind: options & W_ANY_KIND != 0,
            keep: false,
        };
        let Some((child, status)) = self.wait(&wanted, options & WNOHANG != 0)? else {
            return Ok(0);
        };
        if word != 0 {
            self.put(word, &status.word().to_le_bytes())?;
        }
        if usage != 0 {
            self.put_words(usage, &[0; 18])?;
        }
        Ok(child.cast_unsigned().into())
    }

    pub(super) fn waitid(&mut self) -> Outcome {
        let [kind, id, info, options, usage, _] = self.args;
        let events = WEXITED | WUNTRACED | WCONTINUED;
        let known = events | WNOHANG | WNOWAIT | W_ANY_KIND;
        if options & events == 0 || options & !known != 0 {
            return Err(Errno::EINVAL.into());
        }
        let id = id as Id;
        let which = match kind {
            0 => Which::Any,
            1 if id > 0 => Which::Process(id),
            2 if id > 0 => Which::Group(id),
            2 if id == 0 => Which::Group(self.group()),
            _ => return Err(Errno::EINVAL.into()),
        };
        let wanted = Wanted {
            which,
            exited: options & WEXITED != 0,
            stopped: options & WUNTRACED != 0,
            continued: options & WCONTINUED != 0,
            any_kind: options & W_ANY_KIND != 0,
            keep: options & WNOWAIT != 0,
        };
        let found = self.wait(&wanted, options & WNOHANG != 0)?;
        if usage != 0 {
            self.put_words(usage, &[0; 18])?;
        }
        if info != 0 {
            let bytes = found.map_or([0; 128], |(child, status)| status.info(child).bytes());
            self.put(info, &bytes)?;
        }
        Ok(0)
    }

    /// A child with something to tell; `None` when there is none yet and `hang` is not wanted.
    fn wait(&mut self, wanted: &Wanted, no_hang: bool) -> Result<Option<(Id, Status)>, Stop> {
        let mut state = self.kernel.lock();
        let state: &mut State<'vm, F> = &mut state;
        let me = self.task.process;
        let mut any = false;
        let mut found = None;
        for (id, child) in state.processes.iter_mut().filter(|(_, p)| p.parent == me) {
            if !wanted.covers(*id, child) {
                continue;
            }
            any = true;
            if let Some(status) = wanted.take_news(child) {
                found = Some((*id, status));
                break;
            }
        }
        match found {
            Some((id, Status::Exited(_) | Status::Killed(_))) if !wanted.keep => {
                state.processes.remove(&id);
                Ok(found)
            }
            Some(_) => Ok(found),
            None if !any => Err(Errno::ECHILD.into()),
            None if no_hang => Ok(None),
            None => {
                self.kernel.sleep(state, self.task.id, Wait::Child, None);
                Err(Stop::Parked)
            }
        }
    }

    /// The caller's process group.
    fn group(&self) -> Id {
        self.kernel.lock().processes.get(&self.task.process).map_or(0, |p| p.group)
    }
}

impl Wanted {
    fn covers(&self, id: Id, child: &Process) -> bool {
        let kind = self.any_kind || child.exit_signal == crate::signal::SIGCHLD;
        kind && match self.which {
            Which::Any => true,
            Which::Process(wanted) => wanted == id,
            Which::Group(group) => group == child.group,
        }
    }

    /// What the child has to tell that was asked for.
    fn take_news(&self, child: &mut Process) -> Option<Status> {
        if let Some(status) = child.zombie {
            return self.exited.then_some(status);
        }
        let asked = match child.news? {
            Status::Stopped(_) => self.stopped,
            Status::Continued => self.continued,
            _ => false,
        };
        match (asked, self.keep) {
            (true, true) => child.news,
            (true, false) => child.news.take(),
            (false, _) => None,
        }
    }
}
