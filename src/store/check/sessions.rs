//! The step in which sessions use the store.

use std::sync::{Arc, Mutex};

use tokio::task::{JoinSet, yield_now};

use crate::{
    error::Error,
    refresh::error::RefreshError,
    refresh::refresher::refresh_fn,
    session::Session,
    store::{Hold, Loaded, Record, StoreError, Swap, TokenStore, Version},
    sync,
    token::Token,
};

use super::{Step, describe, join};

pub(super) const COUNT: usize = 8;
const REFRESHES: usize = 50;

/// A token endpoint that accepts each refresh token once.
#[derive(Default)]
struct Endpoint {
    exchanges: usize,
    refused: usize,
}

/// A store that yields before each operation, so that those of other sessions come in between even if it
/// never waits.
struct Yielding<S>(S);

pub(super) async fn refreshes<S: TokenStore>(step: Step, stores: Vec<S>) {
    let endpoint = Arc::new(Mutex::new(Endpoint::default()));
    let session = |store| {
        let endpoint = Arc::clone(&endpoint);
        let refresher = refresh_fn(move |cx| {
            let token = sync::lock(&endpoint).exchange(cx.refresh_token());
            async move {
                yield_now().await;
                token
            }
        });
        Session::builder(refresher).build_shared(Yielding(store))
    };
    let sessions: Vec<_> = stores.into_iter().map(session).collect();
    if let Err(error) = sessions[0].sign_in(token(0)).await {
        fail(step, &endpoint, &error);
    }
    for session in &sessions {
        if let Err(error) = session.load().await {
            fail(step, &endpoint, &error);
        }
    }
    for _ in 0..REFRESHES {
        let mut tasks = JoinSet::new();
        for session in &sessions {
            let session = session.session().clone();
            tasks.spawn(async move { session.refresh().await });
        }
        for result in join(tasks).await {
            if let Err(error) = result {
                fail(step, &endpoint, &error);
            }
        }
    }
    let Endpoint { exchanges, refused } = *sync::lock(&endpoint);
    if (exchanges, refused) != (REFRESHES, 0) {
        step.fail(format_args!(
            "{REFRESHES} refreshes made {exchanges} exchanges, of which {refused} were refused"
        ));
    }
}

fn fail(step: Step, endpoint: &Mutex<Endpoint>, error: &Error) -> ! {
    let Endpoint { exchanges, refused } = *sync::lock(endpoint);
    step.fail(format_args!(
        "after {exchanges} exchanges, of which {refused} were refused: {}",
        describe(error)
    ))
}

fn token(number: usize) -> Token {
    let token = Token::builder(format!("A{number}")).refresh_token(format!("R{number}"));
    token.build().unwrap_or_else(|error| unreachable!("{error}"))
}

// === impl Yielding ===

impl<S: TokenStore> TokenStore for Yielding<S> {
    async fn load(&self) -> Result<Option<Loaded>, StoreError> {
        yield_now().await;
        self.0.load().await
    }

    async fn swap(&self, expected: Option<&Version>, record: &Record) -> Result<Swap, StoreError> {
        yield_now().await;
        self.0.swap(expected, record).await
    }

    async fn changed(&self) {
        self.0.changed().await;
    }

    async fn try_hold(&self) -> Result<Hold, StoreError> {
        self.0.try_hold().await
    }
}

// === impl Endpoint ===

impl Endpoint {
    fn exchange(&mut self, presented: Option<&str>) -> Result<Token, RefreshError> {
        let current = self.exchanges - self.refused;
        self.exchanges += 1;
        if presented == Some(&*format!("R{current}")) {
            return Ok(token(current + 1));
        }
        self.refused += 1;
        Err(RefreshError::grant_ended("the refresh token was presented before"))
    }
}
