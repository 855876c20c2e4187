//! The order of the matrix's settings: a wheel for each kind of thing, with a prime number of teeth;
//! all wheels turn by a tooth from one setting to the next.
//!
//! Guarantee: whenever time is over, things have met each other as evenly as the time allows. After as
//! many turns as two wheels have teeth, multiplied, each pair of theirs has met; after a round, all
//! have. A tooth that nothing stands on is passed over.

use crate::guests::Setting;
use std::collections::BTreeSet;

/// The teeth of each wheel. Different primes: no two wheels stand as before until both products are done.
const TEETH: [usize; 4] = [13, 17, 7, 2];

/// Turns until all wheels stand as at first.
const ROUND: usize = TEETH[0] * TEETH[1] * TEETH[2] * TEETH[3];

/// What stands on each wheel.
const KINDS: [&str; 4] = ["format", "program", "TLB mode", "device"];

/// Everything that is to meet.
pub struct Wheels {
    names: [Vec<&'static str>; 4],
}

/// How the wheels stand.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Cell {
    pub round: u64,
    at: [usize; 4],
}

impl Cell {
    pub fn format(&self) -> usize {
        self.at[0]
    }

    pub fn program(&self) -> usize {
        self.at[1]
    }

    pub fn tlb(&self) -> usize {
        self.at[2]
    }

    /// Whether what is swapped goes to a file, or is compressed.
    pub fn file(&self) -> bool {
        self.at[3] == 1
    }
}

impl Wheels {
    pub fn new(programs: Vec<&'static str>) -> Wheels {
        let names = [Setting::formats(), programs, Setting::strict_tlbs(), vec!["zram", "file"]];
        assert!(names.iter().zip(TEETH).all(|(names, teeth)| names.len() <= teeth));
        Wheels { names }
    }

    /// The settings, without end.
    pub fn cells(&self) -> impl Iterator<Item = Cell> {
        let turns = (0..).map(|turn: usize| Cell {
            round: (turn / ROUND) as u64,
            at: TEETH.map(|teeth| turn % teeth),
        });
        turns.filter(|cell| cell.at.iter().zip(&self.names).all(|(at, names)| *at < names.len()))
    }

    /// How much of it those settings met, in a line; an error if something met nothing.
    pub fn met(&self, cells: &[Cell]) -> Result<String, String> {
        let kinds = || KINDS.into_iter().zip(&self.names).enumerate();
        let distinct =
            |kind: usize| cells.iter().map(|cell| cell.at[kind]).collect::<BTreeSet<_>>();
        let missing = kinds().flat_map(|(kind, (what, names))| {
            let met = distinct(kind);
            let without = names.iter().enumerate().filter(move |(at, _)| !met.contains(at));
            without.map(move |(_, name)| format!("{what} {name}"))
        });
        let missing: Vec<_> = missing.collect();
        if !missing.is_empty() {
            return Err(format!("no setting had {}", missing.join(", ")));
        }
        let pairs: BTreeSet<_> = cells.iter().map(|cell| &cell.at[..2]).collect();
        let of = self.names[0].len() * self.names[1].len();
        let counts: Vec<_> =
            kinds().map(|(_, (what, names))| format!("{} {what}s", names.len())).collect();
        let counts = counts.join(", ");
        Ok(format!("{counts}; {} of {of} pairs of format and program", pairs.len()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Fewer programs than teeth.
    fn wheels() -> Wheels {
        Wheels::new(vec!["a", "b", "c", "d", "e"])
    }

    #[test]
    fn a_setting_would_come_twice_in_a_round_or_never() {
        let wheels = wheels();
        let first: BTreeSet<_> = wheels.cells().take_while(|cell| cell.round == 0).collect();
        assert_eq!(first.len(), wheels.names.iter().map(Vec::len).product());
        assert_eq!(wheels.cells().take_while(|cell| cell.round == 0).count(), first.len());
    }

    /// Two wheels that are full: each pair of theirs once, before any pair twice.
    #[test]
    fn two_things_would_meet_late() {
        let wheels = Wheels::new(vec!["program"; TEETH[1]]);
        for one in 0..TEETH.len() {
            for other in 0..one {
                let all = TEETH[one] * TEETH[other];
                let pairs = wheels.cells().take(all).map(|cell| (cell.at[one], cell.at[other]));
                let pairs: BTreeSet<_> = pairs.collect();
                assert_eq!(pairs.len(), all, "{} and {}", KINDS[one], KINDS[other]);
            }
        }
    }

    #[test]
    fn a_format_without_a_setting_would_pass() {
        let wheels = wheels();
        let some: Vec<_> = wheels.cells().take(12).collect();
        let error = wheels.met(&some).expect_err("there are more formats");
        assert!(error.starts_with("no setting had format "), "{error}");
        assert!(wheels.met(&[]).is_err(), "nothing has met nothing");
        let more: Vec<_> = wheels.cells().take(65).collect();
        let line = wheels.met(&more).expect("each has met something");
        assert!(line.ends_with("65 of 65 pairs of format and program"), "{line}");
    }
}
