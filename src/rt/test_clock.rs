//! [`TestClock`].

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    time::{Duration, SystemTime},
};

use tokio::time::Instant;

use super::clock::{Clock, Nanos, NoTimer, Sleep, Timestamp, nanos, nanos_since_epoch, tokio_sleep};

/// A test clock that follows tokio's time and whose wall clock can jump.
///
/// With `tokio::time::pause()` a test controls all time: `tokio::time::advance` moves both clocks and the
/// timers; [`step`](Self::step) moves only the wall clock, as suspending the machine or setting the clock
/// does.
///
/// Clones share their state. Needs the feature `test-util`.
///
/// # Examples
///
/// ```
/// use std::time::{Duration, SystemTime};
/// use tower_reauth::{RefreshContext, Session, Token, refresh_fn};
/// use tower_reauth::rt::TestClock;
///
/// # tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap().block_on(async {
/// let clock = TestClock::new(SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000));
/// let refresher = refresh_fn(|_: RefreshContext| async { Ok(Token::try_new("A2")?) });
/// let token = Token::builder("A1").expires_in(Duration::from_secs(600)).build()?;
/// let session = Session::builder(refresher).token(token).clock(clock.clone()).build();
///
/// assert!(session.status().is_fresh());
/// clock.step(Duration::from_secs(3600));
/// assert!(session.status().is_expired());
/// # Ok::<(), tower_reauth::token::InvalidToken>(())
/// # }).unwrap();
/// ```
#[derive(Clone)]
pub struct TestClock {
    inner: Arc<TestClockInner>,
}

struct TestClockInner {
    start: Instant,
    /// The wall clock at `start`, plus all steps since.
    wall: AtomicI64,
}

// === impl TestClock ===

impl TestClock {
    /// Creates a clock whose wall clock reads `now`.
    pub fn new(now: SystemTime) -> Self {
        let inner = TestClockInner { start: Instant::now(), wall: AtomicI64::new(nanos_since_epoch(now)) };
        Self { inner: Arc::new(inner) }
    }

    /// Moves the wall clock forward but not the monotonic clock, as after a suspend.
    pub fn step(&self, by: Duration) {
        self.inner.wall.fetch_add(nanos(by), Ordering::SeqCst);
    }

    /// Moves the wall clock back.
    pub fn step_back(&self, by: Duration) {
        self.inner.wall.fetch_sub(nanos(by), Ordering::SeqCst);
    }
}

impl Clock for TestClock {
    fn now(&self) -> Timestamp {
        let monotonic: Nanos = nanos(self.inner.start.elapsed());
        Timestamp { wall: self.inner.wall.load(Ordering::SeqCst).saturating_add(monotonic), monotonic }
    }

    fn sleep(&self, duration: Duration) -> Result<Sleep, NoTimer> {
        tokio_sleep(duration)
    }
}

impl fmt::Debug for TestClock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TestClock").field("now", &self.now()).finish()
    }
}
