//! One part's course: printed as it happens, and kept for the picture.

use std::{
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use crate::{
    api::{CALLS, Pair},
    step::Step,
};

/// What happens in one part. All clones are one.
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
    /// One of [`CALLS`], by its place there.
    Call(usize),
    /// All the callers of the last part.
    Crowd,
    Session,
    Refresher,
    Server,
}

/// Short names for tokens, in the order in which they were first seen: readable, and no secret in the output.
#[derive(Default)]
pub(crate) struct Names {
    access: Mutex<Vec<String>>,
    refresh: Mutex<Vec<String>>,
}

// === impl Timeline ===

impl Timeline {
    /// Begins with a headline.
    pub(crate) fn new(headline: &str) -> Self {
        println!("\n{headline}");
        let inner =
            Inner { start: Mutex::new(Instant::now()), entries: Mutex::default(), names: Names::default() };
        Self { inner: Arc::new(inner) }
    }

    /// Tells of what goes before the calls.
    pub(crate) fn note(&self, text: &str) {
        println!("              {text}");
    }

    /// The calls are made now.
    pub(crate) fn start(&self) {
        *lock(&self.inner.start) = Instant::now();
    }

    pub(crate) fn tell(&self, who: Who, step: Step) {
        self.push(who, step, true);
    }

    /// As [`tell`](Self::tell), for the picture alone.
    pub(crate) fn keep(&self, who: Who, step: Step) {
        self.push(who, step, false);
    }

    fn push(&self, who: Who, step: Step, print: bool) {
        // The clock is read and the line printed under the lock: the lines are in the order of their times.
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
        format!("A{}", place(&self.access, token))
    }

    pub(crate) fn refresh(&self, token: &str) -> String {
        format!("R{}", place(&self.refresh, token))
    }

    pub(crate) fn pair(&self, pair: &Pair) -> String {
        format!("{} and {}", self.access(&pair.access), self.refresh(&pair.refresh))
    }
}

fn place(seen: &Mutex<Vec<String>>, token: &str) -> usize {
    let mut seen = lock(seen);
    let at = seen.iter().position(|it| it == token).unwrap_or_else(|| {
        seen.push(token.to_owned());
        seen.len() - 1
    });
    at + 1
}

// === impl Who ===

impl fmt::Display for Who {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Call(call) => write!(f, "{}", CALLS[*call]),
            Self::Crowd => f.write_str("callers"),
            Self::Session => f.write_str("session"),
            Self::Refresher => f.write_str("refresher"),
            Self::Server => f.write_str("server"),
        }
    }
}

/// `10000` as `10,000`.
pub(crate) fn grouped(number: usize) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at) % 3 == 0 {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
