//! `execve`: from a path, arguments and an environment to a program that is ready to run.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;

use rustix::fs::OFlags;
use vmspace::format::Format;

use super::{Call, Outcome, Stop};
use crate::Errno;
use crate::addresses::Addresses;
use crate::elf::{Executable, Program};
use crate::exec::{Image, thread_name};
use crate::files::node::Node;
use crate::files::stat::{S_IFLNK, S_IFREG};
use crate::load::load;
use crate::script::{self, Head};
use crate::signal::SIGSEGV;
use crate::stack::{self, MOST_ARGUMENTS, MOST_STRING, Start};
use crate::task::Status;

/// How often a script may be the interpreter of a script.
const MOST_SCRIPTS: usize = 5;

const AT_FDCWD: i32 = -100;
const AT_SYMLINK_NOFOLLOW: u64 = 0x100;
const AT_EMPTY_PATH: u64 = 0x1000;

impl<'vm, F: Format> Call<'_, 'vm, F> {
    pub(super) fn execve(&mut self) -> Outcome {
        let [path, arguments, environment, ..] = self.args;
        self.exec(AT_FDCWD, path, arguments, environment, 0)
    }

    pub(super) fn execveat(&mut self) -> Outcome {
        let [directory, path, arguments, environment, flags, _] = self.args;
        self.exec(directory as i32, path, arguments, environment, flags)
    }

    fn exec(
        &mut self,
        directory: i32,
        path: u64,
        arguments: u64,
        environment: u64,
        flags: u64,
    ) -> Outcome {
        if flags & !(AT_SYMLINK_NOFOLLOW | AT_EMPTY_PATH) != 0 {
            return Err(Errno::EINVAL.into());
        }
        let path = self.get_string(path)?;
        let executable = self.open_program(directory, &path, flags)?;
        let mut start = Start {
            name: OsString::from_vec(path),
            arguments: self.get_strings(arguments, 0)?,
            environment: Vec::new(),
            random: self.kernel.random.sixteen(),
        };
        if start.arguments.is_empty() {
            start.arguments.push(OsString::new());
        }
        let taken = start.arguments.iter().map(|string| taken(string)).sum();
        start.environment = self.get_strings(environment, taken)?;
        let image = self.image(executable, start)?;
        self.kernel.succeed(self.task)?;
        self.task.image = Some(Box::new(image));
        Err(Stop::Replaced)
    }

    /// The strings that an array of pointers names, which take so much already.
    fn get_strings(&mut self, array: u64, mut used: usize) -> Result<Vec<OsString>, Errno> {
        let mut strings = Vec::new();
        if array == 0 {
            return Ok(strings);
        }
        for n in 0.. {
            let [address] = self.get_words(array.wrapping_add(8 * n))?;
            if address == 0 {
                break;
            }
            let string = self.get_bounded(address, MOST_STRING)?.ok_or(Errno::E2BIG)?;
            let string = OsString::from_vec(string);
            used += taken(&string);
            if used > MOST_ARGUMENTS {
                return Err(Errno::E2BIG);
            }
            strings.push(string);
        }
        Ok(strings)
    }

    /// The program in a space of its own, by way of its interpreters.
    fn image(&mut self, executable: Executable, start: Start) -> Result<Image<'vm, F>, Stop> {
        let name = thread_name(Path::new(&start.name));
        let (executable, start) = self.interpreted(executable, start)?;
        let error = |error: crate::ProgramError| {
            if let crate::ProgramError::Dynamic(_) = error {
                self.kernel.counts.refuse("execve of a dynamically linked program");
            }
            error.errno()
        };
        stack::check_arguments(&start.arguments, &start.environment).map_err(error)?;
        let program = Program::read(executable, Addresses::of::<F>()).map_err(error)?;
        let limits = self.task.space.limits();
        let (space, registers) = match load(self.kernel.vm, self.ms, &program, &start, limits) {
            Err(crate::ProgramError::Limit) => return Err(self.outgrown()),
            loaded => loaded.map_err(error)?,
        };
        Ok(Image { space, registers, name, executable: program.executable })
    }

    /// The program is larger than the process may map. Linux finds out when the old one is gone, and
    /// kills.
    fn outgrown(&mut self) -> Stop {
        if let Err(stop) = self.kernel.succeed(self.task) {
            return stop;
        }
        let status = Status::Killed(SIGSEGV);
        self.kernel.kill(&mut self.kernel.lock(), self.task.process, status);
        Stop::Dying
    }

    /// What runs a script, and with which arguments: `#!`, as often as needed.
    fn interpreted(
        &mut self,
        mut executable: Executable,
        mut start: Start,
    ) -> Result<(Executable, Start), Stop> {
        let mut script = start.name.clone();
        for _ in 0..=MOST_SCRIPTS {
            let mut head = [0; script::HEAD];
            executable.file.read_at(&mut head, 0).map_err(|_| Errno::EIO)?;
            let found = match script::parse(&head) {
                Head::Other => return Ok((executable, start)),
                Head::BadScript => return Err(Errno::ENOEXEC.into()),
                Head::Script(found) => found,
            };
            let interpreter = OsStr::from_bytes(found.interpreter).to_owned();
            let argument = found.argument.map(|a| OsStr::from_bytes(a).to_owned());
            let instead = [Some(interpreter.clone()), argument, Some(script)];
            start.arguments.splice(..1, instead.into_iter().flatten());
            executable = self.open_program(AT_FDCWD, found.interpreter, 0)?;
            script = interpreter;
        }
        Err(Errno::ELOOP.into())
    }

    /// The file to run that a path names: the process's own program, which need not lie beneath the
    /// root, or one beneath it. What lies in memory is not to be executed.
    fn open_program(
        &mut self,
        directory: i32,
        path: &[u8],
        flags: u64,
    ) -> Result<Executable, Stop> {
        const READ_AND_EXECUTE: u32 = 5;
        let own = self.executable()?;
        if path == b"/proc/self/exe" || Path::new(OsStr::from_bytes(path)) == own.path {
            return Ok(own);
        }
        let directory = directory as u64;
        let node = self.node_of(directory, path, flags)?;
        let files = &self.kernel.files;
        match &node {
            Node::Host(host) if host.is(S_IFREG) => {
                files.check_access(&node, READ_AND_EXECUTE)?;
                let file = files.host()?.reopen(host, OFlags::RDONLY)?;
                let path = OsString::from_vec(files.path(&node)?).into();
                Ok(Executable { path, file: Arc::new(file.into()) })
            }
            _ if node.is(S_IFLNK) => Err(Errno::ELOOP.into()),
            _ => Err(Errno::EACCES.into()),
        }
    }

    /// What the process runs.
    pub(super) fn executable(&self) -> Result<Executable, Errno> {
        let state = self.kernel.lock();
        let process = state.processes.get(&self.task.process).ok_or(Errno::ESRCH)?;
        Ok(process.executable.clone())
    }
}

/// What a string takes of the room for arguments and environment.
fn taken(string: &OsStr) -> usize {
    string.len() + 1 + size_of::<u64>()
}
