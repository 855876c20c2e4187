//! A hart's door: how a shootdown and a hart that goes inside never miss each other.
//!
//! Guarantee: when [`Door::is_answered`] has said yes to a ticket, the hart uses nothing that it
//! had cached before the ticket's post without having drained the post first; and all that it did
//! through what it had cached happens before the answer.
//!
//! A hart translates only while it is *inside*. Going in: say so, fence, and drain if something
//! is pending. Posting: write the post, set pending, fence, and look whether the hart is inside.
//! One of the two fences comes first: either the poster sees the hart inside and waits for it, or
//! the hart sees the post pending and drains it before it translates (Dekker; without a fence on
//! either side both may miss: `tests/loom_door.rs`). A hart inside looks at the pending flag at
//! its poll points, drains, invalidates, fences and publishes the number of the last post that it
//! has drained. A hart that goes outside counts as having answered at once: it cannot come back
//! in without draining. So no one ever waits for a hart that itself may be waiting, and harts may
//! shoot each other down in any pattern.
//!
//! The mutex orders posts and drains; pending is written under it alone, so a drain cannot wipe
//! out the flag of a post that it has not seen. It is held for a few instructions, never while
//! anybody waits.

use crate::sync::{AtomicBool, AtomicU64, Mutex, Ordering, fence, lock};

/// One hart's door, with a box for posts of type `T`.
#[derive(Debug)]
pub struct Door<T> {
    inside: AtomicBool,
    pending: AtomicBool,
    answered: AtomicU64,
    mail: Mutex<Mail<T>>,
}

#[derive(Debug)]
struct Mail<T> {
    posted: u64,
    content: T,
}

/// A post's number.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Ticket(u64);

impl<T> Door<T> {
    /// A door of a hart that is outside, with nothing pending.
    pub fn new(content: T) -> Door<T> {
        Door {
            inside: AtomicBool::new(false),
            pending: AtomicBool::new(false),
            answered: AtomicU64::new(0),
            mail: Mutex::new(Mail { posted: 0, content }),
        }
    }

    /// Anyone: posts what `write` adds.
    pub fn post(&self, write: impl FnOnce(&mut T)) -> Ticket {
        let ticket = {
            let mut mail = lock(&self.mail);
            write(&mut mail.content);
            mail.posted += 1;
            self.pending.store(true, Ordering::Relaxed);
            Ticket(mail.posted)
        };
        // Pairs with the fence in `go_inside`: see the module's head.
        fence(Ordering::SeqCst);
        ticket
    }

    /// Whoever posted: whether the hart has drained the post, or is outside and will do so before
    /// it translates.
    pub fn is_answered(&self, ticket: Ticket) -> bool {
        // Acquire, both: pair with the Release of `go_outside` and `answer`, so that the hart's
        // last use of what it had cached comes before what the poster does next.
        !self.inside.load(Ordering::Acquire) || self.answered.load(Ordering::Acquire) >= ticket.0
    }

    /// The hart: from now on it may translate, once it has drained what is pending.
    pub fn go_inside(&self) {
        self.inside.store(true, Ordering::Relaxed);
        // Pairs with the fence in `post`: see the module's head.
        fence(Ordering::SeqCst);
    }

    /// The hart: it translates no more, and uses no pointer that it was given.
    pub fn go_outside(&self) {
        // Release: pairs with `is_answered`.
        self.inside.store(false, Ordering::Release);
    }

    /// The hart, at a poll point and after `go_inside`: whether there is something to drain.
    #[inline(always)]
    pub fn is_pending(&self) -> bool {
        self.pending.load(Ordering::Relaxed)
    }

    /// The hart: takes all that is posted, by exchanging it with an empty `content`.
    pub fn drain(&self, content: &mut T) -> Ticket {
        let mut mail = lock(&self.mail);
        std::mem::swap(&mut mail.content, content);
        self.pending.store(false, Ordering::Relaxed);
        Ticket(mail.posted)
    }

    /// The hart: the last post that it has answered.
    pub fn answered(&self) -> Ticket {
        Ticket(self.answered.load(Ordering::Relaxed))
    }

    /// The hart: it has invalidated all that it has drained up to this post.
    pub fn answer(&self, drained: Ticket) {
        // The invalidation, then what comes after: to acknowledge is to have fenced.
        fence(Ordering::SeqCst);
        // Release: pairs with `is_answered`.
        self.answered.store(drained.0, Ordering::Release);
    }
}
