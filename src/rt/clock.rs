//! Clocks and timers.
//!
//! Neither clock is sufficient: a monotonic clock may stop during suspend, and a wall clock can be set back.
//! A session reads both and uses the *larger* difference as the elapsed time.

use std::{
    fmt,
    future::Future,
    pin::Pin,
    time::{Duration, SystemTime},
};

/// Nanoseconds, the unit of all arithmetic on time, which saturates.
pub(crate) type Nanos = i64;

/// The longest time span, a hundred years. Longer ones are clamped to it.
pub(crate) const LONGEST: Nanos = 100 * 365 * 86_400 * 1_000_000_000;

/// One reading of both clocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timestamp {
    pub(crate) wall: Nanos,
    pub(crate) monotonic: Nanos,
}

/// A timer future.
pub type Sleep = Pin<Box<dyn Future<Output = ()> + Send>>;

/// No timer is available.
///
/// Usually caused by a call outside a tokio runtime, or by a runtime that was built without `enable_time()`.
#[derive(Clone, Copy, Debug)]
pub struct NoTimer;

/// A source of time.
///
/// # Examples
///
/// ```
/// use std::time::{Duration, SystemTime};
/// use tower_reauth::rt::{Clock, NoTimer, Sleep, SystemClock, Timestamp};
///
/// /// The system time, one hour ahead.
/// struct Ahead;
///
/// impl Clock for Ahead {
///     fn now(&self) -> Timestamp {
///         let now = SystemClock.now();
///         Timestamp::new(now.wall() + Duration::from_secs(3600), now.monotonic())
///     }
///
///     fn sleep(&self, duration: Duration) -> Result<Sleep, NoTimer> {
///         SystemClock.sleep(duration)
///     }
/// }
///
/// assert!(Ahead.now().wall() > SystemTime::now());
/// ```
pub trait Clock: Send + Sync + 'static {
    /// Reads both clocks. Called for every request: must be fast and must not block.
    fn now(&self) -> Timestamp;

    /// Reads both clocks, the monotonic one precisely, to measure how long a refresh takes. Not called while
    /// the token is fresh. Default: [`now`](Self::now).
    fn precise_now(&self) -> Timestamp {
        self.now()
    }

    /// Creates a timer that completes after `duration`.
    ///
    /// # Errors
    ///
    /// [`NoTimer`] if no timer is available.
    fn sleep(&self, duration: Duration) -> Result<Sleep, NoTimer>;
}

/// The default: system clocks and tokio timers.
///
/// On Linux [`now`](Clock::now) reads the coarse clocks, which have a resolution of a few milliseconds and
/// cost a tenth as much.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

// === impl Timestamp ===

impl Timestamp {
    /// Creates a timestamp; the monotonic part counts from an arbitrary fixed instant.
    ///
    /// Times that don't fit into 64 bits of nanoseconds (before 1970, after 2262) are clamped.
    pub fn new(wall: SystemTime, monotonic: Duration) -> Self {
        Self { wall: nanos_since_epoch(wall), monotonic: nanos(monotonic) }
    }

    /// The time of the wall clock.
    pub fn wall(&self) -> SystemTime {
        system_time(self.wall)
    }

    /// The time of the monotonic clock, relative to an arbitrary instant.
    pub fn monotonic(&self) -> Duration {
        duration(self.monotonic)
    }

    /// The time elapsed since `earlier`: the larger difference of the two clocks.
    #[inline]
    pub(crate) fn since(self, earlier: Self) -> Nanos {
        let wall = self.wall.saturating_sub(earlier.wall);
        let monotonic = self.monotonic.saturating_sub(earlier.monotonic);
        wall.max(monotonic)
    }

    /// The time since `earlier` by the monotonic clock, the only one that is read precisely.
    pub(crate) fn elapsed_since(self, earlier: Self) -> Duration {
        duration(self.monotonic.saturating_sub(earlier.monotonic))
    }

    /// `earlier` with its wall time derived from the monotonic clock, if the wall clock has been set back
    /// past it.
    pub(crate) fn anchor(self, earlier: Self) -> Self {
        // If the monotonic clock shows less, too, this was read before `earlier`, by a thread that was held up.
        if self.wall >= earlier.wall || self.monotonic < earlier.monotonic {
            return earlier;
        }
        let passed = self.monotonic.saturating_sub(earlier.monotonic).max(0);
        Self { wall: self.wall.saturating_sub(passed), monotonic: earlier.monotonic }
    }
}

// === impl SystemClock ===

impl Clock for SystemClock {
    #[cfg(target_os = "linux")]
    #[inline]
    fn now(&self) -> Timestamp {
        use std::sync::LazyLock;

        use rustix::time::{ClockId, clock_getres, clock_gettime};

        /// How far the coarse clock may lag. It is added, as a slow clock would send a token that has
        /// expired.
        static LAG: LazyLock<Nanos> = LazyLock::new(|| nanos_of(clock_getres(ClockId::RealtimeCoarse)));

        Timestamp {
            wall: nanos_of(clock_gettime(ClockId::RealtimeCoarse)).wrapping_add(*LAG),
            monotonic: nanos_of(clock_gettime(ClockId::MonotonicCoarse)),
        }
    }

    /// The wall clock stays the coarse one. It can lag by more than [`now`](Clock::now) adds, so a precise
    /// time could be later than that of the next `now`, which would look like a clock that was set back.
    #[cfg(target_os = "linux")]
    fn precise_now(&self) -> Timestamp {
        use rustix::time::{ClockId, clock_gettime};

        Timestamp { monotonic: nanos_of(clock_gettime(ClockId::Monotonic)), ..self.now() }
    }

    #[cfg(not(target_os = "linux"))]
    #[expect(clippy::disallowed_methods, reason = "this is where time comes from")]
    fn now(&self) -> Timestamp {
        use std::{sync::OnceLock, time::Instant};
        static ORIGIN: OnceLock<Instant> = OnceLock::new();
        let monotonic = ORIGIN.get_or_init(Instant::now).elapsed();
        Timestamp::new(SystemTime::now(), monotonic)
    }

    fn sleep(&self, duration: Duration) -> Result<Sleep, NoTimer> {
        tokio_sleep(duration)
    }
}

#[cfg(target_os = "linux")]
#[inline]
fn nanos_of(time: rustix::time::Timespec) -> Nanos {
    // 64 bits of nanoseconds last until the year 2262.
    (time.tv_sec as Nanos).wrapping_mul(1_000_000_000).wrapping_add(time.tv_nsec as Nanos)
}

/// A timer of the current tokio runtime.
#[expect(clippy::disallowed_methods, reason = "this is where timers come from")]
pub(crate) fn tokio_sleep(duration: Duration) -> Result<Sleep, NoTimer> {
    tokio::runtime::Handle::try_current().map_err(|_| NoTimer)?;
    // tokio can't say whether a runtime has timers; if it has none, creating one panics.
    std::panic::catch_unwind(|| Box::pin(tokio::time::sleep(duration)) as Sleep).map_err(|_| NoTimer)
}

// === impl NoTimer ===

impl fmt::Display for NoTimer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("no timer available: call from a tokio runtime built with enable_time()")
    }
}

impl std::error::Error for NoTimer {}

pub(crate) fn nanos(duration: Duration) -> Nanos {
    Nanos::try_from(duration.as_nanos()).unwrap_or(Nanos::MAX).min(LONGEST)
}

pub(crate) fn duration(nanos: Nanos) -> Duration {
    Duration::from_nanos(u64::try_from(nanos).unwrap_or(0))
}

pub(crate) fn nanos_since_epoch(time: SystemTime) -> Nanos {
    let since = time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    Nanos::try_from(since.as_nanos()).unwrap_or(Nanos::MAX)
}

pub(crate) fn system_time(nanos: Nanos) -> SystemTime {
    SystemTime::UNIX_EPOCH + duration(nanos)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(wall: Nanos, monotonic: Nanos) -> Timestamp {
        Timestamp { wall, monotonic }
    }

    #[test]
    fn p13_elapsed_time_is_the_larger_difference() {
        assert_eq!(at(100, 5).since(at(10, 1)), 90);
        assert_eq!(at(100, 500).since(at(10, 1)), 499);
        assert_eq!(at(5, 3).since(at(10, 1)), 2);
    }

    #[test]
    fn p13_a_wall_clock_set_back_past_the_receipt_is_anchored_by_the_monotonic_clock() {
        let anchored = at(50, 30).anchor(at(100, 10));
        assert_eq!(anchored, at(30, 10));
        assert_eq!(at(50, 30).since(anchored), 20);
        assert_eq!(at(150, 30).anchor(at(100, 10)), at(100, 10));
    }

    #[test]
    fn b34_out_of_range_times_are_clamped() {
        assert_eq!(nanos(Duration::MAX), LONGEST);
        assert_eq!(duration(-5), Duration::ZERO);
        assert_eq!(nanos_since_epoch(SystemTime::UNIX_EPOCH - Duration::from_secs(9)), 0);
        let far = at(Nanos::MAX, Nanos::MAX);
        assert_eq!(far.since(at(Nanos::MIN, 0)), Nanos::MAX);
    }

    #[test]
    fn p09_a_timer_outside_a_runtime_is_an_error() {
        assert!(SystemClock.sleep(Duration::ZERO).is_err());
    }

    #[test]
    fn p09_a_timer_on_a_runtime_without_timers_is_an_error() {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        assert!(runtime.block_on(async { SystemClock.sleep(Duration::ZERO).is_err() }));
    }
}
