//! Signing in another user, and signing out, while requests are under way.

use std::{
    sync::{
        Mutex,
        mpsc::{Receiver, Sender, channel},
    },
    thread,
    time::Duration,
};

use tower_reauth::{
    AccessToken, Error, RefreshContext, RefreshError, Session, Token,
    event::EventKind,
    refresh_fn,
    rt::{Clock, NoRuntime, NoTimer, Sleep, Spawner, SystemClock, Task, Timestamp},
};

use crate::{
    gated::{Call, Gated, waiting_with_a2},
    support::{clock, endpoint, expired, run_pending_tasks, spawn_refresh, spawn_token, token},
};

/// Where a thread stops once: between its read without the lock and the lock.
#[derive(Default)]
struct Gate {
    /// Calls that are let through before.
    calls: usize,
    stop: Option<(Sender<()>, Receiver<()>)>,
}

/// Stops its reader at a reading of the clock.
struct GatedClock(Mutex<Gate>);

/// Stops its reader at the question whether there is a runtime.
struct GatedSpawner(Mutex<Gate>);

/// Runs `read` in a thread, with `change` between its read of what is published, a miss, and its lock. Then reads again
/// in the same thread. Returns the access tokens that it got.
fn read_around(
    gate_at_clock: bool,
    read: fn(&Session) -> Option<AccessToken>,
    change: impl FnOnce(&Session),
) -> Vec<String> {
    let (reached, at_gate) = channel();
    let (open, opened) = channel();
    // The clock is read when the session is built, before the read that misses, and after it.
    let gate = Gate { calls: 2, stop: Some((reached.clone(), opened)) };
    let (clock, spawner) = match gate_at_clock {
        true => (gate, Gate::default()),
        false => (Gate::default(), Gate { calls: 0, ..gate }),
    };
    drop(reached);
    let session = Session::builder(refresh_fn(|_: RefreshContext| async {
        Err::<Token, _>(RefreshError::transient("not needed"))
    }))
    .token(token("A1 R1 600"))
    .clock(GatedClock(Mutex::new(clock)))
    .spawner(GatedSpawner(Mutex::new(spawner)))
    .build();
    thread::scope(|scope| {
        let reader = scope.spawn(|| {
            let mut tokens = vec![read(&session)];
            tokens.extend([try_token(&session), wait_for_token(&session), try_token(&session)]);
            tokens.into_iter().flatten().map(|token| token.secret().to_owned()).collect()
        });
        at_gate.recv().expect("the first read misses");
        change(&session);
        open.send(()).unwrap();
        reader.join().unwrap()
    })
}

fn try_token(session: &Session) -> Option<AccessToken> {
    session.try_token()
}

fn wait_for_token(session: &Session) -> Option<AccessToken> {
    match futures::executor::block_on(session.token()) {
        Ok(token) => Some(token),
        Err(error) => {
            assert!(error.is_signed_out(), "{error}");
            None
        }
    }
}

async fn is_signed_out(request: Call) -> bool {
    let error = request.await.unwrap().unwrap_err();
    Error::find(&*error).is_some_and(Error::is_signed_out)
}

#[tokio::test(start_paused = true)]
async fn p10_a_waiting_request_is_not_sent_with_another_users_token() {
    let gated = Gated::new();
    let (refresher, mut endpoint) = endpoint();
    let session = expired(refresher).build();
    let request = waiting_with_a2(&session, &mut endpoint, &gated).await;
    session.sign_in(token("B1 Q1 600"));
    gated.open();
    assert!(is_signed_out(request).await);
    assert!(gated.received().is_empty());
}

#[tokio::test(start_paused = true)]
async fn p10_a_retry_is_not_sent_with_another_users_token() {
    let gated = Gated::new();
    let (refresher, mut endpoint) = endpoint();
    let session = Session::builder(refresher).token(token("A1 R1 600")).jitter(false).clock(clock()).build();
    let request = waiting_with_a2(&session, &mut endpoint, &gated).await;
    session.sign_in(token("B1 Q1 600"));
    gated.open();
    assert!(is_signed_out(request).await);
    assert_eq!(gated.received(), ["Bearer A1"]);
}

#[tokio::test(start_paused = true)]
async fn p10_a_waiting_request_is_not_sent_after_a_sign_out() {
    let gated = Gated::new();
    let (refresher, mut endpoint) = endpoint();
    let session = expired(refresher).build();
    let request = waiting_with_a2(&session, &mut endpoint, &gated).await;
    let _ = session.sign_out();
    gated.open();
    assert!(is_signed_out(request).await);
    assert!(gated.received().is_empty());
}

#[tokio::test(start_paused = true)]
async fn p10_a_waiting_request_whose_token_expired_is_not_sent_with_another_users_token() {
    let gated = Gated::new();
    let clock = clock();
    let (refresher, mut endpoint) = endpoint();
    let session = expired(refresher).clock(clock.clone()).build();
    let request = waiting_with_a2(&session, &mut endpoint, &gated).await;
    // Expired, so that the request demands a token of the new user's session.
    session.sign_in(token("B1 Q1 0"));
    clock.step(Duration::from_secs(700));
    gated.open();
    run_pending_tasks().await;
    if endpoint.call_count() == 2 {
        endpoint.next_call().await.succeed("B2 Q2 600");
    }
    assert!(is_signed_out(request).await);
    assert!(gated.received().is_empty());
}

#[test]
fn p10_a_sign_out_wins_over_a_read_that_has_begun() {
    for (gate_at_clock, read) in
        [(true, wait_for_token as fn(&Session) -> _), (false, wait_for_token), (false, try_token)]
    {
        let tokens = read_around(gate_at_clock, read, |session| drop(session.sign_out()));
        assert!(tokens.is_empty(), "{tokens:?}");
    }
}

#[test]
fn p10_a_sign_in_wins_over_a_read_that_has_begun() {
    for (gate_at_clock, read) in
        [(true, wait_for_token as fn(&Session) -> _), (false, wait_for_token), (false, try_token)]
    {
        let tokens = read_around(gate_at_clock, read, |session| session.sign_in(token("B1 Q1 600")));
        assert_eq!(tokens, ["B1"; 4]);
    }
}

#[tokio::test(start_paused = true)]
async fn p01_refresh_after_a_sign_in_presents_the_new_refresh_token() {
    let (refresher, mut endpoint) = endpoint();
    let session = expired(refresher).build();
    let _waiting = spawn_token(&session);
    let old = endpoint.next_call().await;
    session.sign_in(token("B1 Q1 600"));
    let refresh = spawn_refresh(&session);
    run_pending_tasks().await;
    old.succeed("A2 R2 600");
    let call = endpoint.next_call().await;
    assert_eq!(call.cx.refresh_token(), Some("Q1"));
    call.succeed("B2 Q2 600");
    assert_eq!(refresh.await.unwrap().unwrap().secret(), "B2");
}

#[tokio::test(start_paused = true)]
async fn p01_refresh_after_set_token_with_another_refresh_token_presents_the_new_one() {
    let (refresher, mut endpoint) = endpoint();
    let session = expired(refresher).build();
    let _waiting = spawn_token(&session);
    let old = endpoint.next_call().await;
    session.set_token(token("B1 Q1 600")).unwrap();
    let refresh = spawn_refresh(&session);
    run_pending_tasks().await;
    // The verdict is on R1, which is no longer the session's.
    old.fail(RefreshError::grant_ended("invalid_grant"));
    let call = endpoint.next_call().await;
    assert_eq!(call.cx.refresh_token(), Some("Q1"));
    call.succeed("B2 Q2 600");
    assert_eq!(refresh.await.unwrap().unwrap().secret(), "B2");
}

// === impl Gate ===

impl Gate {
    /// Stops the call that it is for, until the test opens it.
    fn pass(gate: &Mutex<Self>) {
        let stop = {
            let mut gate = gate.lock().unwrap();
            if gate.calls > 0 {
                gate.calls -= 1;
                return;
            }
            gate.stop.take()
        };
        if let Some((reached, opened)) = stop {
            reached.send(()).unwrap();
            opened.recv().unwrap();
        }
    }
}

// === impl GatedClock ===

impl Clock for GatedClock {
    fn now(&self) -> Timestamp {
        Gate::pass(&self.0);
        SystemClock.now()
    }

    fn sleep(&self, duration: Duration) -> Result<Sleep, NoTimer> {
        SystemClock.sleep(duration)
    }
}

// === impl GatedSpawner ===

impl Spawner for GatedSpawner {
    fn spawn(&self, _: Task) -> Result<(), NoRuntime> {
        Err(NoRuntime)
    }

    fn is_ready(&self) -> bool {
        Gate::pass(&self.0);
        true
    }
}

/// The sign-in happens between the request's check and its demand.
#[tokio::test(start_paused = true)]
async fn p10_a_request_that_demands_again_during_a_sign_in_is_not_sent_with_another_users_token() {
    let gated = Gated::new();
    let clock = crate::hooked_clock::HookedClock::new(clock());
    let (refresher, mut endpoint) = endpoint();
    let session = expired(refresher).clock(clock.clone()).build();
    let request = waiting_with_a2(&session, &mut endpoint, &gated).await;
    clock.inner.step(Duration::from_secs(700));
    gated.open();
    let other = session.clone();
    // The first read looks for a current token, the second whether the request's own has expired.
    clock.on_nth_read(2, move || other.sign_in(token("B1 Q1 0")));
    run_pending_tasks().await;
    if endpoint.call_count() == 2 {
        endpoint.next_call().await.succeed("B2 Q2 600");
    }
    let is_signed_out = is_signed_out_or_sent(request).await;
    assert!(is_signed_out && gated.received().is_empty(), "{:?}", gated.received());
}

async fn is_signed_out_or_sent(request: Call) -> bool {
    request.await.unwrap().is_err_and(|error| Error::find(&*error).is_some_and(Error::is_signed_out))
}

/// A wall clock that was set back, but not past the receipt.
#[tokio::test(start_paused = true)]
async fn p13_a_token_that_expired_while_its_request_waited_is_not_sent_though_the_wall_clock_was_set_back() {
    let (refresher, mut endpoint) = endpoint();
    let clock = clock();
    let session = expired(refresher).clock(clock.clone()).build();
    let gated = Gated::new();
    let request = waiting_with_a2(&session, &mut endpoint, &gated).await;
    tokio::time::advance(Duration::from_secs(580)).await;
    clock.step_back(Duration::from_secs(500));
    assert!(session.status().is_expired());
    gated.open();
    run_pending_tasks().await;
    assert_eq!(gated.received(), [""; 0], "A2 has expired by the monotonic clock");
    endpoint.next_call().await.succeed("A3 R3 600");
    request.await.unwrap().unwrap();
    assert_eq!(gated.received(), ["Bearer A3"]);
}

/// The caller that abandons a flight completes it after unlocking. The flight's task may have ended by then.
#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn p10_a_waiter_is_signed_out_even_if_the_task_of_its_abandoned_flight_ends_first() {
    let (reached, at_gate) = channel();
    let (open, opened) = channel::<()>();
    let gate = Mutex::new(Some((reached, opened)));
    let (refresher, mut endpoint) = endpoint();
    let session = expired(refresher)
        .on_event(move |event| {
            if let EventKind::RefreshDiscarded = event.kind {
                if let Some((reached, opened)) = gate.lock().unwrap().take() {
                    reached.send(()).unwrap();
                    let _ = opened.recv();
                }
            }
        })
        .build();
    let waiter = spawn_token(&session);
    let abandoned = endpoint.next_call().await;
    session.sign_in(token("B1 S1 0"));
    let caller = spawn_token(&session);
    // The caller has abandoned the flight, and stops before it completes it.
    at_gate.recv().unwrap();
    abandoned.fail(RefreshError::transient("too late"));
    let error = waiter.await.unwrap().unwrap_err();
    assert!(error.is_signed_out(), "{error}");

    drop(open);
    endpoint.next_call().await.succeed("B2 S2 600");
    assert_eq!(caller.await.unwrap().unwrap().secret(), "B2");
}
