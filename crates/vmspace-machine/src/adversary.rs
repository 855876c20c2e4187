//! What a hart's TLB does by chance, where the manuals leave hardware the choice.
//!
//! Guarantee: nothing that is done here goes beyond an architecture. What is drawn depends on the
//! seed, the hart's number and what was drawn before, so a hart alone does the same again.
//!
//! | trait | what the hart does | allowed by |
//! |---|---|---|
//! | forgetful | one eighth of what is not sticky goes on the way in; what it has is walked for again | a TLB may evict, and refill, at any time |
//! | speculative | a read is walked for near a page that was asked for: accessed is set, the result kept | RISC-V privileged: A may be set speculatively, D never; Intel SDM 4.10.2.3; Arm ARM (DDI 0487, issue K.a) D8.5 "Hardware updates to the translation tables" |
//! | late | a shootdown is answered after some more polls, and until then old translations are used | an interrupt is taken when it is taken; nobody goes on before the answer |
//!
//! Traits that need no chance are in [`crate::tlb`].

use crate::config::{Config, TlbTraits};
use crate::random::SplitMix64;
use vmspace::format::{Format, Geometry};

/// Polls that an answer is postponed by, at the most.
const PATIENCE: u64 = 64;

/// How far from the page asked for a speculative walk goes, at the most, in pages.
const NEAR: u64 = 8;

/// One hart's chance.
#[derive(Debug)]
pub struct Adversary {
    traits: TlbTraits,
    stream: SplitMix64,
    /// While an answer is postponed: for how many more polls.
    patience: Option<u64>,
}

impl Adversary {
    /// The chance of hart `hart`; none for a TLB that leaves nothing to it.
    pub fn new(config: &Config, hart: usize) -> Option<Adversary> {
        let chance = TlbTraits::FORGETFUL | TlbTraits::SPECULATIVE | TlbTraits::LATE;
        let seed = config.seed ^ (hart as u64).wrapping_mul(0xD6E8_FEB8_6659_FD93);
        let (traits, stream) = (config.tlb, SplitMix64::new(seed));
        traits.intersects(chance).then_some(Adversary { traits, stream, patience: None })
    }

    /// Whether a page that is kept is walked for all the same.
    pub fn refetches(&mut self) -> bool {
        self.traits.contains(TlbTraits::FORGETFUL) && self.stream.below(8) == 0
    }

    /// On the way in: which eighth of the places is to be emptied, if any.
    pub fn evicts(&mut self) -> Option<usize> {
        (self.traits.contains(TlbTraits::FORGETFUL) && self.stream.below(2) == 0)
            .then(|| self.stream.below(8) as usize)
    }

    /// A page near `page` to be walked for unasked.
    pub fn speculates<F: Format>(&mut self, page: u64) -> Option<u64> {
        if !self.traits.contains(TlbTraits::SPECULATIVE) || self.stream.below(2) == 0 {
            return None;
        }
        let distance = 1 + self.stream.below(NEAR);
        let near = match self.stream.below(2) {
            0 => page.checked_sub(distance)?,
            _ => page + distance,
        };
        (near < F::USER_PAGES).then_some(near)
    }

    /// At a poll point where something is pending: whether the hart goes on without answering.
    pub fn postpones(&mut self) -> bool {
        if !self.traits.contains(TlbTraits::LATE) {
            return false;
        }
        let left = self.patience.take().unwrap_or_else(|| self.stream.below(PATIENCE + 1));
        self.patience = left.checked_sub(1);
        left > 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use vmspace::format::Sv48;

    fn adversary(tlb: TlbTraits, seed: u64, hart: usize) -> Option<Adversary> {
        Adversary::new(&Config { tlb, seed, ..Config::default() }, hart)
    }

    #[test]
    fn nothing_is_left_to_chance_unless_a_trait_asks_for_it() {
        let calm = TlbTraits::STICKY | TlbTraits::NONLEAF;
        assert!(adversary(TlbTraits::NORMAL, 1, 0).is_none() && adversary(calm, 1, 0).is_none());
        let mut late = adversary(TlbTraits::LATE, 1, 0).unwrap();
        assert!((0..100).all(|_| !late.refetches() && late.evicts().is_none()));
        assert!((0..100).all(|page| late.speculates::<Sv48>(page).is_none()));
        let mut forgetful = adversary(TlbTraits::FORGETFUL, 1, 0).unwrap();
        assert!((0..100).all(|_| !forgetful.postpones()));
        assert!(
            (0..100).any(|_| forgetful.refetches()) && (0..100).any(|_| !forgetful.refetches())
        );
    }

    #[test]
    fn the_same_seed_draws_the_same_and_harts_differ() {
        let draw = |seed, hart| -> Vec<_> {
            let mut adversary = adversary(TlbTraits::ADVERSARIAL, seed, hart).unwrap();
            (100..200).map(|page| adversary.speculates::<Sv48>(page)).collect()
        };
        assert_eq!(draw(5, 1), draw(5, 1));
        assert_ne!(draw(5, 1), draw(6, 1));
        assert_ne!(draw(5, 1), draw(5, 0));
    }

    #[test]
    fn an_answer_is_postponed_for_a_bounded_number_of_polls() {
        let mut adversary = adversary(TlbTraits::LATE, 3, 0).unwrap();
        let mut longest = 0;
        for _ in 0..1_000 {
            let polls = (0..).take_while(|_| adversary.postpones()).count() as u64;
            assert!(polls <= PATIENCE);
            longest = polls.max(longest);
        }
        assert!(longest > PATIENCE / 2);
    }

    #[test]
    fn speculation_stays_near_and_among_the_pages_of_users() {
        let mut adversary = adversary(TlbTraits::SPECULATIVE, 3, 0).unwrap();
        for page in [0, 1, 1_000, Sv48::USER_PAGES - 1] {
            for _ in 0..100 {
                let Some(near) = adversary.speculates::<Sv48>(page) else { continue };
                assert!(near != page && near.abs_diff(page) <= NEAR && near < Sv48::USER_PAGES);
            }
        }
    }
}
