//! Demands, and the decisions on them.

use crate::token::{AccessToken, Epoch, TokenId};

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

/// A caller that waits for a flight.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Wait {
    pub(crate) flight: u64,
    pub(super) demand: Demand,
    pub(crate) epoch: Epoch,
    /// Waits briefly at first: a new request, after another request's rejection.
    pub(crate) short: bool,
}

#[derive(Debug)]
pub(crate) enum Decision {
    Use(AccessToken),
    Wait(Wait),
}
