//! What a session makes of a refresher's answer.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use tower_reauth::{
    Refresher, Session, SessionBuilder, Token, endpoint::EndpointError, event::EventKind, rt::Clock,
};

use crate::support::{clock, token};

/// What came of a session's first refresh.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Verdict {
    Token {
        header: String,
        /// `None`: unknown.
        life: Option<Duration>,
        /// What is presented next.
        refresh_token: Option<String>,
        notices: usize,
    },
    /// The next try is permitted after so many seconds.
    Transient(Option<String>, u64),
    Unknown(Option<String>, u64),
    Configuration(Option<String>, u64),
    Ended(Option<String>),
}

/// Refreshes once, with R1. To be called with paused time.
pub(crate) async fn verdict(builder: SessionBuilder) -> Verdict {
    let saved = Arc::<Mutex<Option<Token>>>::default();
    let (save, clock) = (Arc::clone(&saved), clock());
    let builder = builder.refresh_token("R1").clock(clock.clone()).jitter(false).save_with(move |token| {
        *save.lock().unwrap() = Some(token);
        std::future::ready(Ok::<_, std::convert::Infallible>(()))
    });
    let session = builder.build();
    let error = match session.token().await {
        Ok(given) => {
            let token = saved.lock().unwrap().take().expect("it was saved before it was given");
            let life =
                token.expires_at().map(|end| end.duration_since(token.received_at().unwrap()).unwrap());
            assert!(given.header_value().to_str().unwrap().ends_with(token.access_token()));
            return Verdict::Token {
                header: given.header_value().to_str().unwrap().to_owned(),
                life,
                refresh_token: token.refresh_token().map(str::to_owned),
                notices: token.warnings().len(),
            };
        }
        Err(error) => error,
    };
    assert!(saved.lock().unwrap().is_none());
    let code = EndpointError::find(&error).expect("it says why").code().map(str::to_owned);
    let wait = error.retry_at().map(|at| at.duration_since(clock.now().wall()).unwrap().as_secs());
    match error {
        _ if error.is_grant_ended() => {
            assert_eq!(wait, None, "nobody is asked again");
            Verdict::Ended(code)
        }
        _ if error.is_transient() => Verdict::Transient(code, wait.unwrap()),
        _ if error.is_outcome_unknown() => Verdict::Unknown(code, wait.unwrap()),
        _ if error.is_misconfigured() => Verdict::Configuration(code, wait.unwrap()),
        _ => panic!("{error:?}"),
    }
}

/// A session with an expired token, which counts the ends that it tells.
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
