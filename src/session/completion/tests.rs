//! The hazard of a bare `Shared`, forced: a poll is held up in its middle while the outcome arrives.
//!
//! The order is always the same. A polls and sees no outcome yet, and is held up. B polls, and leaves its waker. The
//! outcome arrives. A's poll ends, with nothing, and A is dropped. Whoever relied on A to go on is asleep for good.

use std::{
    cell::RefCell,
    sync::{
        atomic::{AtomicUsize, Ordering},
        mpsc::{Receiver, Sender, channel},
    },
    task::Wake,
    thread,
    time::Duration,
};

use futures_util::FutureExt;

use super::*;

thread_local! {
    static HOLD: RefCell<Option<Hold>> = const { RefCell::new(None) };
}

/// Holds a poll up until the test lets it go.
struct Hold {
    reached: Sender<()>,
    go: Receiver<()>,
}

pub(super) fn slow_down() {
    if let Some(hold) = HOLD.take() {
        hold.reached.send(()).unwrap();
        hold.go.recv().unwrap();
    }
}

#[derive(Default)]
struct Woken(AtomicUsize);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

impl Woken {
    fn count(&self) -> usize {
        self.0.load(Ordering::SeqCst)
    }
}

/// A poll that goes on in another thread.
struct HeldUp {
    go: Sender<()>,
    thread: thread::JoinHandle<()>,
}

impl HeldUp {
    /// Polls `future` in another thread up to where its inner future has looked for the outcome.
    fn poll<F>(mut future: Shared<F>) -> Self
    where
        F: Future + Send + 'static,
        F::Output: Clone + Send + Sync,
    {
        let (reached, is_reached) = channel();
        let (go, goes) = channel();
        let thread = thread::spawn(move || {
            HOLD.set(Some(Hold { reached, go: goes }));
            let polled = future.poll_unpin(&mut Context::from_waker(Waker::noop()));
            assert!(polled.is_pending(), "it looked before the outcome came");
        });
        is_reached.recv().unwrap();
        Self { go, thread }
    }

    /// Lets the poll end, and drops its future.
    fn end(self) {
        self.go.send(()).unwrap();
        self.thread.join().unwrap();
    }
}

fn poll<F>(future: &mut Shared<F>, woken: &Arc<Woken>) -> Poll<F::Output>
where
    F: Future,
    F::Output: Clone,
{
    let waker = Waker::from(Arc::clone(woken));
    future.poll_unpin(&mut Context::from_waker(&waker))
}

fn outcome() -> Arc<Outcome> {
    Arc::new(Outcome::for_tests())
}

#[test]
fn p03_the_gate_wakes_whoever_waits_though_a_poll_was_held_up_and_dropped() {
    let gate = Completion::new();
    let held_up = HeldUp::poll(gate.clone().awaited());
    let (mut b, woken) = (gate.clone().awaited(), Arc::<Woken>::default());
    assert!(poll(&mut b, &woken).is_pending());

    let (ended, has_ended) = channel();
    let opener = {
        let gate = gate.clone();
        thread::spawn(move || {
            gate.complete(outcome());
            ended.send(()).unwrap();
        })
    };
    while gate.cell.get().is_none() {
        thread::yield_now();
    }
    held_up.end();
    has_ended.recv_timeout(Duration::from_secs(10)).expect("the gate was opened");
    opener.join().unwrap();
    assert_eq!(woken.count(), 1);
    assert!(poll(&mut b, &woken).is_ready());
}

#[test]
fn p03_a_gate_opened_before_any_poll_is_ready() {
    let gate = Completion::new();
    let mut waiters = gate.clone().awaited();
    gate.complete(outcome());
    assert!(poll(&mut waiters, &Arc::default()).is_ready());
}

#[test]
fn p03_only_the_first_outcome_counts() {
    let gate = Completion::new();
    let first = outcome();
    gate.clone().complete(Arc::clone(&first));
    gate.clone().complete(outcome());
    let Poll::Ready(got) = poll(&mut gate.clone().awaited(), &Arc::default()) else { panic!("it is open") };
    assert!(Arc::ptr_eq(&got, &first));
}

/// The same over a task that sets the cell and then *awaits* its clone: it is put to sleep by the poll that is held up.
#[test]
fn the_test_sees_the_fault_of_a_task_that_awaits_its_clone() {
    let gate = Completion::new();
    let held_up = HeldUp::poll(gate.clone().awaited());
    let (mut b, woken) = (gate.clone().awaited(), Arc::<Woken>::default());
    assert!(poll(&mut b, &woken).is_pending());

    gate.cell.set(outcome()).unwrap();
    let (mut task, task_woken) = (gate.clone().awaited(), Arc::<Woken>::default());
    assert!(poll(&mut task, &task_woken).is_pending());
    held_up.end();
    assert_eq!((woken.count(), task_woken.count()), (0, 0), "asleep for good, though the outcome is there");
}

/// The refresh itself, as a well-behaved future that wakes whoever polled it last.
struct Refresh {
    answer: Arc<OnceLock<Arc<Outcome>>>,
    waker: Arc<std::sync::Mutex<Option<Waker>>>,
}

impl Future for Refresh {
    type Output = Arc<Outcome>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        *self.waker.lock().unwrap() = Some(cx.waker().clone());
        let answer = self.answer.get().map(Arc::clone);
        slow_down();
        answer.map_or(Poll::Pending, Poll::Ready)
    }
}

/// The same over the refresh itself: the answer's wake-up reaches those who had left a waker by then, and B leaves its
/// own after it.
#[test]
fn the_test_sees_the_fault_of_a_shared_over_the_refresh() {
    let (answer, waker) = (Arc::<OnceLock<_>>::default(), Arc::default());
    let shared = Refresh { answer: Arc::clone(&answer), waker: Arc::clone(&waker) }.shared();
    let held_up = HeldUp::poll(shared.clone());

    answer.set(outcome()).unwrap();
    waker.lock().unwrap().take().unwrap().wake();
    let (mut b, woken) = (shared, Arc::<Woken>::default());
    assert!(poll(&mut b, &woken).is_pending());
    held_up.end();
    assert_eq!(woken.count(), 0, "asleep for good, though the answer is there");
}
