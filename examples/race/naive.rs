//! The first part: each call that finds the token expired refreshes by itself.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::SystemTime,
};

use tokio::task::JoinSet;

use crate::{
    BoxError,
    api::{Api, CALLS, Pair},
    hold::Hold,
    stage::Stage,
    step::Step,
    tally::{Part, Tally},
    timeline::{Timeline, Who},
};

/// A client as it is written by hand, many times over: it looks fine, and is, for one call at a time.
struct NaiveClient {
    api: Api,
    tokens: Mutex<Option<Pair>>,
    timeline: Timeline,
}

const TITLE: &str = "Naive: each call that finds the token expired refreshes by itself";
const CAPTION: &str = "The server answers once all three refreshes came, the one that it grants first.";

pub(crate) async fn run(stage: &Stage) -> Result<Part, BoxError> {
    let timeline = Timeline::new(TITLE);
    let pair = stage.sign_in(&timeline).await?;
    let client = NaiveClient {
        api: stage.api.clone(),
        tokens: Mutex::new(Some(pair.clone())),
        timeline: timeline.clone(),
    };
    let client = Arc::new(client);

    let before = stage.begin(&timeline, &pair, Hold::Refreshes(CALLS.len())).await?;
    let calls: JoinSet<bool> = (0..CALLS.len()).map(|call| Arc::clone(&client).call(call)).collect();
    let ok = calls.join_all().await.into_iter().filter(|ok| *ok).count();

    let tally = stage.tally("naive", CALLS.len(), &before, ok).await?;
    let tokens = client.tokens().clone();
    let signed_in = stage.accepts(tokens.as_ref().map(|pair| &*pair.access)).await?;
    Ok(Part {
        title: TITLE,
        caption: stage.caption(CAPTION),
        is_layered: false,
        timeline,
        tally: Tally { signed_in, ..tally },
    })
}

// === impl NaiveClient ===

impl NaiveClient {
    /// Says whether the call succeeded.
    async fn call(self: Arc<Self>, call: usize) -> bool {
        let tell = |step| self.timeline.tell(Who::Call(call), step);
        let Some(access) = self.access_token(&tell).await else { return false };
        tell(Step::Sends { access: self.timeline.names().access(&access) });
        match self.api.send(&CALLS[call], &access).await {
            Ok(status) => {
                tell(Step::Answered { status });
                status.is_success()
            }
            Err(error) => {
                tell(Step::Failed { why: error.to_string() });
                false
            }
        }
    }

    /// The flaw: between the look at the clock and the store of the answer, any other call does the same.
    async fn access_token(&self, tell: &impl Fn(Step)) -> Option<String> {
        let names = self.timeline.names();
        let Some(pair) = self.tokens().clone() else {
            tell(Step::FindsNoToken);
            return None;
        };
        if pair.expires_at().is_ok_and(|end| SystemTime::now() < end) {
            return Some(pair.access);
        }
        let (expired, presented) = (names.access(&pair.access), names.refresh(&pair.refresh));
        tell(Step::RefreshesItself { expired, presented });
        match self.api.refresh(&pair.refresh).await {
            Ok(new) => {
                tell(Step::Stores { pair: names.pair(&new) });
                *self.tokens() = Some(new.clone());
                Some(new.access)
            }
            Err(error) => {
                tell(Step::SignsOut { why: error.to_string() });
                *self.tokens() = None;
                None
            }
        }
    }

    fn tokens(&self) -> MutexGuard<'_, Option<Pair>> {
        self.tokens.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
