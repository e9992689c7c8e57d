//! Demands, and the decisions on them.

use crate::{
    rt::Nanos,
    token::{AccessToken, Epoch, TokenId},
};

/// A demand for a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Demand {
    /// A request that was never sent, or `token()`.
    New,
    /// A request whose token was rejected.
    Rejected(TokenId),
    /// `refresh()`.
    Requested,
}

/// A caller's limits.
#[derive(Clone, Copy, Debug)]
pub(crate) struct WaitLimits {
    pub(crate) timeout: Nanos,
    /// The timeout is what is left until the call's own deadline.
    pub(crate) until_deadline: bool,
    /// How long a new request waits after another request's rejection.
    pub(crate) rejection_wait: Nanos,
    pub(crate) max_waiters: Option<usize>,
    /// A valid token with less time left is refreshed first.
    pub(crate) min_lifetime: Nanos,
}

/// A caller that waits for a flight, or for a backoff and then a flight.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Wait {
    /// The running flight, or the next one.
    pub(crate) flight: u64,
    pub(super) demand: Demand,
    pub(crate) epoch: Epoch,
    pub(crate) stage: WaitStage,
}

/// What ends a wait, besides the flight.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum WaitStage {
    /// The caller's timeout.
    Full,
    /// The short wait of a new request after another request's rejection.
    Short,
    /// The end of a backoff, in this time.
    Backoff(Nanos),
}

#[derive(Debug)]
pub(crate) enum Decision {
    Use(AccessToken),
    Wait(Wait),
}
