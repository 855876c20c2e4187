//! Get-user-pages without locks against fork (R24 and the family of CVE-2020-29374).
//!
//! A page of private memory is *exclusive* while one entry maps it. The rule: who pins sees the page
//! exclusive and counts his pin in one step, then reads the entry again; fork sees that there is no
//! pin and takes exclusive away in one step, then write-protects; who copies on write makes the page
//! his own only if he has the only reference. Weaker: either step in two, and fork shares a page
//! that is pinned for writing. Weaker too: no second reading of the entry. Then the parent has
//! written elsewhere meanwhile, the child has made the page its own, and the parent's pin is on it.

use crate::explorer::{Model, Report, Step, ensure};

#[derive(Clone, Copy, PartialEq)]
struct Rule {
    pins_in_one_step: bool,
    shares_in_one_step: bool,
    reads_again: bool,
}

const OURS: Rule = Rule { pins_in_one_step: true, shares_in_one_step: true, reads_again: true };

/// One page. `parent`: whether its entry allows writing, if it names the page.
#[derive(Clone, PartialEq, Eq, Hash)]
struct Page {
    exclusive: bool,
    pins: u8,
    references: u8,
    parent: Option<bool>,
    child: bool,
    /// The pin is the caller's.
    held: bool,
}

impl Page {
    fn share(&mut self) {
        self.exclusive = false;
        self.references += 1;
    }
}

fn pin_and_fork(rule: Rule) -> Report {
    let Rule { pins_in_one_step, shares_in_one_step, reads_again } = rule;
    let page = Page {
        exclusive: true,
        pins: 0,
        references: 1,
        parent: Some(true),
        child: false,
        held: false,
    };
    Model::new(page)
        .thread("T0 pins for writing")
        .step("read the entry", |p| if p.parent == Some(true) { Step::Next } else { Step::Done })
        .step("take a reference", |p| {
            if p.references == 0 {
                return Step::Done;
            }
            p.references += 1;
            Step::Next
        })
        .step("see the page exclusive", move |p| {
            if !p.exclusive {
                p.references -= 1;
                return Step::Done;
            }
            p.pins += u8::from(pins_in_one_step);
            Step::Next
        })
        .step_if(!pins_in_one_step, "count the pin", |p| p.pins += 1)
        .step_if(reads_again, "read the entry again", |p| {
            if p.parent != Some(true) {
                p.pins -= 1;
                p.references -= 1;
                return Step::Done;
            }
            Step::Next
        })
        .step("hold the page", |p| p.held = true)
        .thread("T1 forks, then both write")
        .step("see no pin", move |p| {
            if p.pins != 0 {
                return Step::Done;
            }
            if shares_in_one_step {
                p.share();
            }
            Step::Next
        })
        .step_if(!shares_in_one_step, "share the page", Page::share)
        .step("write-protect", |p| p.parent = Some(false))
        .step("the child maps it", |p| p.child = true)
        .step("the parent copies on write", |p| {
            p.parent = None;
            p.references -= 1;
        })
        .step("the child writes", |p| match p.references {
            1 => p.exclusive = true,
            _ => {
                p.child = false;
                p.references -= 1;
            }
        })
        .always(|p| ensure(!(p.held && p.child), "a page held for writing is the child's"))
        .always(|p| ensure(!p.held || p.parent.is_some(), "a held page is parted from its space"))
        .explore()
}

#[test]
fn pinning_in_two_steps_holds_a_page_that_fork_shares() {
    pin_and_fork(Rule { pins_in_one_step: false, ..OURS })
        .must_fail("a page held for writing is the child's");
}

#[test]
fn sharing_in_two_steps_gives_the_child_a_page_that_is_held() {
    pin_and_fork(Rule { shares_in_one_step: false, ..OURS })
        .must_fail("a page held for writing is the child's");
}

#[test]
fn pinning_without_reading_the_entry_again_holds_the_childs_page() {
    pin_and_fork(Rule { reads_again: false, ..OURS })
        .must_fail("a page held for writing is the child's");
}

#[test]
fn a_page_held_for_writing_is_never_shared_when_each_decides_in_one_step() {
    pin_and_fork(OURS).must_pass();
}
