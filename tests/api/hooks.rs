//! Saving and revoking.

use std::time::Duration;

use tower_reauth::{RefreshError, Session, Token};

use crate::support::{
    BoxError, RecordedTokens, clock, endpoint, expired, run_pending_tasks, spawn_token, token,
};

/// The token is saved before any request is sent with it.
#[tokio::test(start_paused = true)]
async fn p02_c15_c32_the_save_hook_gets_the_kept_refresh_token_and_absolute_times() {
    let (refresher, mut endpoint) = endpoint();
    let (sender, mut saved) = tokio::sync::mpsc::unbounded_channel();
    let session = expired(refresher)
        .save_with(move |token: Option<Token>| {
            let _ = sender.send(token.unwrap());
            async { Ok::<_, BoxError>(()) }
        })
        .build();
    let call = spawn_token(&session);
    endpoint.next_call().await.succeed("A2 - 600");
    assert_eq!(call.await.unwrap().unwrap().secret(), "A2");
    let saved = saved.recv().await.unwrap();
    assert_eq!((saved.access_token(), saved.refresh_token()), ("A2", Some("R1")));
    let lifetime = saved.expires_at().unwrap().duration_since(saved.received_at().unwrap()).unwrap();
    assert_eq!(lifetime, Duration::from_secs(600));
    // Requests see the expiry less the margin.
    assert_eq!(
        session.token().await.unwrap().expires_at().unwrap(),
        saved.expires_at().unwrap() - Duration::from_secs(30)
    );
}

/// After a restart with the stored token, expiry and window are as before.
#[tokio::test(start_paused = true)]
async fn p02_a_stored_token_is_restored_unchanged() {
    let (refresher, mut endpoint) = endpoint();
    let (sender, mut saved) = tokio::sync::mpsc::unbounded_channel();
    let clock = clock();
    let first = Session::builder(refresher)
        .refresh_token("R0")
        .clock(clock.clone())
        .save_with(move |token: Option<Token>| {
            let _ = sender.send(token.unwrap());
            async { Ok::<_, BoxError>(()) }
        })
        .build();
    let call = spawn_token(&first);
    endpoint.next_call().await.succeed("A1 R1 600");
    let expires_at = call.await.unwrap().unwrap().expires_at();
    let stored = saved.recv().await.unwrap();
    tokio::time::advance(Duration::from_secs(300)).await;
    let (refresher, _endpoint) = crate::support::endpoint();
    let second = Session::builder(refresher).token(stored).jitter(false).clock(clock.clone()).build();
    assert_eq!(second.status().expires_at(), expires_at);
    clock.step(Duration::from_millis(119_999));
    assert!(second.status().is_fresh());
    clock.step(Duration::from_millis(1));
    assert!(second.status().is_stale());
}

/// While the store fails, callers get their token and the status reports it.
#[tokio::test(start_paused = true)]
async fn p17_c16_a_failed_save_is_retried_by_shutdown() {
    let (refresher, mut endpoint) = endpoint();
    let saved = RecordedTokens::default();
    let (fails, save) = (std::sync::Arc::new(std::sync::atomic::AtomicBool::new(true)), saved.clone());
    let failing = std::sync::Arc::clone(&fails);
    let session = expired(refresher)
        .save_with(move |token| {
            save.push(token.as_ref());
            let fails = failing.load(std::sync::atomic::Ordering::SeqCst);
            async move { if fails { Err("the keychain is locked") } else { Ok(()) } }
        })
        .build();
    let call = spawn_token(&session);
    endpoint.next_call().await.succeed("A2 R2 600");
    assert!(call.await.unwrap().is_ok());
    assert!(session.status().is_unsaved());
    assert!(session.shutdown(Duration::from_secs(3)).await.unwrap_err().is_unsaved());
    fails.store(false, std::sync::atomic::Ordering::SeqCst);
    assert!(session.shutdown(Duration::from_secs(3)).await.is_ok());
    assert_eq!(saved.all(), ["A2 R2", "A2 R2", "A2 R2"]);
    assert!(!session.status().is_unsaved());
    // It stays shut down, and still serves its token.
    assert_eq!(session.token().await.unwrap().secret(), "A2");
    assert!(session.refresh().await.unwrap_err().is_shut_down());
}

/// A process that exits waits for the refresh that its last call started.
#[tokio::test(start_paused = true)]
async fn p17_c13_shutdown_waits_for_the_flight_and_its_save() {
    let (refresher, mut endpoint) = endpoint();
    let saved = RecordedTokens::default();
    let clock = clock();
    let session = Session::builder(refresher)
        .token(token("A1 R1 600"))
        .clock(clock.clone())
        .save_with(saved.hook())
        .build();
    clock.step(Duration::from_secs(500));
    assert_eq!(session.token().await.unwrap().secret(), "A1");
    let shutdown = tokio::spawn({
        let session = session.clone();
        async move { session.shutdown(Duration::from_secs(3)).await }
    });
    run_pending_tasks().await;
    assert!(!shutdown.is_finished());
    endpoint.next_call().await.succeed("A2 R2 600");
    shutdown.await.unwrap().unwrap();
    assert_eq!(saved.all(), ["A2 R2"]);
}

/// `idle` waits for the revoke hook.
#[tokio::test(start_paused = true)]
async fn p10_c98_b142_a_token_that_arrives_after_the_sign_out_is_revoked_before_the_session_is_idle() {
    let (refresher, mut endpoint) = endpoint();
    let revoked = RecordedTokens::default();
    let revoke = revoked.clone();
    let release = std::sync::Arc::new(tokio::sync::Notify::new());
    let released = std::sync::Arc::clone(&release);
    let session = expired(refresher)
        .revoke_with(move |token| {
            revoke.push(Some(&token));
            let released = std::sync::Arc::clone(&released);
            async move {
                released.notified().await;
                Ok::<_, BoxError>(())
            }
        })
        .build();
    let waiting = spawn_token(&session);
    let call = endpoint.next_call().await;
    let _ = session.sign_out();
    let idle = tokio::spawn({
        let session = session.clone();
        async move { session.idle().await }
    });
    call.succeed("A2 R2 600");
    assert!(waiting.await.unwrap().unwrap_err().is_signed_out());
    run_pending_tasks().await;
    assert_eq!(revoked.all(), ["A2 R2"]);
    assert!(!idle.is_finished());
    release.notify_one();
    idle.await.unwrap();
    assert!(session.status().is_signed_out());
}

/// It delays `idle` only until its timeout.
#[tokio::test(start_paused = true)]
async fn p09_a_revoke_hook_that_never_ends_times_out() {
    let (refresher, mut endpoint) = endpoint();
    let session = expired(refresher).revoke_with(|_| std::future::pending::<Result<(), BoxError>>()).build();
    let waiting = spawn_token(&session);
    let call = endpoint.next_call().await;
    let _ = session.sign_out();
    call.succeed("A2 R2 600");
    assert!(waiting.await.unwrap().is_err());
    session.idle().await;
}

#[tokio::test(start_paused = true)]
async fn p09_a_panic_in_the_event_hook_does_not_affect_the_session() {
    let (refresher, mut endpoint) = endpoint();
    let session = expired(refresher).on_event(|_| panic!("in the listener")).build();
    let waiting = spawn_token(&session);
    endpoint.next_call().await.succeed("A2 R2 600");
    assert_eq!(waiting.await.unwrap().unwrap().secret(), "A2");
}

/// An invalid token is a typed error of the refresher, and the last good token stays.
#[tokio::test(start_paused = true)]
async fn c95_a_response_that_no_header_can_carry_leaves_the_token_in_use() {
    let refresher = tower_reauth::refresh_fn(|_| async {
        let token = Token::builder("A\u{2011}2").build()?;
        Ok::<_, RefreshError>(token)
    });
    let clock = clock();
    let session = Session::builder(refresher).token(token("A1 R1 600")).clock(clock.clone()).build();
    let error = session.refresh().await.unwrap_err();
    assert!(error.is_misconfigured());
    assert_eq!(session.token().await.unwrap().secret(), "A1");
}

/// An operator sees "disk full" in the event of each failed save, and the error of a failed revocation.
#[tokio::test(start_paused = true)]
async fn p17_the_event_of_a_failed_hook_has_the_cause() {
    use std::sync::{Arc, Mutex};

    use tower_reauth::event::EventKind;

    let (refresher, mut endpoint) = endpoint();
    let events = Arc::<Mutex<Vec<String>>>::default();
    let listen = Arc::clone(&events);
    let session = expired(refresher)
        .save_with(|_| async { Err(BoxError::from("disk full")) })
        .revoke_with(|_| async { Err(BoxError::from("503")) })
        .on_event(move |event| {
            let (what, error) = match &event.kind {
                EventKind::SaveFailed { error, .. } => ("save", error),
                EventKind::TokenRevokeFailed { error, .. } => ("revoke", error),
                _ => return,
            };
            let why = std::error::Error::source(error).map(ToString::to_string);
            listen.lock().unwrap().push(format!("{what} {why:?}"));
        })
        .build();
    let demand = || {
        let session = session.clone();
        tokio::spawn(async move { session.token().await })
    };
    let waiting = demand();
    endpoint.next_call().await.succeed("A2 R2 600");
    waiting.await.unwrap().unwrap();
    session.shutdown(Duration::from_secs(3)).await.unwrap_err();
    assert_eq!(*events.lock().unwrap(), ["save Some(\"disk full\")", "save Some(\"disk full\")"]);

    let (refresher, mut endpoint) = crate::support::endpoint();
    let listen = Arc::clone(&events);
    let session = expired(refresher)
        .revoke_with(|_| std::future::pending::<Result<(), BoxError>>())
        .on_event(move |event| {
            if let EventKind::TokenRevokeFailed { error, .. } = &event.kind {
                listen.lock().unwrap().push(format!("revoke {:?}", !error.is_timeout()));
            }
        })
        .build();
    let waiting = spawn_token(&session);
    let call = endpoint.next_call().await;
    let _ = session.sign_out();
    call.succeed("A2 R2 600");
    waiting.await.unwrap().unwrap_err();
    session.idle().await;
    assert_eq!(events.lock().unwrap().last().unwrap(), "revoke false");
}

#[tokio::test(start_paused = true)]
async fn d33_each_listener_is_called() {
    let (refresher, _endpoint) = crate::support::endpoint();
    let calls = std::sync::Arc::<std::sync::Mutex<Vec<&str>>>::default();
    let listener = |name| {
        let calls = std::sync::Arc::clone(&calls);
        move |_: &tower_reauth::event::Event| calls.lock().unwrap().push(name)
    };
    let session = expired(refresher).on_event(listener("first")).on_event(listener("second")).build();
    let _ = session.sign_out();
    assert_eq!(*calls.lock().unwrap(), ["first", "second"]);
}
