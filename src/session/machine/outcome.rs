//! What the waiters of a flight get at its end.

use crate::{
    error::{Error, ErrorKind},
    token::{AccessToken, Epoch},
};

use super::{
    demand::{Demand, Wait},
    flight::FlightInfo,
};

/// What the waiters of a flight get at its end.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub(super) epoch: Epoch,
    /// What a new request gets, if anything: the usable token, or a rejected one that hasn't expired.
    pub(super) token: Option<AccessToken>,
    pub(super) usable: bool,
    pub(super) result: FlightResult,
}

#[derive(Debug)]
pub(super) enum FlightResult {
    Refreshed,
    /// The refresh returned the rejected token.
    Unchanged,
    Failed(Error),
    /// The result was no longer wanted.
    Discarded,
}

// === impl Outcome ===

impl Outcome {
    /// The outcome of a flight that the session has abandoned: its waiters demand again.
    pub(crate) fn abandoned(flight: &FlightInfo) -> Self {
        Self { epoch: flight.epoch, token: None, usable: false, result: FlightResult::Discarded }
    }

    #[cfg(test)]
    pub(crate) fn for_tests() -> Self {
        Self { epoch: Epoch::new(), token: None, usable: false, result: FlightResult::Discarded }
    }

    /// What a waiter of the flight gets. `None`: it demands again.
    pub(crate) fn resume(&self, wait: &Wait) -> Option<Result<AccessToken, Error>> {
        if !self.epoch.is_same_sign_in(wait.epoch) {
            return Some(Err(Error::new(ErrorKind::SignedOut)));
        }
        let usable = self.token.as_ref().filter(|_| self.usable);
        let newer_than = |epoch| usable.filter(|_| self.epoch.is_newer_than(epoch));
        let token = match (wait.demand, &self.result) {
            (Demand::New, _) => self.token.as_ref(),
            (Demand::Rejected(rejected), _) => newer_than(rejected.epoch),
            (Demand::Requested, FlightResult::Failed(_)) => None,
            // It got no refresh of its own: a token that was set in the meantime counts.
            (Demand::Requested, FlightResult::Discarded) => newer_than(wait.epoch),
            (Demand::Requested, _) => usable,
        };
        match (token, &self.result) {
            (Some(token), _) => Some(Ok(token.clone())),
            (None, FlightResult::Failed(error)) => Some(Err(error.clone())),
            (None, FlightResult::Unchanged) => Some(Err(Error::new(ErrorKind::SameToken))),
            (None, FlightResult::Refreshed | FlightResult::Discarded) => None,
        }
    }
}
