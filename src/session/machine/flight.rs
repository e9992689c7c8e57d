//! Flights: the machine's record of a running refresh, and the refresh's record of its start.

use crate::{
    refresh::{RefreshError, RefreshReason},
    rt::{Nanos, Timestamp},
    token::{Epoch, Secret, Token},
};

use super::saves::SaveOrder;

#[derive(Default)]
pub(super) struct Flights {
    pub(super) started: u64,
    pub(super) ended: u64,
    /// Boxed, like all that an idle session doesn't have.
    pub(super) current: Option<Box<Flight>>,
}

/// One running refresh.
pub(super) struct Flight {
    pub(super) info: FlightInfo,
    /// It is a repeat, or has repeated itself: another unknown outcome is the second.
    pub(super) repeat: bool,
    /// It waits for a permit.
    pub(super) is_queued: bool,
    /// The response, until it has been saved.
    pub(super) response: Option<Token>,
}

/// What a flight knows of its start; enough to interpret a late result.
#[derive(Clone, Debug)]
pub(crate) struct FlightInfo {
    pub(crate) id: u64,
    pub(super) epoch: Epoch,
    pub(super) reason: RefreshReason,
    pub(super) presented: Option<Secret>,
    pub(super) started: Timestamp,
    /// When the refresher was last called: a new token's lifetime counts from here.
    pub(super) called: Timestamp,
}

/// How a flight ended.
#[derive(Debug)]
pub(crate) enum FlightEnd {
    /// The machine has its response.
    Responded,
    Failed(RefreshError),
    Lost(Lost),
}

/// A flight that ended without a result.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Lost {
    TimedOut,
    Panicked,
    /// Its task was dropped.
    Dropped,
    /// The refresher was never called: the task was dropped first, or the token was no longer wanted.
    NeverCalled,
    /// No timer was available.
    NoTimer,
    /// It waited for a permit for longer than its timeout without being polled, and another takes its place.
    StillQueued,
    /// The session was shut down while it waited for a permit.
    ShutDown,
}

/// How a response is saved before the waiters get it.
#[derive(Debug)]
pub(crate) enum Saving {
    /// There is nothing left to do.
    Done,
    /// Pass this to the save hook.
    Now(Box<SaveOrder>),
    /// Another save is running: ask again when it has ended.
    After,
}

// === impl Flights ===

impl Flights {
    pub(super) fn start(
        &mut self,
        epoch: Epoch,
        reason: RefreshReason,
        presented: Option<Secret>,
        repeat: bool,
        now: Timestamp,
    ) -> FlightInfo {
        self.started += 1;
        let info = FlightInfo { id: self.started, epoch, reason, presented, started: now, called: now };
        self.current =
            Some(Box::new(Flight { info: info.clone(), repeat, is_queued: false, response: None }));
        info
    }

    pub(super) fn is_current(&self, info: &FlightInfo) -> bool {
        self.current.as_ref().is_some_and(|flight| flight.info.id == info.id)
    }

    pub(super) fn current_mut(&mut self, info: &FlightInfo) -> Option<&mut Flight> {
        self.current.as_deref_mut().filter(|flight| flight.info.id == info.id)
    }

    /// The current flight has a response with a refresh token of its own.
    pub(super) fn has_successor(&self) -> bool {
        self.current.as_ref().is_some_and(|flight| {
            flight
                .response
                .as_ref()
                .is_some_and(|response| flight.info.is_successor(response.refresh_secret()))
        })
    }
}

// === impl FlightInfo ===

impl FlightInfo {
    /// What is left of the timeout, which counts from the start: after it, the next demand may abandon the
    /// flight.
    pub(super) fn time_left(&self, timeout: Nanos, now: Timestamp) -> Nanos {
        timeout.saturating_sub(now.since(self.started))
    }

    /// What was left of the timeout when the refresher was called, and its end on the monotonic clock.
    pub(crate) fn timeout(&self, timeout: Nanos) -> (Nanos, Nanos) {
        let left = self.time_left(timeout, self.called);
        (left, self.called.monotonic.saturating_add(left))
    }

    /// Whether this is a refresh token other than the one that the flight presented.
    pub(super) fn is_successor(&self, refresh_token: Option<&Secret>) -> bool {
        refresh_token.is_some() && refresh_token != self.presented.as_ref()
    }

    /// The token with the presented refresh token, if the response had none.
    pub(super) fn with_refresh_token(&self, mut token: Token) -> Token {
        token.inherit_refresh_token(self.presented.as_ref());
        token
    }
}
