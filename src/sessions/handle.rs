//! [`SessionHandle`].

use crate::session::Session;

/// What a map keeps for each key: a [`Session`], or a [`SharedSession`](crate::store::SharedSession).
///
/// This trait is sealed.
pub trait SessionHandle: sealed::Sealed + Clone + Send + Sync + 'static {
    /// The session.
    fn session(&self) -> &Session;
}

mod sealed {
    /// A map recognises a session in use by its reference count, so a value must hold exactly one `Session`.
    pub trait Sealed {}
}

// === impl Session ===

impl SessionHandle for Session {
    fn session(&self) -> &Session {
        self
    }
}

impl sealed::Sealed for Session {}

// === impl SharedSession ===

#[cfg(feature = "store")]
mod shared {
    use super::{Session, SessionHandle, sealed};
    use crate::store::SharedSession;

    impl SessionHandle for SharedSession {
        fn session(&self) -> &Session {
            SharedSession::session(self)
        }
    }

    impl sealed::Sealed for SharedSession {}
}
