//! Tokio's time, stopped.

use std::{sync::mpsc, time::Duration};

/// While it exists, no timer of a current-thread runtime fires, however long anything takes, until the test
/// advances the time.
///
/// For tests over real connections: paused time alone would advance to the next timer whenever all tasks wait
/// for the network.
#[must_use]
pub(crate) struct StoppedTime {
    _held: mpsc::Sender<()>,
}

impl StoppedTime {
    pub(crate) fn new() -> Self {
        let (held, until_dropped) = mpsc::channel();
        // Paused time doesn't advance by itself while a blocking task runs.
        tokio::task::spawn_blocking(move || until_dropped.recv());
        tokio::time::pause();
        Self { _held: held }
    }

    /// Lets the timers fire that are due within this time.
    pub(crate) async fn advance(&self, by: Duration) {
        // Timers round up to whole milliseconds.
        tokio::time::advance(by + Duration::from_millis(1)).await;
    }
}
