//! What the driver does after unlocking.

use std::sync::Arc;

#[cfg(feature = "metrics")]
use crate::metrics::EndedRefresh;
use crate::{
    error::Error,
    event::{Event, HookError},
    refresh::{RefreshContext, RefreshError},
    token::Token,
};

use super::{flight::FlightInfo, grant::Grant, outcome::Outcome, saves::SaveOrder};

#[derive(Default)]
pub(crate) struct Effects {
    pub(crate) events: Vec<Event>,
    #[cfg(feature = "metrics")]
    pub(crate) ended_refreshes: Vec<EndedRefresh>,
    /// Flights that have ended, with what their waiters get.
    pub(crate) ended: Vec<(u64, Arc<Outcome>)>,
    /// Boxed, as effects are made for every demand and most start nothing.
    pub(crate) start: Option<Box<(FlightInfo, RefreshContext)>>,
    pub(crate) save: Option<Box<SaveOrder>>,
    pub(crate) revoke: Vec<Token>,
    /// What is read without the lock has changed.
    pub(crate) publish: bool,
    /// Notify watchers without an event.
    pub(crate) notify: bool,
    dropped: Vec<Dropped>,
}

/// What may hold a user's error, whose `Drop` must not run under the lock.
#[expect(dead_code, reason = "held only to be dropped later")]
pub(super) enum Dropped {
    Error(Error),
    Refresh(RefreshError),
    Hook(HookError),
    Grant(Box<Grant>),
}

// === impl Effects ===

impl Effects {
    pub(crate) fn is_empty(&self) -> bool {
        self.events.is_empty()
            && self.ended.is_empty()
            && self.start.is_none()
            && self.save.is_none()
            && self.revoke.is_empty()
            && !self.publish
            && !self.notify
            && self.dropped.is_empty()
    }

    /// What is to be dropped outside the lock.
    pub(crate) fn dropped(&mut self) -> impl Iterator<Item = impl Sized> {
        self.dropped.drain(..)
    }

    /// Drops something outside the lock.
    pub(super) fn drop_later<T: Into<Dropped>>(&mut self, dropped: Option<T>) {
        self.dropped.extend(dropped.map(Into::into));
    }
}

// === impl Dropped ===

impl From<Error> for Dropped {
    fn from(error: Error) -> Self {
        Self::Error(error)
    }
}

impl From<RefreshError> for Dropped {
    fn from(error: RefreshError) -> Self {
        Self::Refresh(error)
    }
}

impl From<HookError> for Dropped {
    fn from(error: HookError) -> Self {
        Self::Hook(error)
    }
}

impl From<Grant> for Dropped {
    fn from(grant: Grant) -> Self {
        Self::Grant(Box::new(grant))
    }
}
