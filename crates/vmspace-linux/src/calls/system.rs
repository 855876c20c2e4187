//! Calls about the machine as a whole: names, limits, randomness.

use vmspace::format::Format;

use super::{Call, Outcome};
use crate::Errno;
use crate::task::Id;

const GRND_ALL: u64 = 7;
const PR_SET_NAME: u64 = 15;
const PR_GET_NAME: u64 = 16;
const PR_SET_VMA: u64 = 0x5356_4d41;
const UNLIMITED: u64 = u64::MAX;

/// The number of the limit of locked memory, and of all that is mapped.
const RLIMIT_MEMLOCK: u32 = 8;
const RLIMIT_AS: u32 = 9;
/// Linux's default for it.
pub(crate) const LOCK_LIMIT: u64 = 8 << 20;

impl<F: Format> Call<'_, '_, F> {
    pub(super) fn uname(&mut self) -> Outcome {
        let names = ["Linux", "vmspace", "6.18.0-vmspace", "#1 SMP PREEMPT", "riscv64", "(none)"];
        let mut bytes = [0; 6 * 65];
        for (field, name) in bytes.chunks_mut(65).zip(names) {
            field[..name.len()].copy_from_slice(name.as_bytes());
        }
        self.put(self.args[0], &bytes)?;
        Ok(0)
    }

    /// `struct sysinfo`, in bytes.
    pub(super) fn sysinfo(&mut self) -> Outcome {
        let vm = self.kernel.vm;
        let uptime = self.kernel.clock().now().as_secs();
        let (total, free) = (vm.total_frames() << F::PAGE_SHIFT, vm.free_frames() << F::PAGE_SHIFT);
        let (swap, swap_free) = self.kernel.swap_room();
        let (swap, swap_free) = (swap << F::PAGE_SHIFT, swap_free << F::PAGE_SHIFT);
        let processes = self.kernel.lock().processes.len() as u64;
        let words = [uptime, 0, 0, 0, total, free, 0, 0, swap, swap_free, processes, 0, 0, 1];
        self.put_words(self.args[0], &words)?;
        Ok(0)
    }

    pub(super) fn getrandom(&mut self) -> Outcome {
        let [address, length, flags, ..] = self.args;
        if flags & !GRND_ALL != 0 {
            return Err(Errno::EINVAL.into());
        }
        let length = length.min(i32::MAX as u64);
        let mut chunk = [0; 4096];
        let mut done = 0;
        while done < length {
            let want = chunk.len().min((length - done) as usize);
            self.kernel.random.fill(&mut chunk[..want])?;
            let at = address.wrapping_add(done);
            let put = self.store(at, &chunk[..want]);
            done += put as u64;
            if done == 0 {
                return Err(Errno::EFAULT.into());
            }
            // A long request is no reason not to end with the process.
            if put < want || self.kernel.is_over() {
                break;
            }
        }
        Ok(done)
    }

    pub(super) fn getrusage(&mut self) -> Outcome {
        match self.args[0] as i32 {
            -1..=1 => {}
            _ => return Err(Errno::EINVAL.into()),
        }
        let time = self.kernel.clock().now();
        let mut words = [0; 18];
        words[0] = time.as_secs();
        words[1] = time.subsec_micros().into();
        self.put_words(self.args[1], &words)?;
        Ok(0)
    }

    /// The limits with this number, soft and hard, which differ only for memory.
    fn limits(&self, resource: u64) -> Result<[u64; 2], Errno> {
        let limit = match resource as u32 {
            RLIMIT_MEMLOCK => return Ok([self.task.space.lock_limit(), LOCK_LIMIT]),
            RLIMIT_AS => return Ok(self.task.space.size_limits()),
            3 => crate::stack::STACK_LIMIT,
            4 => 0,
            6 => self.kernel.limit as u64,
            7 => crate::files::MOST_FILES as u64,
            0..16 => UNLIMITED,
            _ => return Err(Errno::EINVAL),
        };
        Ok([limit; 2])
    }

    pub(super) fn getrlimit(&mut self) -> Outcome {
        let limits = self.limits(self.args[0])?;
        self.put_words(self.args[1], &limits)?;
        Ok(0)
    }

    /// Limits are the machine's: they can be read, and set to what they are. That of locked memory can
    /// be lowered, and raised again; that of all that is mapped too, and for good.
    pub(super) fn prlimit64(&mut self) -> Outcome {
        let [id, resource, new, old, ..] = self.args;
        if id != 0 && id as Id != self.task.process {
            return Err(Errno::ESRCH.into());
        }
        let mut limits = self.limits(resource)?;
        if new != 0 {
            let wanted @ [soft, hard] = self.get_words(new)?;
            if soft > hard {
                return Err(Errno::EINVAL.into());
            }
            limits = self.change_limits(resource, limits, wanted).inspect_err(|_| {
                self.kernel.counts.refuse("a limit was to be changed");
            })?;
        }
        if old != 0 {
            self.put_words(old, &limits)?;
        }
        Ok(0)
    }

    /// Sets limits, soft and hard; what they were.
    fn change_limits(
        &self,
        resource: u64,
        before: [u64; 2],
        wanted: [u64; 2],
    ) -> Result<[u64; 2], Errno> {
        let [soft, hard] = wanted;
        match resource as u32 {
            RLIMIT_AS => return self.task.space.change_size_limits(wanted),
            RLIMIT_MEMLOCK if hard == before[1] => self.task.space.set_lock_limit(soft),
            _ if wanted == before => {}
            _ => return Err(Errno::EPERM),
        }
        Ok(before)
    }

    /// Names of threads, and names of mappings, which nobody sees yet.
    pub(super) fn prctl(&mut self) -> Outcome {
        let [option, address, ..] = self.args;
        match option {
            PR_SET_NAME => {
                let mut name = [0; 16];
                let read = self.load(address, &mut name[..15]);
                let end = name.iter().position(|byte| *byte == 0).unwrap_or(15);
                if read <= end && end < 15 {
                    return Err(Errno::EFAULT.into());
                }
                name[end..].fill(0);
                self.task.name = name;
                let shown = self.task.shown();
                if let Some(thread) = self.kernel.lock().threads.get_mut(&self.task.id) {
                    thread.shown = shown;
                }
                Ok(0)
            }
            PR_GET_NAME => {
                let name = self.task.name;
                self.put(address, &name)?;
                Ok(0)
            }
            PR_SET_VMA => Err(Errno::EINVAL.into()),
            _ => {
                self.kernel.counts.refuse("prctl of a kind that is not there");
                Err(Errno::EINVAL.into())
            }
        }
    }

    pub(super) fn getcpu(&mut self) -> Outcome {
        let [hart, node, ..] = self.args;
        let cpu = vmspace::Platform::cpu(self.kernel.vm.platform()) as u32;
        if hart != 0 {
            self.put(hart, &cpu.to_le_bytes())?;
        }
        if node != 0 {
            self.put(node, &[0; 4])?;
        }
        Ok(0)
    }
}
