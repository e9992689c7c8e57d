//! The clock, whose timers fire when the scenario says so, and the runtime, which may lose tasks.

use std::{
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, Waker},
    time::Duration,
};

use shuttle::{future::block_on, thread};

use crate::{
    execution::read,
    rt::{Clock, NoRuntime, NoTimer, Sleep, Spawner, Task, Timestamp},
    scenario::{Fate, Time},
};

use super::{Handle, State, World};

pub(super) struct TimerState {
    id: usize,
    deadline: u64,
    has_fired: bool,
    waker: Option<Waker>,
}

struct Timer {
    world: Arc<World>,
    id: usize,
}

struct DropAt {
    task: Option<Task>,
    left: u8,
}

/// A session's default.
const REFRESH_TIMEOUT: u64 = 60;

// === impl World ===

impl World {
    /// Simulates a suspended computer: the clock advances past the refresh timeout, but no timer fires.
    pub(crate) fn suspend(&self) {
        self.state().now += 2 * REFRESH_TIMEOUT;
    }

    /// Fires the next timer.
    pub(crate) fn fire_next_timer(&self) {
        let waker = {
            let mut state = self.state();
            let State { now, timers, .. } = &mut *state;
            let next = timers.iter_mut().filter(|timer| !timer.has_fired).min_by_key(|timer| timer.deadline);
            let Some(timer) = next else { return };
            timer.has_fired = true;
            *now = timer.deadline.max(*now);
            timer.waker.take()
        };
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    pub(super) fn passes(&self) -> bool {
        self.scenario.time != Time::StandsStill
    }

    /// Drops the tasks that never run, and waits for the others.
    pub(crate) fn end_tasks(&self) {
        loop {
            let (kept, running) = {
                let mut state = self.state();
                (state.kept.pop(), state.running.pop())
            };
            match (kept, running) {
                (None, None) => break,
                (kept, running) => {
                    drop(kept);
                    if let Some(running) = running {
                        running.join().expect("a task catches the panics of user code");
                    }
                }
            }
        }
        let mut state = self.state();
        let mut late = std::mem::take(&mut state.spent_late);
        state.spent.append(&mut late);
    }
}

// === impl Handle ===

impl Clock for Handle {
    fn now(&self) -> Timestamp {
        let state = self.0.state();
        Timestamp::new(self.0.wall(&state), Duration::from_secs(state.now))
    }

    fn sleep(&self, duration: Duration) -> Result<Sleep, NoTimer> {
        let mut state = self.0.state();
        state.next_timer += 1;
        let id = state.next_timer;
        let deadline = state.now.saturating_add(duration.as_secs() + u64::from(duration.subsec_nanos() > 0));
        state.timers.push(TimerState { id, deadline, has_fired: false, waker: None });
        Ok(Box::pin(Timer { world: Arc::clone(&self.0), id }))
    }
}

impl Spawner for Handle {
    fn spawn(&self, task: Task) -> Result<(), NoRuntime> {
        let fate = {
            let mut state = self.0.state();
            let fate = self.0.scenario.tasks.get(state.spawned).copied();
            state.spawned += 1;
            fate.filter(|_| !state.is_healthy).unwrap_or(Fate::Runs)
        };
        let run: Box<dyn FnOnce() + Send> = match fate {
            Fate::Runs => Box::new(|| block_on(task)),
            Fate::Refused => return Err(NoRuntime),
            Fate::Unpolled => Box::new(|| drop(task)),
            Fate::DroppedAt(left) => Box::new(move || block_on(DropAt { task: Some(task), left })),
            Fate::NeverRuns => {
                self.0.state().kept.push(task);
                return Ok(());
            }
        };
        let world = Arc::clone(&self.0);
        let running = thread::spawn(move || {
            run();
            // A thread of a runtime runs callers, too.
            let session = world.state().session.clone();
            if let Some(session) = session {
                read(&world, &session);
            }
        });
        self.0.state().running.push(running);
        Ok(())
    }

    fn is_ready(&self) -> bool {
        self.0.scenario.is_ready || self.0.state().is_healthy
    }
}

// === impl Timer ===

impl Future for Timer {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let mut state = self.world.state();
        let timer = state.timers.iter_mut().find(|timer| timer.id == self.id);
        let Some(timer) = timer.filter(|timer| !timer.has_fired) else { return Poll::Ready(()) };
        timer.waker = Some(cx.waker().clone());
        Poll::Pending
    }
}

impl Drop for Timer {
    fn drop(&mut self) {
        let mut state = self.world.state();
        let at = state.timers.iter().position(|timer| timer.id == self.id);
        let timer = at.map(|at| state.timers.swap_remove(at));
        // The waker is dropped without the lock.
        drop(state);
        drop(timer);
    }
}

// === impl DropAt ===

impl Future for DropAt {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let Some(task) = &mut self.task else { return Poll::Ready(()) };
        if task.as_mut().poll(cx).is_ready() {
            return Poll::Ready(());
        }
        match self.left.checked_sub(1) {
            Some(left) => {
                self.left = left;
                Poll::Pending
            }
            None => {
                self.task = None;
                Poll::Ready(())
            }
        }
    }
}
