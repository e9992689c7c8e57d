//! The order in which tokens reach the store.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

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
        .wait_timeout(Duration::from_secs(1))
        .save_timeout(Duration::from_millis(100))
        .refresh_timeout(Duration::from_secs(5))
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
