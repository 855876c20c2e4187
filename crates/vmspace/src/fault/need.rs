//! What a fault needs, as the region and the entry together say. Pure: it takes nothing and changes
//! nothing, and the same is asked without locks and again under the lock.

use super::{Access, FaultError};
use crate::addr::Frame;
use crate::counters::Event;
use crate::format::{Entry, Format, Leaf, Rights};
use crate::platform::Platform;
use crate::region::Key;
use crate::space::{is_device, is_own};
use crate::swap::Place;
use crate::vm::Vm;

/// What a fault needs to be resolved.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Need {
    /// Nothing: the entry allows the access.
    Nothing,
    /// The entry's page with the region's rights.
    Rights,
    /// The zero page.
    Zero,
    /// A zeroed page.
    Fresh,
    /// A copy of this page.
    Copy(Frame),
    /// The object's page at this index.
    Object(u64, u64),
    /// A copy of the object's page at this index.
    ObjectCopy(u64, u64),
    /// The page that is on swap there.
    Swapped(Place),
    /// Whoever changes the entry to be done.
    Wait,
    /// It is refused.
    Refused(FaultError),
}

impl Need {
    pub fn event(self) -> Event {
        match self {
            Need::Nothing | Need::Wait => Event::FaultSpurious,
            Need::Rights => Event::FaultReuse,
            Need::Zero => Event::FaultZero,
            Need::Fresh => Event::FaultAnonymous,
            Need::Copy(_) | Need::ObjectCopy(..) => Event::FaultCopy,
            Need::Object(..) => Event::FaultShared,
            Need::Swapped(_) => Event::FaultSwapped,
            Need::Refused(_) => Event::FaultRefused,
        }
    }
}

/// Whether an entry cannot but allow the access when it gives these rights: what may be fetched may
/// be loaded, where the format has no bit against it.
#[cold]
fn is_implied<F: Format>(rights: Rights, access: Access) -> bool {
    let leaf = Leaf { frame: Frame(0), rights, accessed: false, dirty: false };
    match F::decode(0, F::leaf(0, leaf)) {
        Entry::Leaf(leaf) => access.allowed_by(leaf.rights),
        _ => false,
    }
}

/// What the region and the entry together need for the access. `OWN`: private memory's page is to
/// be the space's alone, since somebody will hold it.
#[inline(always)]
pub(super) fn need<const OWN: bool, P: Platform>(
    vm: &Vm<P>,
    key: Key,
    page: u64,
    entry: Entry,
    access: Access,
) -> Need {
    if !key.is_mapped() {
        return Need::Refused(FaultError::NotMapped);
    }
    let rights = key.attributes.rights();
    if !access.allowed_by(rights) && !is_implied::<P::Format>(rights, access) {
        return Need::Refused(FaultError::Denied);
    }
    match entry {
        Entry::Leaf(leaf) if access.allowed_by(leaf.rights) && !OWN => Need::Nothing,
        Entry::Leaf(leaf) if (access == Access::Write || OWN) && key.is_private() => {
            match vm.mapped_meta(leaf.frame) {
                None => Need::Fresh,
                Some(meta) if !is_own(meta) => Need::Copy(leaf.frame),
                Some(_) if access.allowed_by(leaf.rights) => Need::Nothing,
                Some(_) => Need::Rights,
            }
        }
        Entry::Leaf(leaf) if access.allowed_by(leaf.rights) => Need::Nothing,
        Entry::Leaf(_) => Need::Rights,
        Entry::Soft(soft) => Place::of(soft).map_or(Need::Wait, Need::Swapped),
        Entry::Table(_) => Need::Wait,
        Entry::Empty if is_device(key) => Need::Refused(FaultError::NoPage),
        Entry::Empty if key.object != 0 => {
            let index = page.wrapping_sub(key.origin);
            if key.is_private() && (access == Access::Write || OWN) {
                Need::ObjectCopy(key.object, index)
            } else {
                Need::Object(key.object, index)
            }
        }
        Entry::Empty if access == Access::Write || OWN => Need::Fresh,
        Entry::Empty => Need::Zero,
    }
}
