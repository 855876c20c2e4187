//! A process goes on as another program.
//!
//! Guarantee: `execve` fails with nothing changed, or the process's other threads end and the
//! thread that called it goes on, alone and under the process's number, as the first thread of the
//! new program. The new space stands before anything is given up, so being short of memory is
//! among the failures; a program that is larger than RLIMIT_AS kills the process, as on Linux.
//!
//! The protocol: the call makes an [`Image`], names its thread the process's successor and tells
//! the others to end ([`Kernel::succeed`]). On its way back to its program the thread waits until
//! it is alone ([`attend`](Kernel::attend)), then takes the image's place ([`Kernel::replace`]).

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use vmspace::MaySleep;
use vmspace::format::Format;
use vmspace_machine::riscv::Registers;

use crate::Errno;
use crate::calls::Stop;
use crate::elf::Executable;
use crate::kernel::{Kernel, State};
use crate::signal::{Action, SIGCHLD};
use crate::space::Space;
use crate::task::{AlternateStack, Id, Restart, Task, Wait, Wake};

/// A program that is ready to run in a space of its own.
pub(crate) struct Image<'vm, F: Format> {
    pub space: Space<'vm, F>,
    pub registers: Registers,
    /// What a thread of it is called.
    pub name: [u8; 16],
    pub executable: Executable,
}

/// What a thread is called that runs the program at this path: its last part, as far as it fits.
pub(crate) fn thread_name(path: &Path) -> [u8; 16] {
    let mut name = [0; 16];
    let last = path.file_name().unwrap_or_default().as_encoded_bytes();
    for (to, from) in name[..15].iter_mut().zip(last) {
        *to = *from;
    }
    name
}

impl<'vm, F: Format> Kernel<'vm, F> {
    /// The point of no return: the process is to be the thread's alone. EAGAIN when another of its
    /// threads came first.
    pub fn succeed(&self, task: &Task<'vm, F>) -> Result<(), Stop> {
        let mut state = self.lock();
        let process = state.processes.get_mut(&task.process).ok_or(Stop::Dying)?;
        if process.dying.is_some() {
            return Err(Stop::Dying);
        }
        if process.successor.is_some() {
            return Err(Errno::EAGAIN.into());
        }
        process.successor = Some(task.id);
        self.summon(&mut state, task.process);
        Ok(())
    }

    /// Makes the task the first thread of the new program.
    pub fn replace(&self, ms: &mut MaySleep, task: &mut Task<'vm, F>) {
        let Some(image) = task.image.take() else { return };
        self.leave_memory(ms, task);
        {
            let mut state = self.lock();
            self.become_first(&mut state, task.id, task.process);
            task.id = task.process;
            if let Some(process) = state.processes.get_mut(&task.process) {
                process.successor = None;
                process.executable = image.executable;
                process.executed = true;
                process.exit_signal = SIGCHLD;
                process.actions.iter_mut().for_each(Action::reset);
            }
            self.resume_vfork(&mut state, task.process);
        }
        if Arc::strong_count(&task.files) > 1 {
            let own = Arc::new(task.files.copy());
            self.close_all(std::mem::replace(&mut task.files, own));
        }
        for descriptor in task.files.take_close_on_exec() {
            self.close_of(&task.files, descriptor);
        }
        task.registers = image.registers;
        task.name = image.name;
        task.alternate = AlternateStack::default();
        task.restart = Restart::default();
        // Signals that came meanwhile find the new program.
        task.attention.store(true, Ordering::Release);
        let before = std::mem::replace(&mut task.space, Arc::new(image.space));
        if let Some(thread) = self.lock().threads.get_mut(&task.id) {
            thread.shown = task.shown();
        }
        self.leave_space(ms, before);
    }

    /// A thread that is alone takes its process's number, which was the first thread's.
    fn become_first(&self, state: &mut State<'vm, F>, id: Id, process: Id) {
        if let Some(thread) = state.threads.remove(&id) {
            state.threads.insert(process, thread);
        }
        if let Some(process_of) = state.processes.get_mut(&process) {
            process_of.threads = vec![process];
        }
    }

    /// Lets a parent go on that waits for its child to leave its memory.
    pub fn resume_vfork(&self, state: &mut State<'vm, F>, id: Id) {
        if let Some(thread) = state.processes.get_mut(&id).and_then(|child| child.vfork.take())
            && state.threads.get(&thread).is_some_and(|t| t.wait == Some(Wait::Vfork(id)))
        {
            self.wake(state, thread, Wake::Return(i64::from(id)));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_threads_name_is_the_files_cut_to_fifteen_bytes() {
        assert_eq!(&thread_name(Path::new("/bin/sh"))[..3], b"sh\0");
        assert_eq!(&thread_name(Path::new("a/much-too-long-a-name")), b"much-too-long-a\0");
    }
}
