//! How a session classifies a refresher's result.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use tower_reauth::{
    Refresher, Session, SessionBuilder, Token, endpoint::EndpointError, event::EventKind, rt::Clock,
};

use crate::support::{clock, token};

/// The outcome of a session's first refresh.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Classified {
    Token {
        header: String,
        /// `None`: unknown.
        lifetime: Option<Duration>,
        /// The one that is presented next.
        refresh_token: Option<String>,
        warnings: usize,
    },
    /// With the error code, and the seconds until the next try is permitted.
    Transient(Option<String>, u64),
    Unknown(Option<String>, u64),
    Misconfigured(Option<String>, u64),
    GrantEnded(Option<String>),
}

/// Refreshes once, with R1. To be called with paused time.
pub(crate) async fn classify(builder: SessionBuilder) -> Classified {
    let saved = Arc::<Mutex<Option<Token>>>::default();
    let (save, clock) = (Arc::clone(&saved), clock());
    let builder = builder.refresh_token("R1").clock(clock.clone()).jitter(false).save_with(move |token| {
        *save.lock().unwrap() = token;
        std::future::ready(Ok::<_, std::convert::Infallible>(()))
    });
    let session = builder.build();
    let error = match session.token().await {
        Ok(given) => {
            let token = saved.lock().unwrap().take().expect("it was saved before it was returned");
            let lifetime =
                token.expires_at().map(|end| end.duration_since(token.received_at().unwrap()).unwrap());
            assert!(given.header_value().to_str().unwrap().ends_with(token.access_token()));
            return Classified::Token {
                header: given.header_value().to_str().unwrap().to_owned(),
                lifetime,
                refresh_token: token.refresh_token().map(str::to_owned),
                warnings: token.warnings().len(),
            };
        }
        Err(error) => error,
    };
    assert!(saved.lock().unwrap().is_none());
    let code = EndpointError::find(&error).expect("it says why").code().map(str::to_owned);
    let wait = error.retry_at().map(|at| at.duration_since(clock.now().wall()).unwrap().as_secs());
    match error {
        _ if error.is_grant_ended() => {
            assert_eq!(wait, None, "no further request is permitted");
            Classified::GrantEnded(code)
        }
        _ if error.is_transient() => Classified::Transient(code, wait.unwrap()),
        _ if error.is_outcome_unknown() => Classified::Unknown(code, wait.unwrap()),
        _ if error.is_misconfigured() => Classified::Misconfigured(code, wait.unwrap()),
        _ => panic!("{error:?}"),
    }
}

/// A session with an expired token, and the number of `GrantEnded` events.
pub(crate) fn session(refresher: impl Refresher) -> (SessionBuilder, Arc<Mutex<usize>>) {
    let ends = Arc::<Mutex<usize>>::default();
    let counter = Arc::clone(&ends);
    let builder = Session::builder(refresher).token(token("A1 R1 0")).clock(clock()).jitter(false).on_event(
        move |event| {
            *counter.lock().unwrap() += usize::from(matches!(event.kind, EventKind::GrantEnded { .. }))
        },
    );
    (builder, ends)
}
