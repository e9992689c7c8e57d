//! [`Attachment`].

use super::{limit::RefreshLimit, settings::Listener};

/// What a map of sessions adds to each of its sessions, which are built without it.
pub(crate) struct Attachment {
    pub(crate) listener: Option<Listener>,
    pub(crate) refresh_limit: Option<RefreshLimit>,
}
