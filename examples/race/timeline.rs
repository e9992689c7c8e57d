//! The timeline of one run: printed as it happens, and kept for the picture.

use std::{
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use crate::{
    api::{CALLS, Pair},
    step::Step,
};

/// The events of one run. Clones share them.
#[derive(Clone)]
pub(crate) struct Timeline {
    inner: Arc<Inner>,
}

struct Inner {
    start: Mutex<Instant>,
    entries: Mutex<Vec<Entry>>,
    names: Names,
}

pub(crate) struct Entry {
    /// Since the calls were made.
    pub(crate) at: Duration,
    pub(crate) who: Who,
    pub(crate) step: Step,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Who {
    /// One of [`CALLS`], by its index.
    Call(usize),
    /// All the callers of a run with many.
    Callers,
    Session,
    Refresher,
    Server,
}

/// Short names for tokens, numbered in the order in which they are first seen. They keep secrets out of the
/// output.
#[derive(Default)]
pub(crate) struct Names {
    access: Mutex<Vec<String>>,
    refresh: Mutex<Vec<String>>,
}

// === impl Timeline ===

impl Timeline {
    /// Prints the headline.
    pub(crate) fn new(headline: &str) -> Self {
        println!("\n{headline}");
        let inner =
            Inner { start: Mutex::new(Instant::now()), entries: Mutex::default(), names: Names::default() };
        Self { inner: Arc::new(inner) }
    }

    /// Prints what happens before the calls.
    pub(crate) fn note(&self, text: &str) {
        println!("              {text}");
    }

    /// Starts the clock: the calls are made now.
    pub(crate) fn start(&self) {
        *lock(&self.inner.start) = Instant::now();
    }

    /// Prints a step, and keeps it for the picture.
    pub(crate) fn log(&self, who: Who, step: Step) {
        self.push(who, step, true);
    }

    /// Keeps a step for the picture, without printing it.
    pub(crate) fn record(&self, who: Who, step: Step) {
        self.push(who, step, false);
    }

    fn push(&self, who: Who, step: Step, print: bool) {
        // Read the clock and print under the lock, so that the lines are in the order of their times.
        let mut entries = lock(&self.inner.entries);
        let at = lock(&self.inner.start).elapsed();
        if print {
            println!("{:>9.1} ms  {:<23} {step}", at.as_secs_f64() * 1000.0, who.to_string());
        }
        entries.push(Entry { at, who, step });
    }

    pub(crate) fn names(&self) -> &Names {
        &self.inner.names
    }

    pub(crate) fn entries(&self) -> MutexGuard<'_, Vec<Entry>> {
        lock(&self.inner.entries)
    }
}

// === impl Names ===

impl Names {
    pub(crate) fn access(&self, token: &str) -> String {
        format!("A{}", number(&self.access, token))
    }

    pub(crate) fn refresh(&self, token: &str) -> String {
        format!("R{}", number(&self.refresh, token))
    }

    pub(crate) fn pair(&self, pair: &Pair) -> String {
        format!("{} and {}", self.access(&pair.access), self.refresh(&pair.refresh))
    }
}

fn number(seen: &Mutex<Vec<String>>, token: &str) -> usize {
    let mut seen = lock(seen);
    let index = seen.iter().position(|known| known == token).unwrap_or_else(|| {
        seen.push(token.to_owned());
        seen.len() - 1
    });
    index + 1
}

// === impl Who ===

impl fmt::Display for Who {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Call(call) => write!(f, "{}", CALLS[*call]),
            Self::Callers => f.write_str("callers"),
            Self::Session => f.write_str("session"),
            Self::Refresher => f.write_str("refresher"),
            Self::Server => f.write_str("server"),
        }
    }
}

/// Formats `10000` as `10,000`.
pub(crate) fn grouped(number: usize) -> String {
    let digits = number.to_string();
    let mut grouped = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index) % 3 == 0 {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
