//! What `src/sync.rs` has in the crate, on the model checker: another thread may run before each operation.
//!
//! The real `Notify` and `ArcSwapOption` never block, so each of their operations is one step. `Shared` waits for
//! its own lock while it wakes, so it has a stand-in here.

use std::{
    future::Future,
    pin::Pin,
    sync::{Arc, PoisonError, atomic},
    task::{Context, Poll, Waker},
};

pub(crate) use std::sync::{TryLockError, atomic::Ordering};

pub(crate) use shuttle::{
    sync::{Mutex, MutexGuard},
    thread::yield_now,
    thread_local,
};

/// A cell that is set once.
pub(crate) struct OnceLock<T> {
    inner: std::sync::OnceLock<T>,
}

/// A counter. One in a `static` starts at its initial value in each execution, so that a schedule can be replayed.
pub(crate) struct AtomicUsize {
    initial: usize,
    value: std::sync::Mutex<InExecution>,
}

#[derive(Clone, Copy)]
struct InExecution {
    execution: u64,
    value: usize,
}

pub(crate) struct ArcSwapOption<T> {
    inner: arc_swap::ArcSwapOption<T>,
}

#[derive(Default)]
pub(crate) struct Notify {
    inner: tokio::sync::Notify,
}

pub(crate) struct Notified<'a> {
    inner: Pin<Box<tokio::sync::futures::Notified<'a>>>,
}

/// The steps of `futures_util::future::Shared`, version 0.3.
pub(crate) struct Shared<F: Future> {
    inner: Arc<SharedInner<F>>,
    waker: Option<usize>,
}

struct SharedInner<F: Future> {
    /// One of `IDLE`, `POLLING` and `COMPLETE`.
    state: atomic::AtomicUsize,
    /// Only the thread that changed the state to `POLLING` uses the future.
    future: std::sync::Mutex<Option<F>>,
    output: std::sync::OnceLock<F::Output>,
    /// `None` once the future is complete.
    wakers: Mutex<Option<Vec<Option<Waker>>>>,
}

const IDLE: usize = 0;
const POLLING: usize = 1;
const COMPLETE: usize = 2;

/// The number of the execution. There is one at a time in a process.
static EXECUTION: atomic::AtomicU64 = atomic::AtomicU64::new(0);

std::thread_local! {
    static STEP: shuttle::sync::atomic::AtomicBool = const { shuttle::sync::atomic::AtomicBool::new(false) };
}

pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

pub(crate) fn shared<F>(future: F) -> Shared<F>
where
    F: Future<Output: Clone>,
{
    let inner = SharedInner {
        state: atomic::AtomicUsize::new(IDLE),
        future: std::sync::Mutex::new(Some(future)),
        output: std::sync::OnceLock::new(),
        wakers: Mutex::new(Some(Vec::new())),
    };
    Shared { inner: Arc::new(inner), waker: None }
}

/// Another thread may run here.
pub(crate) fn step() {
    // To the model checker, any operation on one of its atomics is such a place.
    STEP.with(|step| step.load(Ordering::SeqCst));
}

/// Begins an execution: counters in a `static` start again.
pub(crate) fn begin_execution() {
    EXECUTION.fetch_add(1, Ordering::SeqCst);
}

// === impl OnceLock ===

impl<T> OnceLock<T> {
    pub(crate) fn new() -> Self {
        Self { inner: std::sync::OnceLock::new() }
    }

    pub(crate) fn get(&self) -> Option<&T> {
        step();
        self.inner.get()
    }

    pub(crate) fn set(&self, value: T) -> Result<(), T> {
        step();
        self.inner.set(value)
    }

    /// `init` must not contain a step.
    pub(crate) fn get_or_init(&self, init: impl FnOnce() -> T) -> &T {
        step();
        self.inner.get_or_init(init)
    }
}

impl<T> Default for OnceLock<T> {
    fn default() -> Self {
        Self::new()
    }
}

// === impl AtomicUsize ===

impl AtomicUsize {
    pub(crate) const fn new(initial: usize) -> Self {
        Self { initial, value: std::sync::Mutex::new(InExecution { execution: 0, value: 0 }) }
    }

    pub(crate) fn load(&self, _: Ordering) -> usize {
        self.update(|value| value)
    }

    pub(crate) fn fetch_add(&self, by: usize, _: Ordering) -> usize {
        self.update(|value| value.wrapping_add(by))
    }

    pub(crate) fn fetch_sub(&self, by: usize, _: Ordering) -> usize {
        self.update(|value| value.wrapping_sub(by))
    }

    /// Returns the value before the update.
    fn update(&self, update: impl FnOnce(usize) -> usize) -> usize {
        step();
        let mut value = self.value.lock().unwrap_or_else(PoisonError::into_inner);
        let execution = EXECUTION.load(Ordering::SeqCst);
        if value.execution != execution {
            *value = InExecution { execution, value: self.initial };
        }
        let before = value.value;
        value.value = update(before);
        before
    }
}

// === impl ArcSwapOption ===

impl<T> ArcSwapOption<T> {
    pub(crate) fn empty() -> Self {
        Self { inner: arc_swap::ArcSwapOption::empty() }
    }

    pub(crate) fn load(&self) -> arc_swap::Guard<Option<Arc<T>>> {
        step();
        self.inner.load()
    }

    pub(crate) fn store(&self, value: Option<Arc<T>>) {
        step();
        self.inner.store(value);
    }
}

// === impl Notify ===

impl Notify {
    pub(crate) fn notified(&self) -> Notified<'_> {
        step();
        Notified { inner: Box::pin(self.inner.notified()) }
    }

    pub(crate) fn notify_waiters(&self) {
        step();
        self.inner.notify_waiters();
    }
}

// === impl Notified ===

impl Future for Notified<'_> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        step();
        self.inner.as_mut().poll(cx)
    }
}

// === impl Shared ===

impl<F> Shared<F>
where
    F: Future<Output: Clone> + Unpin,
{
    fn record_waker(&mut self, cx: &Context<'_>) {
        let mut wakers = lock(&self.inner.wakers);
        let Some(wakers) = wakers.as_mut() else { return };
        match self.waker {
            Some(key) => wakers[key] = Some(cx.waker().clone()),
            None => {
                self.waker = Some(wakers.len());
                wakers.push(Some(cx.waker().clone()));
            }
        }
    }

    fn output(&self) -> Poll<F::Output> {
        let output = self.inner.output.get().expect("it is set before the state is `COMPLETE`");
        Poll::Ready(output.clone())
    }
}

impl<F> Future for Shared<F>
where
    F: Future<Output: Clone> + Unpin,
{
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        step();
        if self.inner.state.load(Ordering::SeqCst) == COMPLETE {
            return self.output();
        }
        self.record_waker(cx);
        match self.inner.change_state(IDLE, POLLING) {
            IDLE => {}
            // The poll in progress wakes this one.
            POLLING => return Poll::Pending,
            _ => return self.output(),
        }
        let mut future = self.inner.future.lock().unwrap_or_else(PoisonError::into_inner).take();
        let polled = match &mut future {
            // The wrapped future registers no waker: see `completion.rs`.
            Some(future) => Pin::new(future).poll(&mut Context::from_waker(Waker::noop())),
            None => unreachable!("only one poll at a time has the future"),
        };
        let Poll::Ready(output) = polled else {
            *self.inner.future.lock().unwrap_or_else(PoisonError::into_inner) = future;
            self.inner.change_state(POLLING, IDLE);
            return Poll::Pending;
        };
        let _ = self.inner.output.set(output);
        self.inner.change_state(POLLING, COMPLETE);
        let mut wakers = lock(&self.inner.wakers);
        for waker in wakers.take().into_iter().flatten().flatten() {
            waker.wake();
        }
        drop(wakers);
        self.output()
    }
}

impl<F: Future> Clone for Shared<F> {
    fn clone(&self) -> Self {
        Self { inner: Arc::clone(&self.inner), waker: None }
    }
}

impl<F: Future> Drop for Shared<F> {
    fn drop(&mut self) {
        let Some(key) = self.waker else { return };
        if let Some(wakers) = lock(&self.inner.wakers).as_mut() {
            wakers[key] = None;
        }
    }
}

// === impl SharedInner ===

impl<F: Future> SharedInner<F> {
    /// Returns the state before.
    fn change_state(&self, from: usize, to: usize) -> usize {
        step();
        self.state
            .compare_exchange(from, to, Ordering::SeqCst, Ordering::SeqCst)
            .unwrap_or_else(|state| state)
    }
}
