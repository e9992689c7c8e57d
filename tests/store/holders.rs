//! Holders of a claim that stand still or were killed, and stores with a hold.

use std::{
    future::Future,
    mem,
    pin::Pin,
    sync::{Arc, Mutex},
    task::{Context, Poll, Waker},
    time::Duration,
};

use serde_json::{Value, json};
use tokio::{
    sync::oneshot,
    task::JoinHandle,
    time::{Instant, sleep},
};
use tower_reauth::{
    RefreshError, Session,
    event::EventKind,
    refresh::RefreshReason,
    rt::{NoRuntime, Spawner, Task, TestClock},
    store::{SharedSession, StoreError},
};

use crate::{
    scripted::{
        SECOND, ScriptedStore, assert_about, builder, busy_holder, claimed, lapse, open, record, seconds,
        secret,
    },
    support::{Endpoint, clock, run_pending_tasks, spawn_refresh, spawn_token},
};

/// A runtime that can stand still, and that can be killed.
#[derive(Clone, Default)]
struct Runtime(Arc<Mutex<RuntimeState>>);

#[derive(Default)]
struct RuntimeState {
    stands_still: bool,
    wakers: Vec<Waker>,
    tasks: Vec<JoinHandle<()>>,
}

/// Spawns on the runtime that callers are on.
#[derive(Clone, Default)]
struct Callers(Arc<Mutex<Runtime>>);

struct Driven {
    runtime: Runtime,
    task: Task,
}

// === impl Runtime ===

impl Runtime {
    fn stand_still(&self) {
        self.0.lock().unwrap().stands_still = true;
    }

    fn go_on(&self) {
        let wakers = {
            let mut state = self.0.lock().unwrap();
            state.stands_still = false;
            mem::take(&mut state.wakers)
        };
        wakers.into_iter().for_each(Waker::wake);
    }

    fn kill(&self) {
        for task in mem::take(&mut self.0.lock().unwrap().tasks) {
            task.abort();
        }
    }
}

impl Spawner for Callers {
    fn is_ready(&self) -> bool {
        true
    }

    fn spawn(&self, task: Task) -> Result<(), NoRuntime> {
        let runtime = self.0.lock().unwrap().clone();
        let spawned = tokio::spawn(Driven { runtime: runtime.clone(), task });
        runtime.0.lock().unwrap().tasks.push(spawned);
        Ok(())
    }
}

impl Future for Driven {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        {
            let mut state = self.runtime.0.lock().unwrap();
            if state.stands_still {
                state.wakers.push(cx.waker().clone());
                return Poll::Pending;
            }
        }
        self.task.as_mut().poll(cx)
    }
}

/// A process whose runtime the test controls, and how often it lost a claim.
struct Process {
    shared: SharedSession,
    endpoint: Endpoint,
    runtime: Runtime,
    callers: Callers,
    lost_claims: Arc<Mutex<usize>>,
}

impl Process {
    fn new(clock: &TestClock, store: &ScriptedStore) -> Self {
        let (builder, endpoint) = builder(clock);
        let (runtime, callers) = (Runtime::default(), Callers::default());
        *callers.0.lock().unwrap() = runtime.clone();
        let lost_claims = Arc::<Mutex<usize>>::default();
        let lost = Arc::clone(&lost_claims);
        let shared = builder
            .spawner(callers.clone())
            .on_event(move |event| {
                *lost.lock().unwrap() += usize::from(matches!(event.kind, EventKind::ClaimLost))
            })
            .build_shared(store.clone());
        Self { shared, endpoint, runtime, callers, lost_claims }
    }

    fn session(&self) -> &Session {
        self.shared.session()
    }

    fn lost_claims(&self) -> usize {
        *self.lost_claims.lock().unwrap()
    }
}

#[tokio::test(start_paused = true)]
async fn c26_a_late_response_of_a_lost_claim_is_dropped() {
    let (clock, store) = (clock(), ScriptedStore::new(&record("A1", "R1", 0)));
    let mut stopped = Process::new(&clock, &store);
    let (other, mut other_endpoint) = open(&clock, store.clone());
    let waiter = spawn_token(stopped.session());
    let late = stopped.endpoint.next_call().await;
    stopped.runtime.stand_still();
    assert_about(lapse(&other, &mut other_endpoint).await, seconds(14));
    run_pending_tasks().await;
    assert_eq!(store.document()["token"]["refresh"], json!("R2"));

    late.succeed("A9 R9 600");
    stopped.runtime.go_on();
    assert_eq!(secret(waiter).await, "A2");
    assert_eq!(stopped.lost_claims(), 1);
    assert_eq!(store.document()["token"]["refresh"], json!("R2"));
    assert_eq!((stopped.endpoint.call_count(), other_endpoint.call_count()), (1, 1));
}

#[tokio::test(start_paused = true)]
async fn c30_a_token_saved_after_a_refused_repeat_is_used_by_all_processes() {
    let (clock, store) = (clock(), ScriptedStore::new(&record("A1", "R1", 0)));
    let mut stopped = Process::new(&clock, &store);
    let (other, mut other_endpoint) = open(&clock, store.clone());
    let waiter = spawn_token(stopped.session());
    let late = stopped.endpoint.next_call().await;
    stopped.runtime.stand_still();
    let loser = spawn_refresh(other.session());
    let call = other_endpoint.next_call().await;
    assert_eq!(call.cx.reason(), RefreshReason::Repeated);
    call.fail(RefreshError::grant_ended("invalid_grant"));
    assert!(loser.await.unwrap().unwrap_err().is_grant_ended());
    assert_eq!(store.document()["ended"]["by"], json!(1000));

    late.succeed("A9 R9 36000");
    stopped.runtime.go_on();
    assert_eq!(secret(waiter).await, "A9");
    assert_eq!(
        (&store.document()["token"]["refresh"], &store.document()["ended"]),
        (&json!("R9"), &Value::Null)
    );
    sleep(seconds(2)).await;
    assert_eq!(other.session().token().await.unwrap().secret(), "A9");
    assert_eq!((stopped.lost_claims(), other_endpoint.call_count()), (1, 1));
}

/// Nobody drives the runtime of the exchange; then another one of the same session goes on, or another process.
async fn stand_still(is_same_process: bool) {
    let (clock, store) = (clock(), ScriptedStore::new(&record("A1", "R1", 0)));
    let mut process = Process::new(&clock, &store);
    let stopped = process.runtime.clone();
    drop(spawn_token(process.session()));
    let abandoned = process.endpoint.next_call().await;
    assert!(abandoned.cx.is_wanted());
    stopped.stand_still();
    *process.callers.0.lock().unwrap() = Runtime::default();

    let (mut other, mut other_endpoint) = (None, None);
    let call = if is_same_process {
        // Until the refresh has timed out, callers wait for it.
        sleep(seconds(61)).await;
        drop(spawn_token(process.session()));
        process.endpoint.next_call().await
    } else {
        let (shared, endpoint) = open(&clock, store.clone());
        let endpoint = other_endpoint.insert(endpoint);
        drop(spawn_token(other.insert(shared).session()));
        endpoint.next_call().await
    };
    assert_eq!((call.cx.reason(), call.cx.refresh_token()), (RefreshReason::Repeated, Some("R1")));
    call.succeed("A2 R2 36000");
    run_pending_tasks().await;
    sleep(seconds(61)).await;
    assert_eq!(process.session().token().await.unwrap().secret(), "A2");

    // Driven again, it presents nothing.
    let before = store.bytes();
    assert!(!abandoned.cx.is_wanted());
    stopped.go_on();
    sleep(seconds(100)).await;
    assert!(abandoned.is_dropped());
    assert_eq!(process.endpoint.call_count(), if is_same_process { 2 } else { 1 });
    assert_eq!(store.bytes(), before);
    assert_eq!(process.session().try_token().unwrap().secret(), "A2");
    assert!(other_endpoint.is_none_or(|endpoint| endpoint.call_count() == 1));
}

#[tokio::test(start_paused = true)]
async fn p19_another_runtime_goes_on_for_one_that_stands_still() {
    stand_still(true).await;
}

#[tokio::test(start_paused = true)]
async fn p19_another_process_goes_on_for_one_that_stands_still() {
    stand_still(false).await;
}

// Holds.

#[tokio::test(start_paused = true)]
async fn p19_who_lacks_the_hold_gets_busy_with_the_owner() {
    let mut standing = claimed("A1", "R1", 0);
    // It doesn't lapse during the first wait.
    standing["claim"]["for"] = json!(15_000);
    for document in [record("A1", "R1", 0), standing] {
        let (clock, store) = (clock(), ScriptedStore::new(&document).with_hold());
        store.set_holder(Some("pid 4711"));
        let (shared, endpoint) = open(&clock, store.clone());
        for _ in 0..5 {
            let error = shared.session().refresh().await.unwrap_err();
            assert_eq!(busy_holder(&error), Some("pid 4711"));
            assert!(StoreError::find(&error).unwrap().to_string().contains("pid 4711"));
            shared.session().reset_backoff();
        }
        assert_eq!((endpoint.call_count(), store.swap_count()), (0, 0));
    }
}

#[tokio::test(start_paused = true)]
async fn p19_a_newer_token_is_taken_without_the_hold() {
    let (clock, store) = (clock(), ScriptedStore::new(&record("A1", "R1", 600)).with_hold());
    let (shared, endpoint) = open(&clock, store.clone());
    shared.load().await.unwrap();
    store.set_holder(Some("pid 4711"));
    let start = Instant::now();
    let waiter = spawn_refresh(shared.session());
    sleep(seconds(3)).await;
    store.edit(|document| {
        document["by"] = json!(2000);
        document["token"]["access"] = json!("A2");
    });
    assert_eq!(secret(waiter).await, "A2");
    assert!(start.elapsed() <= seconds(5), "{:?}", start.elapsed());
    assert_eq!(endpoint.call_count(), 0);
}

#[tokio::test(start_paused = true)]
async fn p19_the_hold_is_held_for_a_refresh() {
    let (clock, store) = (clock(), ScriptedStore::new(&record("A1", "R1", 0)).with_hold());
    let (shared, mut endpoint) = open(&clock, store.clone());
    shared.load().await.unwrap();
    assert_eq!(store.holder(), None);
    let waiter = spawn_token(shared.session());
    let call = endpoint.next_call().await;
    assert!(store.holder().is_some());
    call.succeed("A2 R2 600");
    assert_eq!(secret(waiter).await, "A2");
    shared.session().idle().await;
    assert_eq!(store.holder(), None);
}

/// A process whose refresh was abandoned while it waited for the hold. Returns its store, what gives it the hold, and its
/// runtime, which stands still; callers are on another one.
async fn abandoned() -> (ScriptedStore, Process, oneshot::Sender<()>, Runtime) {
    let (clock, store) = (clock(), ScriptedStore::new(&record("A1", "R1", 0)).with_hold());
    let process = Process::new(&clock, &store);
    let delayed = store.delay_hold();
    drop(spawn_token(process.session()));
    run_pending_tasks().await;
    let stopped = process.runtime.clone();
    stopped.stand_still();
    *process.callers.0.lock().unwrap() = Runtime::default();
    // Until the refresh has timed out, callers wait for it.
    sleep(seconds(61)).await;
    (store, process, delayed, stopped)
}

#[tokio::test(start_paused = true)]
async fn p19_a_hold_that_comes_to_an_abandoned_refresh_is_released() {
    let (store, mut process, delayed, stopped) = abandoned().await;
    let waiter = spawn_token(process.session());
    process.endpoint.next_call().await.succeed("A2 R2 36000");
    assert_eq!(secret(waiter).await, "A2");
    process.session().idle().await;
    assert_eq!(store.holder(), None);

    delayed.send(()).unwrap();
    stopped.go_on();
    run_pending_tasks().await;
    assert_eq!(store.holder(), None);
    assert_eq!(process.endpoint.call_count(), 1);
}

/// Its runtime stands still, and another runtime of the process refreshes.
#[tokio::test(start_paused = true)]
async fn p19_a_hold_that_comes_to_an_abandoned_refresh_is_not_taken_from_the_next() {
    let (store, mut process, delayed, stopped) = abandoned().await;
    let waiter = spawn_token(process.session());
    let call = process.endpoint.next_call().await;
    assert_ne!(call.cx.reason(), RefreshReason::Repeated, "the abandoned one presented nothing");
    assert!(store.holder().is_some());
    delayed.send(()).unwrap();
    stopped.go_on();
    run_pending_tasks().await;
    assert!(store.holder().is_some(), "the refresh that presents has the hold");
    call.succeed("A2 R2 36000");
    assert_eq!(secret(waiter).await, "A2");
    process.session().idle().await;
    assert_eq!(store.holder(), None);
}

/// A process is killed while it presents. Returns the store.
async fn killed(clock: &TestClock) -> ScriptedStore {
    let store = ScriptedStore::new(&record("A1", "R1", 0)).with_hold();
    let mut process = Process::new(clock, &store);
    drop(spawn_token(process.session()));
    let call = process.endpoint.next_call().await;
    process.runtime.kill();
    run_pending_tasks().await;
    assert!(call.is_dropped());
    assert_eq!((store.holder(), &store.document()["claim"]["n"]), (None, &json!(2000)));
    store
}

#[tokio::test(start_paused = true)]
async fn c19_a_dead_holder_of_the_same_boot_is_replaced_at_once() {
    let clock = clock();
    let store = killed(&clock).await;
    let (shared, mut endpoint) = open(&clock, store.clone());
    // Where the operating system has no boot ID, its claim has to lapse.
    let expected = if store.document()["claim"]["host"].is_null() { seconds(14) } else { Duration::ZERO };
    assert_about(lapse(&shared, &mut endpoint).await, expected);
}

#[tokio::test(start_paused = true)]
async fn p19_a_claim_of_another_boot_has_to_lapse() {
    for host in [Value::Null, json!("another host, another boot")] {
        let clock = clock();
        let store = killed(&clock).await;
        store.edit(|document| document["claim"]["host"] = host);
        let (shared, mut endpoint) = open(&clock, store);
        assert_about(lapse(&shared, &mut endpoint).await, seconds(14));
    }
}

#[tokio::test(start_paused = true)]
async fn p19_a_suspended_holder_of_the_hold_is_not_replaced() {
    let (clock, store) = (clock(), ScriptedStore::new(&record("A1", "R1", 0)).with_hold());
    let mut stopped = Process::new(&clock, &store);
    let (other, other_endpoint) = open(&clock, store.clone());
    let waiter = spawn_token(stopped.session());
    let late = stopped.endpoint.next_call().await;
    stopped.runtime.stand_still();
    for _ in 0..10 {
        let error = other.session().refresh().await.unwrap_err();
        assert_eq!(busy_holder(&error), Some("a session of this test"));
        other.session().reset_backoff();
    }
    assert_eq!(other_endpoint.call_count(), 0);
    let waiting = spawn_refresh(other.session());
    sleep(SECOND).await;
    late.succeed("A2 R2 600");
    stopped.runtime.go_on();
    assert_eq!(secret(waiting).await, "A2");
    assert!(waiter.await.unwrap().unwrap_err().is_timeout());
    assert_eq!((stopped.lost_claims(), other_endpoint.call_count()), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn p19_an_unsaved_token_keeps_the_hold() {
    let (clock, store) = (clock(), ScriptedStore::new(&record("A1", "R1", 0)).with_hold());
    let (shared, mut endpoint) = open(&clock, store.clone());
    let waiter = spawn_token(shared.session());
    let call = endpoint.next_call().await;
    store.set_down(true);
    call.succeed("A2 R2 600");
    assert_eq!(secret(waiter).await, "A2");
    sleep(seconds(1)).await;
    assert!(shared.session().status().is_unsaved() && store.holder().is_some());
    store.set_down(false);
    let mut watch = shared.session().watch();
    while watch.status().is_unsaved() {
        watch.changed().await.unwrap();
    }
    assert_eq!((store.holder(), &store.document()["token"]["refresh"]), (None, &json!("R2")));
}
