//! `--swap`: from what the user writes to the run's devices.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use vmspace::format::Format;
use vmspace_linux::{Swap, SwapArea};

use crate::args::size;
use crate::failure::Failure;

/// A device, and the words that it was asked for by.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Given {
    pub words: String,
    pub area: SwapArea,
}

impl Given {
    /// `zram:SIZE` or `file:PATH:SIZE`; a path may hold colons and need be no text.
    pub fn parse(word: OsString) -> Result<Given, String> {
        let bad = || "is no device (write it as zram:64M, or file:PATH:1G)".to_string();
        let bytes = word.as_bytes();
        let last = bytes.iter().rposition(|byte| *byte == b':').ok_or_else(bad)?;
        let text = str::from_utf8(&bytes[last + 1..]).map_err(|_| bad())?;
        let area = match &bytes[..last] {
            b"zram" => SwapArea::Compressed(size_of(text)?),
            [b'f', b'i', b'l', b'e', b':', path @ ..] if !path.is_empty() => {
                SwapArea::File(PathBuf::from(OsStr::from_bytes(path)), size_of(text)?)
            }
            _ => return Err(bad()),
        };
        Ok(Given { words: word.to_string_lossy().into_owned(), area })
    }

    /// The file that is used, if one is.
    pub fn file(&self) -> Option<&Path> {
        match &self.area {
            SwapArea::File(path, _) => Some(path),
            SwapArea::Compressed(_) => None,
        }
    }
}

/// The size of a device, which stands at its end.
fn size_of(text: &str) -> Result<u64, String> {
    size(text).map_err(|_| format!("ends with no size: '{text}' (end it with :64M or :1G)"))
}

/// Opens the devices, for pages that format `F` maps.
pub fn open<F: Format>(given: &[Given], program: &Path) -> Result<Swap, Failure> {
    Swap::open::<F>(given.iter().map(|device| &device.area), program)
        .map_err(|(nth, error)| Failure::given("--swap", &given[nth].words, error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_with_colons_would_be_cut_at_the_first() {
        let area = |text: &str| Given::parse(text.into()).map(|given| given.area);
        let file = |path: &str, bytes| Ok(SwapArea::File(path.into(), bytes));
        assert_eq!(area("zram:64M"), Ok(SwapArea::Compressed(64 << 20)));
        assert_eq!(area("file:/a:b/c:1G"), file("/a:b/c", 1 << 30));
        assert_eq!(area("file:4096:4096"), file("4096", 4096));
        let bytes = OsStr::from_bytes(b"file:\xff:8K").to_owned();
        let path = OsStr::from_bytes(b"\xff");
        let parsed = Given::parse(bytes).map(|given| given.area);
        assert_eq!(parsed, Ok(SwapArea::File(path.into(), 8192)));
        for text in ["", "zram", "zram:", "zram:x", "file:a", "file::1M", "file:a:", "disk:a:1M"] {
            assert!(area(text).is_err(), "{text}");
        }
    }
}
