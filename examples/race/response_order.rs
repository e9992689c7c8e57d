//! Decides when the built-in server responds to refreshes, and in which order, so that each race ends the
//! same way.

use std::time::Duration;

use tokio::{sync::watch, time::timeout};

use crate::timeline::Timeline;

/// When a granted refresh gets its response.
pub(crate) enum RespondAfter {
    /// After this many refreshes have arrived, or after 300 ms: with the layer the others never arrive.
    Refreshes(usize),
    /// Once the value is `true`.
    Signal(watch::Receiver<bool>),
}

/// The traffic of one run, as the server sees it.
pub(crate) struct Traffic {
    pub(crate) timeline: Timeline,
    respond_after: RespondAfter,
    received: watch::Sender<Received>,
}

#[derive(Default)]
struct Received {
    refreshes: usize,
    calls: usize,
}

const WAIT_FOR_REFRESHES: Duration = Duration::from_millis(300);
/// Reached only on a very busy machine: the call arrives at once.
const WAIT_FOR_CALL: Duration = Duration::from_secs(3);

// === impl Traffic ===

impl Traffic {
    pub(crate) fn new(timeline: Timeline, respond_after: RespondAfter) -> Self {
        Self { timeline, respond_after, received: watch::Sender::default() }
    }

    /// Counts a refresh that was decided but not responded to.
    pub(crate) fn refresh_received(&self) {
        self.received.send_modify(|received| received.refreshes += 1);
    }

    pub(crate) fn call_received(&self) {
        self.received.send_modify(|received| received.calls += 1);
    }

    /// Waits until the server may respond to a refresh that it granted.
    pub(crate) async fn before_grant(&self) {
        match &self.respond_after {
            RespondAfter::Refreshes(expected) => {
                self.wait_until(WAIT_FOR_REFRESHES, |received| received.refreshes >= *expected).await;
            }
            RespondAfter::Signal(signal) => {
                // The sender is dropped only after the run.
                let _ = signal.clone().wait_for(|is_set| *is_set).await;
            }
        }
    }

    /// Waits until the server may respond to a refresh that it refused: after the first call, whose client
    /// has stored the new tokens by then. So no loser's sign-out comes before the winner's tokens are stored.
    pub(crate) async fn before_refusal(&self) {
        self.before_grant().await;
        self.wait_until(WAIT_FOR_CALL, |received| received.calls > 0).await;
    }

    async fn wait_until(&self, max: Duration, condition: impl FnMut(&Received) -> bool) {
        let _ = timeout(max, self.received.subscribe().wait_for(condition)).await;
    }
}
