//! Calls about who is who: parents, groups, sessions.

use vmspace::format::Format;

use super::{Call, Outcome};
use crate::Errno;
use crate::task::{Id, Process};

impl<F: Format> Call<'_, '_, F> {
    /// Looks a process up (0: the caller's) and asks it something.
    fn of_process(&self, id: u64, ask: impl Fn(&Process) -> Id) -> Outcome {
        let id = if id as Id == 0 { self.task.process } else { id as Id };
        let state = self.kernel.lock();
        let process = state.processes.get(&id).ok_or(Errno::ESRCH)?;
        Ok(ask(process).cast_unsigned().into())
    }

    pub(super) fn getppid(&mut self) -> Outcome {
        self.of_process(0, |process| process.parent)
    }

    pub(super) fn getpgid(&mut self) -> Outcome {
        self.of_process(self.args[0], |process| process.group)
    }

    pub(super) fn getsid(&mut self) -> Outcome {
        self.of_process(self.args[0], |process| process.session)
    }

    pub(super) fn setpgid(&mut self) -> Outcome {
        let me = self.task.process;
        let id = if self.args[0] as Id == 0 { me } else { self.args[0] as Id };
        let group = if self.args[1] as Id == 0 { id } else { self.args[1] as Id };
        if group < 0 {
            return Err(Errno::EINVAL.into());
        }
        let mut state = self.kernel.lock();
        let session = state.processes.get(&me).map_or(0, |process| process.session);
        let known = |p: &Process| p.group == group && p.session == session;
        let exists = group == id || state.processes.values().any(known);
        let process = state.processes.get_mut(&id).ok_or(Errno::ESRCH)?;
        if id != me && process.parent != me {
            return Err(Errno::ESRCH.into());
        }
        if id != me && process.executed {
            return Err(Errno::EACCES.into());
        }
        if process.session != session || process.session == id || !exists {
            return Err(Errno::EPERM.into());
        }
        process.group = group;
        Ok(0)
    }

    pub(super) fn setsid(&mut self) -> Outcome {
        let me = self.task.process;
        let mut state = self.kernel.lock();
        if state.processes.values().any(|process| process.group == me) {
            return Err(Errno::EPERM.into());
        }
        let process = state.processes.get_mut(&me).ok_or(Errno::ESRCH)?;
        (process.session, process.group) = (me, me);
        Ok(me.cast_unsigned().into())
    }
}
