//! [`Settings`].

use std::sync::{Arc, LazyLock};

use crate::{
    event::Event,
    rt::{Clock, Nanos, Spawner, SystemClock, TokioSpawner},
    token::TokenHeaders,
};

use super::{limit::RefreshLimit, machine::WaitLimits};

/// What the user configured, besides the machine's rules. Sessions that are built from one builder share it.
#[derive(Clone)]
pub(super) struct Settings {
    pub(super) clock: Arc<dyn Clock>,
    pub(super) spawner: Arc<dyn Spawner>,
    pub(super) listeners: Vec<Listener>,
    pub(super) headers: TokenHeaders,
    pub(super) limits: WaitLimits,
    pub(super) refresh_limit: Option<RefreshLimit>,
}

pub(super) type Listener = Arc<dyn Fn(&Event) + Send + Sync>;

const SECOND: Nanos = 1_000_000_000;

// === impl Settings ===

impl Settings {
    /// The default. Sessions that keep it share it.
    pub(super) fn shared_default() -> Arc<Self> {
        static DEFAULT: LazyLock<Arc<Settings>> = LazyLock::new(Arc::default);
        Arc::clone(&DEFAULT)
    }
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            clock: Arc::new(SystemClock),
            spawner: Arc::new(TokioSpawner),
            listeners: Vec::new(),
            headers: TokenHeaders::default(),
            limits: WaitLimits {
                timeout: 30 * SECOND,
                until_deadline: false,
                rejection_wait: 2 * SECOND,
                max_waiters: None,
                min_lifetime: 0,
            },
            refresh_limit: None,
        }
    }
}
