//! Totals of a run.

use std::fmt;

use crate::timeline::Timeline;

/// A finished run.
pub(crate) struct Run {
    pub(crate) title: &'static str,
    /// Explains the times in the picture.
    pub(crate) caption: &'static str,
    pub(crate) is_layered: bool,
    pub(crate) timeline: Timeline,
    pub(crate) totals: Totals,
}

/// The last line of a run.
pub(crate) struct Totals {
    pub(crate) client: &'static str,
    pub(crate) callers: usize,
    /// Refreshes that reached the server.
    pub(crate) refreshes: usize,
    /// Refreshes that the server refused with a 401.
    pub(crate) refused: usize,
    pub(crate) ok: usize,
    /// The client holds a token that the server accepts.
    pub(crate) signed_in: bool,
}

// === impl Totals ===

impl Totals {
    /// Whether one refresh was enough for all calls, as the layer guarantees.
    pub(crate) fn is_single_refresh(&self) -> bool {
        self.refreshes == 1 && self.refused == 0 && self.ok == self.callers && self.signed_in
    }
}

impl fmt::Display for Totals {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { client, callers, refreshes, refused, ok, signed_in } = self;
        let failed = callers.saturating_sub(*ok);
        let signed_in = if *signed_in { "yes" } else { "no" };
        write!(
            f,
            "{client}: callers={callers} refreshes={refreshes} refused={refused} ok={ok} failed={failed} signed_in={signed_in}"
        )
    }
}
