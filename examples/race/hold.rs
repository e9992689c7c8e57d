//! When the built-in server answers refreshes, and in which order: what makes a race come out the same each time.

use std::time::Duration;

use tokio::{sync::watch, time::timeout};

use crate::timeline::Timeline;

/// Until when the answers of the refresh route are held.
pub(crate) enum Hold {
    /// Until so many refreshes came, or 300 ms: with the layer the others never come.
    Refreshes(usize),
    /// Until this says so.
    Until(watch::Receiver<bool>),
}

/// One part's traffic, as the server sees it.
pub(crate) struct Round {
    pub(crate) timeline: Timeline,
    hold: Hold,
    seen: watch::Sender<Seen>,
}

#[derive(Default)]
struct Seen {
    refreshes: usize,
    calls: usize,
}

/// How long an answer is held for further refreshes.
const FOR_OTHERS: Duration = Duration::from_millis(300);
/// How long a refusal is held for the winner's call; it comes at once but on a machine that is very busy.
const FOR_THE_WINNER: Duration = Duration::from_secs(3);

// === impl Round ===

impl Round {
    pub(crate) fn new(timeline: Timeline, hold: Hold) -> Self {
        Self { timeline, hold, seen: watch::Sender::default() }
    }

    /// A refresh came and its verdict is there, though not its answer.
    pub(crate) fn refresh_came(&self) {
        self.seen.send_modify(|seen| seen.refreshes += 1);
    }

    pub(crate) fn call_came(&self) {
        self.seen.send_modify(|seen| seen.calls += 1);
    }

    /// Waits until a refresh that was granted may be answered.
    pub(crate) async fn winners_turn(&self) {
        match &self.hold {
            Hold::Refreshes(expected) => self.until(FOR_OTHERS, |seen| seen.refreshes >= *expected).await,
            Hold::Until(open) => {
                // Its other end is dropped only when the part has ended.
                let _ = open.clone().wait_for(|open| *open).await;
            }
        }
    }

    /// Waits until a refresh that was refused may be answered: once a call has come, whose client has the winner's
    /// tokens by then. So the losers' sign-out can't come before that which it undoes.
    pub(crate) async fn losers_turn(&self) {
        self.winners_turn().await;
        self.until(FOR_THE_WINNER, |seen| seen.calls > 0).await;
    }

    async fn until(&self, longest: Duration, reached: impl FnMut(&Seen) -> bool) {
        let _ = timeout(longest, self.seen.subscribe().wait_for(reached)).await;
    }
}
