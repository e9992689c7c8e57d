//! What a map of sessions needs of each of its sessions.

use std::sync::Arc;

use super::{Session, attachment::Attachment};

// === impl Session ===

impl Session {
    /// Attaches the session to a map. Returns whether it could be: a session belongs to one key of one map.
    pub(crate) fn attach(&self, attachment: Attachment) -> bool {
        self.shared.attachment.set(attachment).is_ok()
    }

    /// Ends the session if nothing is lost by that. Returns whether it did.
    ///
    /// A weak reference can still be upgraded, but a retired session starts no refresh.
    pub(crate) fn try_retire(&self) -> bool {
        self.shared.lock().machine.try_retire()
    }

    /// Whether there is a strong reference besides the map's: a handle, or a running task.
    pub(crate) fn is_in_use(&self) -> bool {
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
