//! The token that a session holds, and the arithmetic of its life.

use crate::{
    event::Ineffective,
    rt::{Nanos, Timestamp},
    token::{ReportedLifetime, Token},
};

use super::Rules;

/// A token with its edges, each counted from the receipt.
pub(super) struct Held {
    pub(super) token: Token,
    pub(super) received: Timestamp,
    /// None: it has no known end.
    pub(super) end: Option<Nanos>,
    /// None: never refreshed early.
    stale: Option<Nanos>,
    told: Option<Nanos>,
    /// When it came into the session; its trial counts from here.
    pub(super) arrived: Timestamp,
    pub(super) refreshed: bool,
    /// It counted as a useless refresh already.
    pub(super) counted: bool,
    /// Refused by a server.
    pub(super) refused: bool,
    /// Expired on arrival: in use for want of another, and due at once.
    pub(super) endless: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    Fresh,
    Stale,
    Refused,
    Expired,
}

const SECOND: Nanos = 1_000_000_000;
const MARGIN: Nanos = 30 * SECOND;
const WINDOW: Nanos = 3600 * SECOND;
const TRIAL: Nanos = 30 * SECOND;
const SHORTEST_USEFUL: Nanos = SECOND / 2;

// === impl Held ===

impl Held {
    /// `luck` shortens the window: from 0 (not at all) up to 1 (by half).
    pub(super) fn new(
        mut token: Token,
        called: Timestamp,
        now: Timestamp,
        refreshed: bool,
        rules: &Rules,
        luck: f64,
    ) -> Self {
        let ReportedLifetime { received, reported: told, refresh_at, is_remaining: remainder } =
            token.reported_lifetime(called, refreshed);
        token.resolve_times(received);
        let margin = told.map_or(0, |told| {
            let default = if remainder { MARGIN } else { MARGIN.min(told / 10) };
            rules.margin.unwrap_or(default).clamp(0, told / 4)
        });
        let end = told.map(|told| told - margin);
        let window = told.map(|told| {
            let default = if remainder { told / 2 } else { WINDOW.min(told / 4) };
            let window = rules.window.unwrap_or(default).clamp(0, told / 2);
            window - (window as f64 * luck / 2.0) as Nanos
        });
        let due = refresh_at.or_else(|| Some(end? - window.filter(|window| *window > 0)?));
        let stale = due.filter(|due| rules.early && end.is_none_or(|end| *due < end));
        Self {
            token,
            received: now.anchor(received),
            end,
            stale,
            told,
            arrived: now,
            refreshed,
            counted: false,
            refused: false,
            endless: false,
        }
    }

    pub(super) fn phase(&self, now: Timestamp) -> Phase {
        let age = now.since(self.received);
        if !self.endless && self.end.is_some_and(|end| age >= end) {
            Phase::Expired
        } else if self.refused {
            Phase::Refused
        } else if self.endless || self.stale.is_some_and(|stale| age >= stale) {
            Phase::Stale
        } else {
            Phase::Fresh
        }
    }

    pub(super) fn is_usable(&self, now: Timestamp) -> bool {
        matches!(self.phase(now), Phase::Fresh | Phase::Stale)
    }

    /// Usable, with an end to come.
    pub(super) fn is_usable_for_now(&self, now: Timestamp) -> bool {
        !self.endless && self.is_usable(now)
    }

    pub(super) fn has_known_end(&self) -> bool {
        self.end.is_some() && !self.endless
    }

    /// What is wrong with it as the answer of a refresh that ends now.
    pub(super) fn flaw(&self, now: Timestamp, current: Option<&Held>) -> Option<Ineffective> {
        let age = now.since(self.received);
        if current.is_some_and(|current| current.token.access_token() == self.token.access_token()) {
            Some(Ineffective::Unchanged)
        } else if self.end.is_some_and(|end| age >= end) {
            Some(Ineffective::Expired)
        } else if self.told.is_some_and(|told| told <= SHORTEST_USEFUL) {
            Some(Ineffective::TooShort)
        } else if self.stale.is_some_and(|stale| age >= stale) {
            Some(Ineffective::AlreadyStale)
        } else {
            None
        }
    }

    /// How long a new token must go unrefused until it counts as good.
    pub(super) fn trial(&self) -> Nanos {
        self.told.map_or(TRIAL, |told| TRIAL.min(told / 10))
    }

    /// What is left until it expires.
    pub(super) fn left(&self, now: Timestamp) -> Nanos {
        match self.end {
            Some(end) if !self.endless => end.saturating_sub(now.since(self.received)),
            _ => Nanos::MAX,
        }
    }

    /// What is left until it is due.
    pub(super) fn left_fresh(&self, now: Timestamp) -> Nanos {
        let stale = self.stale.map_or(Nanos::MAX, |stale| stale.saturating_sub(now.since(self.received)));
        stale.min(self.left(now))
    }
}
