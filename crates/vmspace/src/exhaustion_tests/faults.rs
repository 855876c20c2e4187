//! Faults.

use super::before::{many, shared, stack, touched};
use super::world::RW;
use super::{Keeps, Memory, Scenario, scenario};
use crate::Access;
use crate::format::{Format, Rights};

pub fn all<F: Format>() -> Vec<Scenario<F>> {
    private().into_iter().chain(of_objects()).collect()
}

fn private<F: Format>() -> Vec<Scenario<F>> {
    vec![
        scenario(
            "a write fault without tables",
            |w| {
                w.space();
                w.map(-8, 16);
            },
            |w| w.fault(0, Access::Write),
        ),
        scenario(
            "a read fault without tables",
            |w| {
                w.space();
                w.map(-8, 16);
            },
            |w| w.fault(0, Access::Read),
        ),
        scenario("a write fault in a leaf", touched, |w| w.fault(-8, Access::Write)),
        scenario(
            "a write fault after zeros",
            |w| {
                touched(w);
                w.fault(-8, Access::Read);
            },
            |w| w.fault(-8, Access::Write),
        ),
        scenario(
            "copy-on-write",
            |w| {
                touched(w);
                w.fork();
            },
            |w| w.fault(0, Access::Write),
        ),
        Scenario {
            memory: Memory::Never,
            ..scenario(
                "a write fault that finds the page its own",
                |w| {
                    touched(w);
                    w.protect(0, 1, Rights::READ);
                    w.protect(0, 1, RW);
                },
                |w| w.fault(0, Access::Write),
            )
        },
        Scenario {
            keeps: Keeps::AllButGrowth,
            ..scenario("stack growth", stack, |w| w.fault(-20, Access::Write))
        },
    ]
}

fn of_objects<F: Format>() -> Vec<Scenario<F>> {
    vec![
        scenario("a fault of a shared page", shared, |w| w.fault(-8, Access::Read)),
        scenario(
            "a fault of a page of a large object, without tables",
            |w| {
                w.space();
                w.share(-8, 70_000);
            },
            |w| w.fault(60_000, Access::Write),
        ),
        scenario("a fault of a page that many map", many, |w| w.fault_of(7, 0, Access::Read)),
        scenario(
            "a fault that the pager fills",
            |w| {
                w.space();
                w.object(1, 8);
                w.map_object(-4, 8, true);
            },
            |w| w.fault(1, Access::Read),
        ),
        scenario(
            "a fault that copies an object's page",
            |w| {
                w.space();
                w.object(1, 9);
                w.map_object(-4, 8, false);
            },
            |w| w.fault(1, Access::Write),
        ),
        scenario(
            "a write fault over an object's page",
            |w| {
                w.space();
                w.object(1, 9);
                w.map_object(-4, 8, false);
                w.fault(1, Access::Read);
            },
            |w| w.fault(1, Access::Write),
        ),
    ]
}
