//! Batches of calls on two threads at once.

use std::{
    hint::spin_loop,
    sync::atomic::{AtomicUsize, Ordering},
    thread,
    time::{Duration, Instant},
};

/// When a batch began and when it ended.
pub(crate) type Span = (Instant, Instant);

/// Lets two threads begin at the same instant, once for each round.
#[derive(Debug, Default)]
struct StartLine {
    arrived: AtomicUsize,
}

const THREADS: usize = 2;

/// Runs `rounds` batches on each thread. Returns the mean of both threads' times, and the share of it during
/// which both ran: if another process had one of the cores, they took turns, and there was no contention.
///
/// `batch` gets the number of its thread, and calls the function when it is ready to begin.
pub(crate) fn on_two_threads(
    rounds: usize,
    batch: impl Fn(usize, &dyn Fn()) -> Span + Sync,
) -> Vec<(Duration, f64)> {
    let start = StartLine::default();
    let on_one_thread =
        |number| (0..rounds).map(|round| batch(number, &|| start.wait(round))).collect::<Vec<_>>();
    let (here, there) = thread::scope(|scope| {
        let there = scope.spawn(|| on_one_thread(1));
        (on_one_thread(0), there.join().expect("no thread panics"))
    });
    let both = here.into_iter().zip(there).map(|(here, there)| {
        let mean = (here.1 - here.0 + (there.1 - there.0)) / 2;
        let together = here.1.min(there.1).saturating_duration_since(here.0.max(there.0));
        (mean, together.as_secs_f64() / mean.as_secs_f64())
    });
    both.collect()
}

// === impl StartLine ===

impl StartLine {
    fn wait(&self, round: usize) {
        let all = (round + 1) * THREADS;
        self.arrived.fetch_add(1, Ordering::AcqRel);
        let mut spins = 0_u32;
        while self.arrived.load(Ordering::Acquire) < all {
            spins += 1;
            // The other thread may be without a core.
            if spins % 10_000 == 0 { thread::yield_now() } else { spin_loop() }
        }
    }
}
