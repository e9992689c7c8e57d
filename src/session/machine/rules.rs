//! What the user configured.

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
    /// There is a save hook.
    pub(crate) saves: bool,
    /// The token is in a store, from which other processes may take it and to which they may bring another.
    pub(crate) is_shared: bool,
    /// Callers without a usable token wait for a backoff that ends within their timeout.
    pub(crate) wait_through_backoff: bool,
}
