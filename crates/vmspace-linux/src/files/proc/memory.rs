//! What /proc says of the machine's memory: meminfo, vmstat, swaps.

use std::fmt::Write;

use vmspace::format::Format;

use crate::kernel::Kernel;
use crate::report::faults;
use crate::swap;

impl<F: Format> Kernel<'_, F> {
    /// Which frames hold pages of files is not counted: none is cached here, and no more is available
    /// than is free.
    pub(super) fn meminfo(&self) -> String {
        let kib = |frames: u64| frames << F::PAGE_SHIFT >> 10;
        let (total, free) = (kib(self.vm.total_frames()), kib(self.vm.free_frames()));
        let (swap_total, swap_free) = self.swap_room();
        let rows = [
            ("MemTotal:", total),
            ("MemFree:", free),
            ("MemAvailable:", free),
            ("Buffers:", 0),
            ("Cached:", 0),
            ("SwapTotal:", kib(swap_total)),
            ("SwapFree:", kib(swap_free)),
            ("PageTables:", kib(self.vm.statistics().tables_alive)),
        ];
        rows.iter().map(|(name, kib)| format!("{name:<15}{kib:>9} kB\n")).collect()
    }

    /// Who stole and scanned pages is not told apart: they are all the stealer's. Which faults waited
    /// for a device is not counted; what has come in and gone out is, files' pages and swapped ones.
    pub(super) fn vmstat(&self) -> String {
        let memory = self.vm.statistics();
        let kib = |pages: u64| pages << F::PAGE_SHIFT >> 10;
        let rows = [
            ("nr_free_pages", self.vm.free_frames()),
            ("workingset_refault_anon", memory.pages_refaulted),
            ("nr_page_table_pages", memory.tables_alive),
            ("pgpgin", kib(memory.pages_in + memory.pages_swapped_in)),
            ("pgpgout", kib(memory.pages_out + memory.pages_swapped_out)),
            ("pswpin", memory.pages_swapped_in),
            ("pswpout", memory.pages_swapped_out),
            ("allocstall_normal", memory.stalls),
            ("pgfault", faults(&memory)),
            ("pgsteal_kswapd", memory.pages_stolen),
            ("pgscan_kswapd", memory.pages_scanned),
            ("oom_kill", self.counts.out_of_memory.get()),
        ];
        rows.iter().map(|(name, count)| format!("{name} {count}\n")).collect()
    }

    /// As Linux's `swap_show`.
    pub(super) fn proc_swaps(&self) -> String {
        let mut text = "Filename\t\t\t\tType\t\tSize\t\tUsed\t\tPriority\n".to_string();
        for used in self.swaps() {
            let kib = |pages: u64| pages << F::PAGE_SHIFT >> 10;
            let (name, size, taken) = (swap::name(used.device), kib(used.slots), kib(used.used));
            let gap = |kib: u64| if kib < 10_000_000 { "\t" } else { "" };
            // Writing to a string does not fail.
            let _ = writeln!(
                text,
                "{name:<40}partition\t{size}\t{}{taken}\t{}{}",
                gap(size),
                gap(taken),
                used.priority,
            );
        }
        text
    }
}
