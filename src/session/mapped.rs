//! What a map of sessions needs of each of its sessions.

use std::sync::{Arc, atomic::Ordering};

use super::{Session, attachment::Attachment};

// === impl Session ===

impl Session {
    /// Attaches the session to a map. Returns whether it could be: a session belongs to one key of one map.
    pub(crate) fn attach(&self, attachment: Attachment) -> bool {
        self.shared.attachment.set(attachment).is_ok()
    }

    /// Ends the session if nothing is lost by that. Returns whether it did.
    ///
    /// `self` must be the only handle that the map has. A handle elsewhere keeps the session.
    pub(crate) fn try_retire(&self) -> bool {
        let mut locked = self.shared.lock();
        // Those with a weak reference may get a handle now, but the session starts nothing more for them.
        Arc::strong_count(&self.shared) == 1
            && self.shared.waiters.load(Ordering::Relaxed) == 0
            && locked.machine.try_retire()
    }

    /// Whether somebody besides the map has a handle, or a task of the session is running.
    pub(crate) fn is_held(&self) -> bool {
        Arc::strong_count(&self.shared) > 1
    }

    pub(crate) fn is_same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.shared, &other.shared)
    }

    /// Whether no refresh or save is running, and nothing is unsaved.
    pub(crate) fn is_at_rest_and_saved(&self) -> bool {
        self.shared.turn(|turn| turn.is_at_rest() && !turn.is_unsaved())
    }

    /// No refresh starts from now on.
    pub(crate) fn begin_shutdown(&self) {
        self.shared.turn(|turn| turn.shut_down());
    }
}
