//! Operations on ranges.

use super::before::{crowd, empty, everything, large, shared, touched, whole};
use super::world::{RW, at, pages};
use super::{Memory, Scenario, scenario};
use crate::format::{Format, Geometry, Rights};
use crate::{Advice, LockAll, Map};

pub fn all<F: Format>() -> Vec<Scenario<F>> {
    [mappings(), moves(), marks()].into_iter().flatten().collect()
}

fn mappings<F: Format>() -> Vec<Scenario<F>> {
    vec![
        scenario("a new space", |_| {}, |w| w.space()),
        scenario("map", empty, |w| w.map(-8, 16)),
        scenario("map shared", empty, |w| w.share(-8, 16)),
        scenario("map anywhere", touched, |w| w.map_as(Map::anonymous(pages::<F>(3), RW))),
        scenario("map over touched pages", touched, |w| w.map(-4, 8)),
        scenario("map shared over touched pages", touched, |w| w.share(-4, 8)),
        scenario("map over shared pages", shared, |w| w.map(-4, 8)),
        scenario("map over whole tables", touched, |w| w.map(-700, 1400)),
        scenario("map in a crowd", crowd, |w| w.share(30, 1)),
        scenario("unmap with two splits", touched, |w| w.unmap(-4, 8)),
        scenario("unmap of shared pages with two splits", shared, |w| w.unmap(-4, 8)),
        scenario("unmap in a crowd", crowd, |w| w.unmap(30, 9)),
        scenario("protect with two splits", touched, |w| w.protect(-4, 8, Rights::READ)),
        scenario("protect of shared pages", shared, |w| w.protect(-4, 8, Rights::READ)),
        scenario("protect in a crowd", crowd, |w| w.protect(31, 1, Rights::READ)),
        scenario("unmap in a large leaf", large, |w| w.unmap(5, 2)),
        scenario("protect in a large leaf", large, |w| w.protect(5, 2, Rights::READ)),
        Scenario {
            memory: Memory::Never,
            ..scenario("unmap without a split", touched, |w| w.unmap(-8, 16))
        },
        Scenario {
            memory: Memory::Never,
            ..scenario("don't-need", touched, |w| {
                let all = pages::<F>(16);
                w.spaces[0].advise(&mut w.ms, at::<F>(-8), all, Advice::DontNeed).is_ok()
            })
        },
    ]
}

fn moves<F: Format>() -> Vec<Scenario<F>> {
    vec![
        scenario("move of pages into a table of others", touched, |w| w.remap(-6, 9, 30, 9)),
        scenario("move of pages without tables", touched, |w| w.remap(-6, 12, 5000, 12)),
        scenario("move over touched pages", touched, |w| w.remap(-8, 7, 0, 7)),
        scenario("move of shared pages", shared, |w| w.remap(-6, 9, 5000, 9)),
        scenario("move anywhere, longer", shared, |w| w.remap(-6, 10, 0, 20)),
        scenario("growth in place", touched, |w| w.remap(-8, 16, 0, 3000)),
        scenario("shrinking", touched, |w| w.remap(-8, 16, 0, 3)),
        scenario("move in a crowd", crowd, |w| w.remap(31, 1, 5000, 1)),
        scenario("move into a crowd", crowd, |w| w.remap(31, 1, 40, 1)),
        scenario("move of whole tables", whole, |w| {
            let table = F::table_pages(0) as i64;
            w.remap(-table, 2 * table, 5 * table, 2 * table)
        }),
        scenario("move of whole shared tables, and of pages", whole, |w| {
            let table = F::table_pages(0) as i64;
            w.remap(2 * table - 8, table + 16, 7 * table - 8, table + 16)
        }),
        scenario("one more mapping of shared pages", shared, |w| w.remap(-4, 0, 9, 3)),
    ]
}

fn marks<F: Format>() -> Vec<Scenario<F>> {
    vec![
        scenario("sealing with two splits", touched, |w| {
            w.spaces[0].seal(&mut w.ms, at::<F>(-4), pages::<F>(8)).is_ok()
        }),
        scenario("advice with two splits", touched, |w| {
            w.spaces[0].advise(&mut w.ms, at::<F>(-4), pages::<F>(8), Advice::DontFork).is_ok()
        }),
        scenario("locking as touched, with two splits", touched, |w| {
            w.spaces[0].lock(&mut w.ms, at::<F>(-4), pages::<F>(8), true).is_ok()
        }),
        scenario(
            "unlocking with two splits",
            |w| {
                touched(w);
                w.spaces[0].lock(&mut w.ms, at::<F>(-8), pages::<F>(16), true).unwrap();
            },
            |w| w.spaces[0].unlock(&mut w.ms, at::<F>(-4), pages::<F>(8)).is_ok(),
        ),
        scenario("locking all to come, as touched", crowd, |w| {
            let all = LockAll { current: true, future: true, on_fault: true };
            w.spaces[0].lock_all(&mut w.ms, all).is_ok()
        }),
        Scenario {
            memory: Memory::Never,
            ..scenario("what pages are resident", everything, |w| {
                w.spaces[0].residency(&mut w.ms, at::<F>(-8), &mut [0; 16]) == Ok(16)
            })
        },
    ]
}
