//! The token that a session holds, and when it is due and expires.

use crate::{
    event::Ineffective,
    rt::{Nanos, Timestamp},
    token::{ReportedLifetime, Token},
};

use super::rules::Rules;

/// A token and its time limits, relative to its receipt.
#[derive(Clone)]
pub(super) struct Held {
    pub(super) token: Token,
    pub(super) received: Timestamp,
    /// `None`: unknown.
    pub(super) expiry: Option<Nanos>,
    /// `None`: never refreshed early.
    stale_at: Option<Nanos>,
    reported_lifetime: Option<Nanos>,
    /// When the session adopted it; its trial counts from here.
    pub(super) adopted_at: Timestamp,
    /// How long it must survive unrejected to count as good.
    pub(super) trial: Nanos,
    /// It came from a refresh.
    pub(super) refreshed: bool,
    /// It has counted as an ineffective refresh.
    pub(super) already_counted: bool,
    /// Rejected by a server.
    pub(super) rejected: bool,
    /// Expired on arrival, but used because there is no other; stale immediately.
    pub(super) no_known_end: bool,
    /// When a refresh last returned it, and what was left then.
    returned: Option<Box<(Timestamp, Nanos)>>,
}

/// What becomes of the held token when a refresh returns one.
pub(super) struct Arrival {
    pub(super) held: Held,
    /// It is another access token.
    pub(super) is_new: bool,
    /// Why the refresh is ineffective.
    pub(super) ineffective: Option<Ineffective>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    Fresh,
    Stale,
    Rejected,
    Expired,
}

const SECOND: Nanos = 1_000_000_000;
const MARGIN: Nanos = 30 * SECOND;
const WINDOW: Nanos = 3600 * SECOND;
const TRIAL: Nanos = 30 * SECOND;
const SHORTEST_USEFUL: Nanos = SECOND / 2;
/// Two reports of the same expiry may differ by this much.
const SAME_EXPIRY: Nanos = SECOND;

// === impl Held ===

impl Held {
    /// `random`, in [0, 1), shortens the refresh window: from not at all up to half.
    pub(super) fn new(
        mut token: Token,
        called: Timestamp,
        now: Timestamp,
        refreshed: bool,
        rules: &Rules,
        random: f64,
    ) -> Self {
        let ReportedLifetime { received, reported, refresh_at, is_remaining } =
            token.reported_lifetime(called, refreshed);
        token.resolve_times(received);
        let margin = reported.map_or(0, |reported| {
            let default = if is_remaining { MARGIN } else { MARGIN.min(reported / 10) };
            rules.margin.unwrap_or(default).clamp(0, reported / 4)
        });
        let expiry = reported.map(|reported| reported - margin);
        let window = reported.map(|reported| {
            let default = if is_remaining { reported / 2 } else { WINDOW.min(reported / 4) };
            let window = rules.window.unwrap_or(default).clamp(0, reported / 2);
            window - (window as f64 * random / 2.0) as Nanos
        });
        let due = refresh_at.or_else(|| Some(expiry? - window.filter(|window| *window > 0)?));
        let stale_at = due.filter(|due| rules.early && expiry.is_none_or(|expiry| *due < expiry));
        let received = now.anchor(received);
        // Another process's token has been used since it was obtained.
        let adopted_at = if token.is_adopted() { received } else { now };
        let mut held = Self {
            token,
            received,
            expiry,
            stale_at,
            reported_lifetime: reported,
            adopted_at,
            trial: reported.map_or(TRIAL, |reported| TRIAL.min(reported / 10)),
            refreshed,
            already_counted: false,
            rejected: false,
            no_known_end: false,
            returned: None,
        };
        if refreshed {
            held.returned = Some(Box::new((now, held.time_left(now))));
        }
        held
    }

    /// What becomes of `current` when a refresh ends now with this token.
    pub(super) fn replacing(self, current: Option<&Self>, now: Timestamp) -> Arrival {
        let same = current.filter(|current| current.token.access_token() == self.token.access_token());
        let Some(current) = same else {
            let ineffective = self.ineffective(now);
            return Arrival { held: self, is_new: true, ineffective };
        };
        let later_by = self.reported_left(now).saturating_sub(current.reported_left(now));
        let (held, ineffective) = if later_by > SAME_EXPIRY && !current.rejected {
            let ineffective = self.ineffective(now);
            (self, ineffective)
        } else {
            (self.unchanged(current, later_by, now), Some(Ineffective::Unchanged))
        };
        let mut held = Self {
            adopted_at: current.adopted_at,
            trial: current.trial,
            rejected: current.rejected,
            no_known_end: false,
            ..held
        };
        let left = held.time_left(now);
        held.returned = Some(Box::new((now, left)));
        held.no_known_end = left <= 0;
        Arrival { held, is_new: false, ineffective }
    }

    /// The same token again, without a renewal: it is due no later than before.
    fn unchanged(self, current: &Self, later_by: Nanos, now: Timestamp) -> Self {
        let takes_expiry = !(-SAME_EXPIRY..=SAME_EXPIRY).contains(&later_by);
        if !takes_expiry {
            let mut token = self.token;
            token.keep_times_of(&current.token);
            return Self { token, ..current.clone() };
        }
        let until_stale = |held: &Self| held.stale_at.map(|stale_at| stale_at - now.since(held.received));
        let until_stale = until_stale(&self).into_iter().chain(until_stale(current)).min();
        let stale_at = until_stale.map(|left| left.saturating_add(now.since(self.received)));
        Self { stale_at, ..self }
    }

    pub(super) fn phase(&self, now: Timestamp) -> Phase {
        let age = now.since(self.received);
        if !self.no_known_end && self.expiry.is_some_and(|expiry| age >= expiry) {
            Phase::Expired
        } else if self.rejected {
            Phase::Rejected
        } else if self.no_known_end || self.stale_at.is_some_and(|stale_at| age >= stale_at) {
            Phase::Stale
        } else {
            Phase::Fresh
        }
    }

    pub(super) fn is_usable(&self, now: Timestamp) -> bool {
        matches!(self.phase(now), Phase::Fresh | Phase::Stale)
    }

    /// Usable, and not used past its expiry.
    pub(super) fn is_usable_for_now(&self, now: Timestamp) -> bool {
        !self.no_known_end && self.is_usable(now)
    }

    pub(super) fn has_known_end(&self) -> bool {
        self.expiry.is_some() && !self.no_known_end
    }

    /// Why a refresh that ends now with this token is ineffective.
    fn ineffective(&self, now: Timestamp) -> Option<Ineffective> {
        let age = now.since(self.received);
        if self.expiry.is_some_and(|expiry| age >= expiry) {
            Some(Ineffective::Expired)
        } else if self.reported_lifetime.is_some_and(|reported| reported <= SHORTEST_USEFUL) {
            Some(Ineffective::TooShort)
        } else if self.stale_at.is_some_and(|stale_at| age >= stale_at) {
            Some(Ineffective::AlreadyStale)
        } else {
            None
        }
    }

    /// What is left until the reported expiry.
    fn reported_left(&self, now: Timestamp) -> Nanos {
        let age = now.since(self.received);
        self.reported_lifetime.map_or(Nanos::MAX, |reported| reported.saturating_sub(age))
    }

    /// Whether a rejection now would show that the refresh was ineffective.
    pub(super) fn is_on_trial(&self, now: Timestamp) -> bool {
        self.refreshed && now.since(self.adopted_at) < self.trial
    }

    /// Whether a caller that needs `min_lifetime` should wait for a refresh, as that may help.
    pub(super) fn is_too_short_for(&self, min_lifetime: Nanos, now: Timestamp) -> bool {
        let may_help = |(at, left): (Timestamp, Nanos)| now.since(at) >= self.trial && left >= min_lifetime;
        self.time_left(now) < min_lifetime && self.returned.as_deref().copied().is_none_or(may_help)
    }

    pub(super) fn time_left(&self, now: Timestamp) -> Nanos {
        match self.expiry {
            Some(expiry) if !self.no_known_end => expiry.saturating_sub(now.since(self.received)),
            _ => Nanos::MAX,
        }
    }

    pub(super) fn time_until_stale(&self, now: Timestamp) -> Nanos {
        let due =
            self.stale_at.map_or(Nanos::MAX, |stale_at| stale_at.saturating_sub(now.since(self.received)));
        due.min(self.time_left(now))
    }
}
