//! What the user configured.

use std::sync::{Arc, LazyLock};

use crate::rt::Nanos;

use super::backoff::Delays;

#[derive(Clone, Debug)]
pub(crate) struct Rules {
    pub(crate) early: bool,
    pub(crate) window: Option<Nanos>,
    pub(crate) margin: Option<Nanos>,
    pub(crate) jitter: bool,
    pub(crate) refresh_timeout: Nanos,
    pub(crate) save_timeout: Nanos,
    pub(crate) delays: Delays,
    /// Callers without a usable token wait for a backoff that ends within their timeout.
    pub(crate) wait_through_backoff: bool,
}

const SECOND: Nanos = 1_000_000_000;

// === impl Rules ===

impl Rules {
    /// The default. Sessions that keep it share it.
    pub(crate) fn shared_default() -> Arc<Self> {
        static DEFAULT: LazyLock<Arc<Rules>> = LazyLock::new(Arc::default);
        Arc::clone(&DEFAULT)
    }
}

impl Default for Rules {
    fn default() -> Self {
        Self {
            early: true,
            window: None,
            margin: None,
            jitter: true,
            refresh_timeout: 60 * SECOND,
            save_timeout: 5 * SECOND,
            delays: Delays { initial: SECOND, max: 120 * SECOND, jitter: true },
            wait_through_backoff: false,
        }
    }
}

/// Where what the session holds is saved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Persistence {
    Nowhere,
    /// By the user's hook.
    Hook,
    /// In a store, from which other processes may take the token and to which they may bring another.
    Store,
}

// === impl Persistence ===

impl Persistence {
    pub(super) fn saves(self) -> bool {
        self != Self::Nowhere
    }

    pub(super) fn is_shared(self) -> bool {
        self == Self::Store
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn p20_sessions_share_the_default_rules() {
        assert!(Arc::ptr_eq(&Rules::shared_default(), &Rules::shared_default()));
    }
}
