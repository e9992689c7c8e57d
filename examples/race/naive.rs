//! The first run: each call that finds the token expired refreshes it.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::SystemTime,
};

use tokio::task::JoinSet;

use crate::{
    BoxError,
    api::{Api, CALLS, Pair},
    counts::{Run, Totals},
    response_order::RespondAfter,
    setup::Setup,
    step::Step,
    timeline::{Timeline, Who},
};

/// A common hand-written client. It is correct for one call at a time.
struct NaiveClient {
    api: Api,
    tokens: Mutex<Option<Pair>>,
    timeline: Timeline,
}

const TITLE: &str = "Naive: each call that finds the token expired refreshes it";
const CAPTION: &str = "The server responds once all three refreshes have arrived, to the granted one first.";

pub(crate) async fn run(setup: &Setup) -> Result<Run, BoxError> {
    let timeline = Timeline::new(TITLE);
    let pair = setup.sign_in(&timeline).await?;
    let client = NaiveClient {
        api: setup.api.clone(),
        tokens: Mutex::new(Some(pair.clone())),
        timeline: timeline.clone(),
    };
    let client = Arc::new(client);

    let before = setup.begin(&timeline, &pair, RespondAfter::Refreshes(CALLS.len())).await?;
    let calls: JoinSet<bool> = (0..CALLS.len()).map(|call| Arc::clone(&client).call(call)).collect();
    let ok = calls.join_all().await.into_iter().filter(|ok| *ok).count();

    let totals = setup.totals("naive", CALLS.len(), &before, ok).await?;
    let tokens = client.tokens().clone();
    let signed_in = setup.accepts(tokens.as_ref().map(|pair| &*pair.access)).await?;
    Ok(Run {
        title: TITLE,
        caption: setup.caption(CAPTION),
        is_layered: false,
        timeline,
        totals: Totals { signed_in, ..totals },
    })
}

// === impl NaiveClient ===

impl NaiveClient {
    /// Returns whether the call succeeded.
    async fn call(self: Arc<Self>, call: usize) -> bool {
        let log = |step| self.timeline.log(Who::Call(call), step);
        let Some(access) = self.access_token(&log).await else { return false };
        log(Step::Sends { access: self.timeline.names().access(&access) });
        match self.api.send(&CALLS[call], &access).await {
            Ok(status) => {
                log(Step::Receives { status });
                status.is_success()
            }
            Err(error) => {
                log(Step::Fails { reason: error.to_string() });
                false
            }
        }
    }

    /// The bug: until the new pair is stored, every other call finds the same expired token.
    async fn access_token(&self, log: &impl Fn(Step)) -> Option<String> {
        let names = self.timeline.names();
        let Some(pair) = self.tokens().clone() else {
            log(Step::FindsNoToken);
            return None;
        };
        if pair.expires_at().is_ok_and(|expires_at| SystemTime::now() < expires_at) {
            return Some(pair.access);
        }
        let (expired, presented) = (names.access(&pair.access), names.refresh(&pair.refresh));
        log(Step::RefreshesAlone { expired, presented });
        match self.api.refresh(&pair.refresh).await {
            Ok(new) => {
                log(Step::StoresTokens { pair: names.pair(&new) });
                *self.tokens() = Some(new.clone());
                Some(new.access)
            }
            Err(error) => {
                log(Step::SignsOut { reason: error.to_string() });
                *self.tokens() = None;
                None
            }
        }
    }

    fn tokens(&self) -> MutexGuard<'_, Option<Pair>> {
        self.tokens.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
