//! How often a token endpoint may be asked: useless refreshes in a row, and the backoff that they set.

use crate::rt::{Nanos, Timestamp};

/// The delays between useless refreshes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Delays {
    pub(crate) first: Nanos,
    pub(crate) most: Nanos,
    pub(crate) jitter: bool,
}

#[derive(Default)]
pub(super) struct Pace {
    pub(super) failures: u32,
    /// Refusals in a row that can't be interpreted. Reset with `failures`, so never more than those.
    pub(super) unexplained: u32,
    backoff: Option<Backoff>,
    trial: Option<Span>,
}

/// A stretch of time; over when either clock says so.
#[derive(Clone, Copy)]
pub(super) struct Span {
    pub(super) from: Timestamp,
    pub(super) length: Nanos,
}

struct Backoff {
    delay: Span,
    /// The server's own word, which nothing but `reset_backoff` cuts short.
    retry_after: Option<Span>,
    /// The end of a token that stayed in use: the backoff ends with it at the latest.
    cut: Option<Span>,
}

const FACTOR: f64 = 1.6;
const JITTER: f64 = 0.2;
const MAX_UNEXPLAINED: u32 = 3;
const SLOW_RETRY: Nanos = 600 * 1_000_000_000;
const LONGEST_RETRY_AFTER: Nanos = 3600 * 1_000_000_000;

// === impl Delays ===

impl Delays {
    /// The delay after `failures` in a row; `luck` is in [0, 1).
    pub(super) fn after(&self, failures: u32, luck: f64) -> Nanos {
        let exponent = i32::try_from(failures.saturating_sub(1)).unwrap_or(i32::MAX);
        let most = self.most as f64;
        let delay = (self.first as f64 * FACTOR.powi(exponent)).min(most);
        let jitter = if self.jitter { 1.0 + JITTER * (2.0 * luck - 1.0) } else { 1.0 };
        (delay * jitter).min(most) as Nanos
    }
}

// === impl Span ===

impl Span {
    pub(super) fn left(&self, now: Timestamp) -> Nanos {
        self.length.saturating_sub(now.since(self.from))
    }

    pub(super) fn is_over(&self, now: Timestamp) -> bool {
        self.left(now) <= 0
    }
}

// === impl Pace ===

impl Pace {
    /// Lets time have its effect: what is over stays over.
    pub(super) fn settle(&mut self, now: Timestamp) {
        if self.trial.is_some_and(|trial| trial.is_over(now)) {
            *self = Self::default();
        }
        if self.backoff.as_ref().is_some_and(|backoff| backoff.left(now) <= 0) {
            self.backoff = None;
        }
    }

    /// The least delay after one more failure. Unexplained ones may last: three in a row are retried with the
    /// normal backoff, further ones slowly.
    pub(super) fn least_delay(&mut self, is_unexplained: bool) -> Nanos {
        if !is_unexplained {
            return 0;
        }
        self.unexplained = self.unexplained.saturating_add(1);
        if self.unexplained > MAX_UNEXPLAINED { SLOW_RETRY } else { 0 }
    }

    /// One more useless refresh; the next isn't before `length` counted from `from`, nor before the end of a backoff
    /// that runs already.
    pub(super) fn back_off(
        &mut self,
        from: Timestamp,
        length: Nanos,
        retry_after: Option<Nanos>,
        cut: Option<Span>,
        now: Timestamp,
    ) {
        let retry_after = retry_after.map(|wait| Span { from, length: wait.clamp(0, LONGEST_RETRY_AFTER) });
        let backoff = Backoff { delay: Span { from, length }, retry_after, cut };
        if self.left(now).is_none_or(|left| left <= backoff.left(now)) {
            self.backoff = Some(backoff);
        }
    }

    /// The backoff that runs ends with a token that stays in use.
    pub(super) fn cut_short(&mut self, cut: Option<Span>) {
        if let Some(backoff) = &mut self.backoff {
            backoff.cut = cut;
        }
    }

    /// How long the backoff goes on; None: it is over.
    pub(super) fn left(&self, now: Timestamp) -> Option<Nanos> {
        self.backoff.as_ref().map(|backoff| backoff.left(now)).filter(|left| *left > 0)
    }

    pub(super) fn end_backoff(&mut self) {
        self.backoff = None;
    }

    pub(super) fn begin_trial(&mut self, from: Timestamp, length: Nanos) {
        self.trial = Some(Span { from, length });
    }

    pub(super) fn spoil_trial(&mut self) {
        self.trial = None;
    }
}

// === impl Backoff ===

impl Backoff {
    fn left(&self, now: Timestamp) -> Nanos {
        let cut = self.cut.map_or(Nanos::MAX, |cut| cut.left(now));
        let retry_after = self.retry_after.map_or(Nanos::MIN, |wait| wait.left(now));
        self.delay.left(now).min(cut).max(retry_after)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn b69_delays_grow_to_their_cap() {
        let delays = Delays { first: 1_000_000_000, most: 120_000_000_000, jitter: false };
        let seconds = |n| delays.after(n, 0.0) as f64 / 1e9;
        for (n, expected) in
            [(1, 1.0), (2, 1.6), (3, 2.56), (11, 109.951_162_7), (12, 120.0), (u32::MAX, 120.0)]
        {
            assert!((seconds(n) - expected).abs() < 1e-6, "{n}: {}", seconds(n));
        }
    }

    #[test]
    fn b73_jittered_delays_lie_in_their_range_and_differ() {
        let delays = Delays { first: 1_000_000_000, most: 120_000_000_000, jitter: true };
        let mut rng = fastrand::Rng::with_seed(1);
        let drawn: Vec<_> = (0..1000).map(|_| delays.after(1, rng.f64())).collect();
        assert!(drawn.iter().all(|delay| (800_000_000..=1_200_000_000).contains(delay)));
        assert!(
            drawn.iter().any(|delay| *delay < 850_000_000)
                && drawn.iter().any(|delay| *delay > 1_150_000_000)
        );
        assert!((0..1000).all(|_| delays.after(20, rng.f64()) <= delays.most));
    }
}
