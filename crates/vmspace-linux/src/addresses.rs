//! Where things lie in a program's addresses.
//!
//! Guarantee: everything has its place below the end of the user's addresses that the format gives,
//! and below 2^47, where Linux's programs lie without asking for more: from below the program, its
//! heap, mappings (top-down), the stack and the page that signal handlers return through. The
//! distances are those of Linux, which has them as parts of the whole.

use vmspace::format::{Format, Geometry};

/// Linux's DEFAULT_MAP_WINDOW, where a format has as much.
const WINDOW: u64 = 1 << 47;

/// `vm.mmap_min_addr`.
pub(crate) const LOWEST: u64 = 0x1_0000;

/// Programs end below this part of all addresses; mappings and the stack have what is above.
const fn program_end(end: u64) -> u64 {
    end / 8 * 7
}

/// What a format means to programs.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Addresses {
    /// The format's name.
    pub format: &'static str,
    /// Bytes of a page.
    pub page: u64,
    /// Addresses lie below this.
    end: u64,
}

impl Addresses {
    /// Of a format.
    pub const fn of<F: Format>() -> Addresses {
        let bytes = F::USER_PAGES * F::PAGE_SIZE;
        let end = if bytes < WINDOW { bytes } else { WINDOW };
        Addresses { format: F::NAME, page: F::PAGE_SIZE, end }
    }

    /// Programs that may lie anywhere are put here, as Linux does without randomization
    /// (ELF_ET_DYN_BASE).
    pub(crate) const fn pie_base(self) -> u64 {
        (self.end / 3 * 2) & !0x3f_ffff
    }

    /// Programs end below this.
    pub(crate) const fn program_end(self) -> u64 {
        program_end(self.end)
    }

    /// The stack ends here.
    pub(crate) const fn stack_top(self) -> u64 {
        self.end - (1 << 20)
    }

    /// Where the code lies that handlers return through.
    pub(crate) const fn trampoline(self) -> u64 {
        self.end - (1 << 18)
    }
}

/// Programs end below this in the formats that have the most.
pub(crate) const HIGHEST: u64 = program_end(WINDOW);

#[cfg(test)]
mod tests {
    use super::*;
    use vmspace::format::{I386, Sv39, Sv48, Sv57};

    #[test]
    fn places_are_the_same_parts_of_every_formats_addresses() {
        let places = |a: Addresses| [a.pie_base(), a.program_end(), a.trampoline(), a.stack_top()];
        let wide = [0x5555_5540_0000, 0x7000_0000_0000, 0x7fff_fffc_0000, 0x7fff_fff0_0000];
        assert_eq!(places(Addresses::of::<Sv48>()), wide);
        assert_eq!(places(Addresses::of::<Sv57>()), wide);
        let gib = [0x2a_aa80_0000, 0x38_0000_0000, 0x3f_fffc_0000, 0x3f_fff0_0000];
        assert_eq!(places(Addresses::of::<Sv39>()), gib);
        let narrow = [0x8000_0000, 0xa800_0000, 0xbffc_0000, 0xbff0_0000];
        assert_eq!(places(Addresses::of::<I386>()), narrow);
    }
}
