//! Settings of the machine that a guest runs on.

/// The formats, with the size of their pages.
const FORMATS: [(&str, u64); 13] = [
    ("sv48", 4096),
    ("x86-64", 4096),
    ("aarch64-64k", 65536),
    ("sv32", 4096),
    ("sv39", 4096),
    ("sv57", 4096),
    ("sv39x4", 4096),
    ("i386", 4096),
    ("i386-pae", 4096),
    ("i386-pae-split", 4096),
    ("x86-64-la57", 4096),
    ("aarch64-4k", 4096),
    ("aarch64-16k", 16384),
];

/// What the TLB is like, and whether every use of it is checked. A plain TLB and the worst are run
/// both ways; `sticky` is checked, for nothing stale hides from the two together; `forgetful` is
/// not, since checking leaves nothing in the inline arrays to be forgotten.
const TLBS: [(&str, bool); 6] = [
    ("normal", false),
    ("normal", true),
    ("sticky", true),
    ("forgetful", false),
    ("adversarial", false),
    ("adversarial", true),
];

/// TLB modes that leave nothing stale unseen, each alone and all together, with whether they are
/// checked.
const STRICT: [(&str, bool); 7] = [
    ("normal", true),
    ("sticky", true),
    ("forgetful", false),
    ("nonleaf", true),
    ("speculative", true),
    ("late", true),
    ("adversarial", true),
];

/// Format, TLB mode, check on or off, harts.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Setting {
    format: &'static str,
    pub page_size: u64,
    tlb: &'static str,
    check: bool,
    pub harts: u64,
}

impl Setting {
    /// How many there are for a number of harts.
    pub const COUNT: u64 = (FORMATS.len() * TLBS.len()) as u64;

    /// The `n`-th, from 0; they repeat after [`Setting::COUNT`].
    pub fn nth(n: u64, harts: u64) -> Setting {
        let n = n as usize;
        let (tlb, check) = TLBS[n % TLBS.len()];
        let (format, page_size) = FORMATS[n / TLBS.len() % FORMATS.len()];
        Setting { format, page_size, tlb, check, harts }
    }

    /// The one that a missing invalidation cannot hide from.
    pub fn strictest() -> Setting {
        let (format, page_size) = FORMATS[0];
        Setting { format, page_size, tlb: "sticky,nonleaf", check: true, harts: 2 }
    }

    /// All of them.
    pub fn all(harts: u64) -> Vec<Setting> {
        (0..Setting::COUNT).map(|n| Setting::nth(n, harts)).collect()
    }

    /// A format in a TLB mode that leaves nothing stale unseen.
    pub fn strict(format: usize, tlb: usize, harts: u64) -> Setting {
        let (format, page_size) = FORMATS[format];
        let (tlb, check) = STRICT[tlb];
        Setting { format, page_size, tlb, check, harts }
    }

    /// The same with the TLB that costs least.
    pub fn plain(self) -> Setting {
        Setting { tlb: "normal", check: false, ..self }
    }

    /// The formats' names.
    pub fn formats() -> Vec<&'static str> {
        FORMATS.iter().map(|(name, _)| *name).collect()
    }

    /// The names of those TLB modes.
    pub fn strict_tlbs() -> Vec<&'static str> {
        STRICT.iter().map(|(name, _)| *name).collect()
    }

    /// Format and TLB, as a name.
    pub fn name(&self) -> String {
        format!("{}-{}", self.format, self.tlb)
    }

    /// Whether the format's entries can keep data from being run.
    pub fn denies_fetches(&self) -> bool {
        self.format != "i386"
    }

    /// As options of `vmspace run`.
    pub fn options(&self) -> Vec<String> {
        let check = if self.check { " --check" } else { "" };
        let (format, tlb, harts) = (self.format, self.tlb, self.harts);
        let line = format!("--format {format} --tlb {tlb}{check} --harts {harts}");
        line.split(' ').map(str::to_owned).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::Setting;

    #[test]
    fn all_settings_differ() {
        let all = Setting::all(1);
        assert_eq!(all.len(), 78);
        for (n, setting) in all.iter().enumerate() {
            assert!(!all[..n].contains(setting));
        }
        assert_eq!(Setting::nth(Setting::COUNT, 1), all[0]);
    }
}
