//! What a part came to.

use std::fmt;

use crate::timeline::Timeline;

/// One part, once it has ended.
pub(crate) struct Part {
    pub(crate) title: &'static str,
    /// What makes the times what they are.
    pub(crate) caption: &'static str,
    pub(crate) is_layered: bool,
    pub(crate) timeline: Timeline,
    pub(crate) tally: Tally,
}

/// The last line of a part.
pub(crate) struct Tally {
    pub(crate) client: &'static str,
    pub(crate) callers: usize,
    /// Refreshes that reached the server.
    pub(crate) refreshes: usize,
    /// Those of them that it answered with 401.
    pub(crate) refused: usize,
    pub(crate) ok: usize,
    /// The client holds a token that the server accepts.
    pub(crate) signed_in: bool,
}

// === impl Tally ===

impl Tally {
    /// What the layer promises.
    pub(crate) fn is_one_for_all(&self) -> bool {
        self.refreshes == 1 && self.refused == 0 && self.ok == self.callers && self.signed_in
    }
}

impl fmt::Display for Tally {
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
