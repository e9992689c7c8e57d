//! Pacing: ineffective refreshes in a row, and the backoff that follows them.

use crate::rt::{Nanos, Timestamp};

/// The delays between ineffective refreshes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Delays {
    pub(crate) initial: Nanos,
    pub(crate) max: Nanos,
    pub(crate) jitter: bool,
}

#[derive(Default)]
pub(super) struct Backoff {
    pub(super) failures: u32,
    running: Option<Box<RunningBackoff>>,
    trial: Option<Box<Timespan>>,
}

/// One ineffective refresh.
pub(super) struct Setback {
    /// When the delay begins.
    pub(super) from: Timestamp,
    pub(super) retry_after: Option<Nanos>,
    /// The rest of a valid token's lifetime. The backoff ends with it at the latest.
    pub(super) token_end: Option<Timespan>,
    /// A retry is unlikely to help, so the delays grow further.
    pub(super) is_persistent: bool,
}

/// A time span that ends by whichever clock is ahead.
#[derive(Clone, Copy)]
pub(super) struct Timespan {
    pub(super) from: Timestamp,
    pub(super) length: Nanos,
}

struct RunningBackoff {
    delay: Timespan,
    /// The server's `Retry-After`; only `reset_backoff` ends it early.
    retry_after: Option<Timespan>,
    token_end: Option<Timespan>,
}

const FACTOR: f64 = 1.6;
const JITTER: f64 = 0.2;
const MAX_IF_PERSISTENT: Nanos = 600 * 1_000_000_000;
const LONGEST_RETRY_AFTER: Nanos = 3600 * 1_000_000_000;
/// At most this share of a `Retry-After` is added to it, so that clients with the same one don't retry in
/// step.
const RETRY_AFTER_JITTER: f64 = 0.1;

// === impl Delays ===

impl Delays {
    /// The delay after `failures` in a row; `random` is in [0, 1).
    pub(super) fn after(&self, failures: u32, is_persistent: bool, random: f64) -> Nanos {
        let exponent = i32::try_from(failures.saturating_sub(1)).unwrap_or(i32::MAX);
        let max = if is_persistent { self.max.max(MAX_IF_PERSISTENT) } else { self.max } as f64;
        let delay = (self.initial as f64 * FACTOR.powi(exponent)).min(max);
        let jitter = if self.jitter { 1.0 + JITTER * (2.0 * random - 1.0) } else { 1.0 };
        (delay * jitter).min(max) as Nanos
    }

    /// A server's `Retry-After`, which is never shortened.
    fn retry_after(&self, wait: Nanos, random: f64) -> Nanos {
        let wait = wait.clamp(0, LONGEST_RETRY_AFTER);
        let jitter = if self.jitter { wait as f64 * RETRY_AFTER_JITTER * random } else { 0.0 };
        wait + jitter as Nanos
    }
}

// === impl Timespan ===

impl Timespan {
    pub(super) fn time_left(&self, now: Timestamp) -> Nanos {
        self.length.saturating_sub(now.since(self.from))
    }

    pub(super) fn is_over(&self, now: Timestamp) -> bool {
        self.time_left(now) <= 0
    }
}

// === impl Backoff ===

impl Backoff {
    /// Clears what has elapsed: what is over stays over, even if a clock is set back.
    pub(super) fn advance_to(&mut self, now: Timestamp) {
        if self.trial.as_ref().is_some_and(|trial| trial.is_over(now)) {
            let running = self.running.take().and_then(RunningBackoff::without_delay);
            *self = Self { running, ..Self::default() };
        }
        if self.running.as_ref().is_some_and(|running| running.time_left(now) <= 0) {
            self.running = None;
        }
    }

    /// Records an ineffective refresh. The next one has to wait for the delay, and for the end of a backoff
    /// that is running already.
    pub(super) fn record(&mut self, setback: Setback, now: Timestamp, delays: &Delays, random: f64) {
        let Setback { from, retry_after, token_end, is_persistent } = setback;
        self.failures = self.failures.saturating_add(1);
        let length = delays.after(self.failures, is_persistent, random);
        let retry_after = retry_after.map(|wait| Timespan { from, length: delays.retry_after(wait, random) });
        let next = RunningBackoff { delay: Timespan { from, length }, retry_after, token_end };
        if self.time_left(now).is_none_or(|left| left <= next.time_left(now)) {
            self.running = Some(Box::new(next));
        }
    }

    /// Counts the end of the grant, which needs no delay: no further refresh is made.
    pub(super) fn record_grant_end(&mut self) {
        self.cancel_trial();
        self.failures = self.failures.saturating_add(1);
    }

    /// The running backoff ends with a token that stays in use.
    pub(super) fn end_with_token(&mut self, token_end: Option<Timespan>) {
        if let Some(running) = &mut self.running {
            running.token_end = token_end;
        }
    }

    /// How long the backoff lasts. `None`: it is over.
    pub(super) fn time_left(&self, now: Timestamp) -> Option<Nanos> {
        self.running.as_ref().map(|running| running.time_left(now)).filter(|left| *left > 0)
    }

    pub(super) fn reset(&mut self) {
        self.running = None;
    }

    pub(super) fn begin_trial(&mut self, from: Timestamp, length: Nanos) {
        self.trial = Some(Box::new(Timespan { from, length }));
    }

    pub(super) fn is_on_trial(&self) -> bool {
        self.trial.is_some()
    }

    pub(super) fn cancel_trial(&mut self) {
        self.trial = None;
    }
}

// === impl RunningBackoff ===

impl RunningBackoff {
    /// The server's `Retry-After` alone, if there is one.
    fn without_delay(mut self: Box<Self>) -> Option<Box<Self>> {
        self.delay = self.retry_after?;
        self.token_end = None;
        Some(self)
    }

    fn time_left(&self, now: Timestamp) -> Nanos {
        let token_end = self.token_end.map_or(Nanos::MAX, |end| end.time_left(now));
        let retry_after = self.retry_after.map_or(Nanos::MIN, |wait| wait.time_left(now));
        self.delay.time_left(now).min(token_end).max(retry_after)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn b69_delays_grow_to_their_cap() {
        let delays = Delays { initial: 1_000_000_000, max: 120_000_000_000, jitter: false };
        let seconds = |n| delays.after(n, false, 0.0) as f64 / 1e9;
        for (n, expected) in
            [(1, 1.0), (2, 1.6), (3, 2.56), (11, 109.951_162_7), (12, 120.0), (u32::MAX, 120.0)]
        {
            assert!((seconds(n) - expected).abs() < 1e-6, "{n}: {}", seconds(n));
        }
    }

    #[test]
    fn d24_delays_after_persistent_failures_grow_in_the_same_steps_to_ten_minutes() {
        let delays = Delays { initial: 1_000_000_000, max: 120_000_000_000, jitter: false };
        for n in 1..=11 {
            assert_eq!(delays.after(n, true, 0.0), delays.after(n, false, 0.0));
        }
        assert_eq!(delays.after(12, true, 0.0) / 1_000_000_000, 175);
        assert_eq!(delays.after(15, true, 0.0), MAX_IF_PERSISTENT);
        let delays = Delays { max: 2 * MAX_IF_PERSISTENT, ..delays };
        assert_eq!(delays.after(u32::MAX, true, 0.0), 2 * MAX_IF_PERSISTENT);
    }

    #[test]
    fn b73_jittered_delays_lie_in_their_range_and_differ() {
        let delays = Delays { initial: 1_000_000_000, max: 120_000_000_000, jitter: true };
        let mut rng = fastrand::Rng::with_seed(1);
        let drawn: Vec<_> = (0..1000).map(|_| delays.after(1, false, rng.f64())).collect();
        assert!(drawn.iter().all(|delay| (800_000_000..=1_200_000_000).contains(delay)));
        assert!(
            drawn.iter().any(|delay| *delay < 850_000_000)
                && drawn.iter().any(|delay| *delay > 1_150_000_000)
        );
        assert!((0..1000).all(|_| delays.after(20, false, rng.f64()) <= delays.max));
        assert_eq!(delays.after(1, false, 0.0), 800_000_000);
    }

    #[test]
    fn b73_a_retry_after_is_lengthened_by_up_to_a_tenth() {
        let delays = Delays { initial: 1, max: 1, jitter: true };
        let second = 1_000_000_000;
        let drawn = [0.0, 0.5, 1.0].map(|random| delays.retry_after(10 * second, random));
        assert_eq!(drawn, [10 * second, 10 * second + second / 2, 11 * second]);
        assert_eq!(Delays { jitter: false, ..delays }.retry_after(10 * second, 1.0), 10 * second);
        assert_eq!(delays.retry_after(2 * LONGEST_RETRY_AFTER, 0.0), LONGEST_RETRY_AFTER);
        assert_eq!(delays.retry_after(-second, 0.0), 0);
    }

    #[test]
    fn p07_of_two_backoffs_the_one_that_ends_later_counts() {
        let delays = Delays { initial: 1_000, max: 120_000, jitter: false };
        let now = Timestamp { wall: 0, monotonic: 0 };
        let setback = |retry_after| Setback { from: now, retry_after, token_end: None, is_persistent: false };
        for waits in [[Some(5_000), None], [None, Some(5_000)]] {
            let mut backoff = Backoff::default();
            for wait in waits {
                backoff.record(setback(wait), now, &delays, 0.0);
            }
            assert_eq!((backoff.failures, backoff.time_left(now)), (2, Some(5_000)));
        }
    }
}
