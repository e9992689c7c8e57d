//! The order in which tokens reach the store.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use proptest::prelude::*;
use tokio::sync::Semaphore;
use tower_reauth::{Session, Token, refresh_fn};

use crate::support::{
    BoxError, RecordedTokens, clock, endpoint, expired, run_pending_tasks, spawn_refresh, spawn_token, token,
};

/// A store whose writes can be delayed. It records the refresh tokens that were written.
struct Store {
    written: Mutex<Vec<String>>,
    permits: Semaphore,
    calls: AtomicUsize,
}

impl Store {
    fn new() -> Arc<Self> {
        Arc::new(Self { written: Mutex::default(), permits: Semaphore::new(0), calls: AtomicUsize::new(0) })
    }

    fn write(&self, refresh_token: &str) {
        self.written.lock().unwrap().push(refresh_token.to_owned());
    }

    async fn wait(&self) {
        self.permits.acquire().await.unwrap().forget();
    }

    fn last(&self) -> String {
        self.written.lock().unwrap().last().unwrap().clone()
    }
}

#[test]
fn p09_a_save_on_a_runtime_that_nobody_drives_blocks_no_later_refresh() {
    let n = AtomicUsize::new(1);
    let refresher = refresh_fn(move |_| {
        let n = n.fetch_add(1, Ordering::SeqCst) + 1;
        async move { Ok(token(&format!("A{n} R{n} 600"))) }
    });
    let saves = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&saves);
    let clock = clock();
    let session = Session::builder(refresher)
        .token(token("A1 R1 600"))
        .clock(clock.clone())
        .jitter(false)
        .backoff(Duration::from_millis(1), Duration::from_millis(1))
        .save_timeout(Duration::from_millis(100))
        .save_with(move |_| {
            let fails = counter.fetch_add(1, Ordering::SeqCst) == 0;
            async move { if fails { Err("disk full") } else { Ok(()) } }
        })
        .build();
    let runtime = || tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let (undriven, driven) = (runtime(), runtime());
    driven.block_on(session.refresh()).unwrap();
    assert!(session.status().is_unsaved());
    clock.step(Duration::from_millis(50));
    // It saves the token again, in a task of this runtime, and returns at once.
    undriven.block_on(session.token()).unwrap();
    for round in 0..3 {
        let result = driven.block_on(session.refresh());
        let saves = saves.load(Ordering::SeqCst);
        assert!(result.is_ok(), "round {round}: {result:?}; {saves} saves");
    }
}

#[tokio::test(start_paused = true)]
async fn p02_the_late_save_of_an_abandoned_flight_leaves_the_newest_token_in_the_store() {
    let clock = clock();
    let (refresher, mut endpoint) = endpoint();
    let store = Store::new();
    let hook = Arc::clone(&store);
    let session = expired(refresher)
        .clock(clock.clone())
        .save_with(move |token: Option<Token>| {
            let store = Arc::clone(&hook);
            let is_first = store.calls.fetch_add(1, Ordering::SeqCst) == 0;
            async move {
                if is_first {
                    store.wait().await;
                }
                store.write(token.unwrap().refresh_token().unwrap());
                Ok::<_, BoxError>(())
            }
        })
        .build();
    let _waiting = spawn_token(&session);
    endpoint.next_call().await.succeed("A2 R2 60000");
    // R2 is being saved. The machine sleeps, so the next demand abandons the flight and publishes A2.
    run_pending_tasks().await;
    clock.step(Duration::from_secs(100));
    assert_eq!(session.token().await.unwrap().secret(), "A2");
    let refresh = spawn_refresh(&session);
    run_pending_tasks().await;
    endpoint.next_call().await.succeed("A3 R3 60000");
    refresh.await.unwrap().unwrap();
    run_pending_tasks().await;
    assert!(!session.status().is_unsaved());
    // Now the first save writes R2.
    store.permits.add_permits(1);
    run_pending_tasks().await;
    clock.step(Duration::from_secs(10));
    let _ = session.token().await;
    run_pending_tasks().await;
    assert_eq!(store.last(), "R3", "{:?}; {:?}", store.written, session.status());
}

#[tokio::test(start_paused = true)]
async fn p17_a_save_that_runs_during_a_sign_in_leaves_the_new_users_token_in_the_store() {
    let (refresher, mut endpoint) = endpoint();
    let store = Store::new();
    let hook = Arc::clone(&store);
    let session = expired(refresher)
        .save_with(move |token: Option<Token>| {
            let store = Arc::clone(&hook);
            async move {
                store.wait().await;
                store.write(token.unwrap().refresh_token().unwrap());
                Ok::<_, BoxError>(())
            }
        })
        .build();
    let _waiting = spawn_token(&session);
    endpoint.next_call().await.succeed("A2 R2 60000");
    // R2 is being saved.
    run_pending_tasks().await;
    session.sign_in(token("B1 Q1 60000"));
    store.permits.add_permits(10);
    run_pending_tasks().await;
    let _ = session.token().await;
    run_pending_tasks().await;
    assert_eq!(store.last(), "Q1", "{:?}; {:?}", store.written, session.status());
}

/// Another caller starts the save between the steps of the shutdown.
#[tokio::test(start_paused = true)]
async fn p17_a_shutdown_waits_for_a_save_that_another_caller_has_just_started() {
    use futures_util::FutureExt as _;

    let clock = crate::hooked_clock::HookedClock::new(clock());
    let (refresher, mut endpoint) = endpoint();
    let saves = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&saves);
    let session = expired(refresher)
        .clock(clock.clone())
        .jitter(false)
        .save_with(move |_| {
            let fails = counter.fetch_add(1, Ordering::SeqCst) == 0;
            async move {
                tokio::time::sleep(Duration::from_millis(100)).await;
                if fails { Err("disk full") } else { Ok(()) }
            }
        })
        .build();
    let waiting = spawn_token(&session);
    endpoint.next_call().await.succeed("A2 R2 60000");
    waiting.await.unwrap().unwrap();
    assert!(session.status().is_unsaved());
    clock.inner.step(Duration::from_secs(10));
    let other = session.clone();
    // The first read is that of the shutdown's mark.
    clock.on_nth_read(2, move || drop(other.token().now_or_never().unwrap().unwrap()));
    let result = session.shutdown(Duration::from_secs(10)).await;
    assert!(result.is_ok(), "{result:?} after {} saves", saves.load(Ordering::SeqCst));
}

#[tokio::test(start_paused = true)]
async fn d13_a_sign_in_while_a_response_waits_for_a_save_is_saved_right_after_that() {
    let (refresher, mut endpoint) = endpoint();
    let store = Store::new();
    let hook = Arc::clone(&store);
    let session = expired(refresher)
        .save_with(move |token: Option<Token>| {
            let store = Arc::clone(&hook);
            async move {
                store.wait().await;
                store.write(token.unwrap().refresh_token().unwrap());
                Ok::<_, BoxError>(())
            }
        })
        .build();
    let _waiting = spawn_token(&session);
    let call = endpoint.next_call().await;
    session.set_token(token("A9 - 0")).unwrap();
    run_pending_tasks().await;
    // The response waits for the save of the set token.
    call.succeed("A2 R2 60000");
    run_pending_tasks().await;
    session.sign_in(token("B1 Q1 60000"));
    store.permits.add_permits(10);
    session.idle().await;
    assert_eq!(*store.written.lock().unwrap(), ["R1", "Q1"]);
    assert!(!session.status().is_unsaved());
}

#[tokio::test(start_paused = true)]
async fn p17_nothing_is_saved_if_a_refresh_changes_nothing() {
    let (refresher, mut endpoint) = endpoint();
    let saved = RecordedTokens::default();
    let session = expired(refresher).save_with(saved.hook()).build();
    let waiting = spawn_token(&session);
    let call = endpoint.next_call().await;
    session.set_token(token("A9 - 600")).unwrap();
    // The set token stays, with the refresh token that it has.
    call.succeed("A2 - 600");
    assert_eq!(waiting.await.unwrap().unwrap().secret(), "A9");
    session.idle().await;
    assert_eq!(saved.all(), ["A9 R1"]);
}

/// The save's own timer starts when its task is first polled.
#[tokio::test(start_paused = true)]
async fn p17_idle_waits_for_the_erase_after_a_save_that_hangs() {
    let (refresher, _endpoint) = endpoint();
    let saved = RecordedTokens::default();
    let hook = saved.clone();
    let session = Session::builder(refresher)
        .token(token("A1 R1 60000"))
        .clock(clock())
        .save_with(move |token: Option<Token>| {
            hook.push(token.as_ref());
            async move {
                if token.is_some() {
                    std::future::pending::<()>().await;
                }
                Ok::<_, BoxError>(())
            }
        })
        .build();
    session.set_token(token("A2 R2 60000")).unwrap();
    tokio::time::advance(Duration::from_millis(10)).await;
    run_pending_tasks().await;
    drop(session.sign_out());
    session.idle().await;
    assert_eq!(saved.all(), ["A2 R2", "-"]);
    assert!(!session.status().is_unsaved());
}

/// One step of a random session.
#[derive(Clone, Copy, Debug)]
enum Step {
    Refresh,
    /// The refresher responds, with a successor or without.
    Respond {
        rotates: bool,
    },
    Fail,
    Set {
        own_refresh_token: bool,
    },
    SignIn,
    SignOut,
    /// Later saves succeed, fail, or don't end.
    Save(Saving),
    /// The saves that were left running end now.
    Release,
    Pass(u64),
    Call,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Saving {
    Succeeds,
    Fails,
    Held,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        3 => Just(Step::Refresh),
        4 => any::<bool>().prop_map(|rotates| Step::Respond { rotates }),
        1 => Just(Step::Fail),
        2 => any::<bool>().prop_map(|own_refresh_token| Step::Set { own_refresh_token }),
        2 => Just(Step::SignIn),
        2 => Just(Step::SignOut),
        3 => prop_oneof![Just(Saving::Succeeds), Just(Saving::Fails), Just(Saving::Held)].prop_map(Step::Save),
        2 => Just(Step::Release),
        1 => (0..8_u64).prop_map(Step::Pass),
        2 => Just(Step::Call),
    ]
}

/// What a store has: a token, written `A1 R1`, or nothing.
type Record = Option<String>;

fn record(access: &str, refresh: Option<&str>) -> String {
    format!("{access} {}", refresh.unwrap_or("-"))
}

async fn random_session(steps: Vec<Step>) {
    let (refresher, mut endpoint) = endpoint();
    let stored = Arc::new(Mutex::new(Some("A0 R0".to_owned())));
    let (mode, release) = (Arc::new(Mutex::new(Saving::Succeeds)), Arc::new(tokio::sync::Notify::new()));
    let hook = {
        let (stored, mode, release) = (Arc::clone(&stored), Arc::clone(&mode), Arc::clone(&release));
        move |token: Option<Token>| {
            let (stored, saving) = (Arc::clone(&stored), *mode.lock().unwrap());
            let released = Arc::clone(&release);
            async move {
                if saving == Saving::Held {
                    released.notified().await;
                }
                if saving == Saving::Fails {
                    return Err(BoxError::from("disk full"));
                }
                let token = token.map(|token| record(token.access_token(), token.refresh_token()));
                *stored.lock().unwrap() = token;
                Ok(())
            }
        }
    };
    let clock = clock();
    let builder = Session::builder(refresher).token(token("A0 R0 600")).jitter(false);
    let session = builder.clock(clock.clone()).save_with(hook).build();
    let mut calls = Vec::new();
    let mut answered = 0;
    for (n, step) in steps.into_iter().enumerate() {
        match step {
            Step::Refresh => {
                session.reset_backoff();
                drop(spawn_refresh(&session));
            }
            Step::Call => drop(spawn_token(&session)),
            Step::Respond { .. } | Step::Fail => {
                while calls.len() + answered < endpoint.call_count() {
                    calls.push(endpoint.next_call().await);
                }
                if !calls.is_empty() {
                    answered += 1;
                    let call = calls.remove(0);
                    match step {
                        Step::Respond { rotates: true } => call.succeed(&format!("A{n} R{n} 600")),
                        Step::Respond { rotates: false } => call.succeed(&format!("A{n} - 600")),
                        _ => call.fail(tower_reauth::RefreshError::transient("503")),
                    }
                }
            }
            Step::Set { own_refresh_token } => {
                let refresh = if own_refresh_token { format!("R{n}") } else { "-".to_owned() };
                let _ = session.set_token(token(&format!("A{n} {refresh} 600")));
            }
            Step::SignIn => session.sign_in(token(&format!("A{n} R{n} 600"))),
            Step::SignOut => drop(session.sign_out()),
            Step::Save(saving) => *mode.lock().unwrap() = saving,
            Step::Release => release.notify_waiters(),
            Step::Pass(seconds) => tokio::time::advance(Duration::from_secs(seconds)).await,
        }
        run_pending_tasks().await;
    }
    *mode.lock().unwrap() = Saving::Succeeds;
    // Calls without a response time out, as do saves that don't end.
    session.idle().await;
    if session.status().is_unsaved() {
        session.shutdown(Duration::from_secs(10)).await.unwrap();
    }
    assert!(!session.status().is_unsaved());
    let is_signed_out = session.status().is_signed_out();
    let last: Record = stored.lock().unwrap().clone();
    let tokens = session.sign_out();
    let held = tokens.access_token().map(|access| record(access, tokens.refresh_token()));
    assert_eq!(last, held, "signed out: {is_signed_out}");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 500, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn d13_p17_in_any_order_what_is_saved_last_is_what_the_session_holds(
        steps in prop::collection::vec(step(), 0..40),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
        runtime.unwrap().block_on(random_session(steps));
    }
}
