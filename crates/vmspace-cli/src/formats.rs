//! The formats by name, and the table that `vmspace formats` prints.

use std::process::ExitCode;

use comfy_table::{CellAlignment, Table, presets};
use vmspace::Cell;
use vmspace::format::{Format, Geometry};
use vmspace_machine::least_memory;

use crate::failure::Failure;
use crate::standard;

/// Something to be done with a format that is known by name.
pub trait Visitor {
    /// What comes of it.
    type Output;
    /// Does it.
    fn visit<F: Format>(self) -> Self::Output;
}

macro_rules! formats {
    ([] $($format:ident $module:ident,)*) => {
        /// A format's name.
        #[derive(Clone, Copy, PartialEq, Eq, Debug)]
        pub enum FormatName { $(
            #[doc = stringify!($format)]
            $format,
        )* }

        impl FormatName {
            /// All of them.
            pub const ALL: &[FormatName] = &[$(FormatName::$format),*];

            /// The name that the user knows.
            pub const fn name(self) -> &'static str {
                match self { $(FormatName::$format => vmspace::format::$format::NAME),* }
            }

            /// Goes from the name to the type.
            pub fn visit<V: Visitor>(self, visitor: V) -> V::Output {
                match self { $(FormatName::$format => visitor.visit::<vmspace::format::$format>()),* }
            }
        }
    };
}

vmspace::every_format!(formats);

impl FormatName {
    /// The format with this name.
    pub fn parse(text: &str) -> Result<FormatName, String> {
        let known = || {
            let names: Vec<&str> = Self::ALL.iter().map(|format| format.name()).collect();
            format!("is no format (take one of {})", names.join(", "))
        };
        Self::ALL.iter().copied().find(|format| format.name() == text).ok_or_else(known)
    }
}

/// A number of bytes in the largest unit that leaves no rest.
pub fn bytes(number: u64) -> String {
    const UNITS: [&str; 6] = ["bytes", "KiB", "MiB", "GiB", "TiB", "PiB"];
    let unit = (number.trailing_zeros() / 10).min(5);
    let unit = if number == 0 { 0 } else { unit };
    format!("{} {}", number >> (10 * unit), UNITS[unit as usize])
}

/// A line of the table.
struct Row;

impl Visitor for Row {
    type Output = Vec<String>;

    fn visit<F: Format>(self) -> Vec<String> {
        let index: Vec<String> = F::INDEX_BITS.iter().rev().map(u32::to_string).collect();
        let leaves: Vec<String> = (0..F::LEVELS)
            .filter(|level| F::LEAF_LEVELS >> level & 1 == 1)
            .map(|level| bytes(F::slot_pages(level) * F::PAGE_SIZE))
            .collect();
        vec![
            F::NAME.to_string(),
            bytes(F::PAGE_SIZE),
            F::LEVELS.to_string(),
            index.join(" + "),
            F::Cell::BYTES.to_string(),
            leaves.join(", "),
            bytes(F::USER_PAGES * F::PAGE_SIZE),
            bytes(least_memory::<F>(1)),
            if F::BREAK_BEFORE_MAKE { "demanded" } else { "done anyway" }.to_string(),
        ]
    }
}

/// `vmspace formats`.
pub fn list() -> Result<ExitCode, Failure> {
    let mut table = Table::new();
    table.load_style(presets::UTF8_HORIZONTAL_ONLY);
    table.set_header([
        "format",
        "page",
        "levels",
        "index bits, root first",
        "bytes an entry",
        "leaves",
        "user addresses",
        "least memory",
        "break before make",
    ]);
    for format in FormatName::ALL {
        table.add_row(format.visit(Row));
    }
    for column in [1, 2, 4, 6, 7] {
        if let Some(column) = table.column_mut(column) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    standard::print(&format!("{table}\n"))
        .map_err(|error| Failure::output("standard output", &error))?;
    Ok(ExitCode::SUCCESS)
}
