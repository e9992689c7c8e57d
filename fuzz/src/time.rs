//! Time that passes only while everything waits.

use std::time::{Duration, SystemTime};

use tower_reauth::rt::TestClock;

/// What a new clock reads: 14 November 2023, 22:13:20 GMT.
pub(crate) fn start() -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000)
}

/// The year 10,680. Every time of a token is earlier: the latest date is in the year 9999.
pub(crate) fn latest() -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(1 << 38)
}

/// Runs a future with a clock.
pub(crate) fn run<T>(scenario: impl AsyncFnOnce(TestClock) -> T) -> T {
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    let runtime = runtime.enable_time().start_paused(true).build().expect("a runtime can be built");
    runtime.block_on(async { scenario(TestClock::new(start())).await })
}
