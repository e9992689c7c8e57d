//! What happens in one execution, chosen from a number.

use std::iter;

/// What happens in one execution.
#[derive(Clone, Debug)]
pub struct Scenario {
    pub start: Start,
    pub callers: Vec<Caller>,
    /// What another thread does meanwhile, in this order.
    pub actions: Vec<Action>,
    /// A thread that reads the published token.
    pub reader: bool,
    /// A thread that watches the session.
    pub watcher: bool,
    /// What the first calls of the refresher return. Later ones return a token.
    pub responses: Vec<Response>,
    /// The server replaces the refresh token with each response.
    pub rotates: bool,
    /// What becomes of the first tasks. Later ones run.
    pub tasks: Vec<Fate>,
    /// What the first calls of the save hook do, if there is one. Later ones succeed.
    pub saves: Option<Vec<Save>>,
    /// There is a hook for tokens that are discarded.
    pub revokes: bool,
    /// The spawner says that it can start tasks.
    pub is_ready: bool,
    pub time: Time,
    pub waits_through_backoff: bool,
}

/// What the session starts with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start {
    Nothing,
    Fresh,
    Stale,
    Expired,
    SignedOut,
}

/// A thread that needs a token.
#[derive(Clone, Copy, Debug)]
pub struct Caller {
    pub demand: Demand,
    pub cancel: Cancel,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Demand {
    Token,
    /// Gets a token, and reports it as rejected.
    AfterRejection,
    Refresh,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cancel {
    Never,
    /// Drops its future unpolled.
    Unpolled,
    /// Drops it this many steps after it was first polled and has to wait.
    Waiting(u8),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    MarkRejected,
    Set,
    SignIn,
    SignOut,
    ResetBackoff,
    Shutdown,
    /// The computer is suspended for longer than the refresh timeout; then a demand abandons the flight.
    Abandon,
    Idle,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Response {
    Token,
    /// Returns a token after one wake-up.
    SlowToken,
    /// Returns the access token that the session has.
    SameToken,
    ShortLived,
    Transient,
    /// A transient failure that carries a new refresh token.
    TransientWithSuccessor,
    Unexplained,
    Misconfigured,
    GrantEnded,
    OutcomeUnknown,
    Panic,
    /// No response until the refresh times out.
    Hang,
}

/// What becomes of a task.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    Runs,
    /// The spawner refuses it.
    Refused,
    /// It is dropped before it is polled.
    Unpolled,
    /// It is dropped where it has to wait for the nth time.
    DroppedAt(u8),
    /// It isn't run, and dropped when the callers have ended.
    NeverRuns,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Save {
    Succeeds,
    Slow,
    Fails,
    Panics,
    Hangs,
}

/// Whether timers fire.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Time {
    /// No timer fires, so a thread wakes only if it is notified.
    StandsStill,
    /// The next timer fires whenever another thread has yielded this many times.
    Passes(u8),
}

// === impl Scenario ===

impl Scenario {
    /// Chooses a scenario by a number.
    pub fn new(seed: u64) -> Self {
        let mut rng = fastrand::Rng::with_seed(seed);
        let rng = &mut rng;
        let callers = 1 + count(rng, 3);
        let callers = iter::repeat_with(|| Caller::random(rng)).take(callers).collect();
        let actions = count(rng, 3);
        let actions = iter::repeat_with(|| pick(rng, &Action::ALL)).take(actions).collect();
        let responses = count(rng, 3);
        let responses = iter::repeat_with(|| pick(rng, &Response::ALL)).take(responses).collect();
        // Most scenarios have a runtime that works.
        let tasks = if rng.u8(..3) > 0 { 0 } else { 1 + count(rng, 2) };
        let tasks = iter::repeat_with(|| pick(rng, &Fate::ALL)).take(tasks).collect();
        let saves = rng.bool().then(|| {
            let saves = count(rng, 3);
            iter::repeat_with(|| pick(rng, &Save::ALL)).take(saves).collect()
        });
        let mut scenario = Self {
            start: pick(rng, &Start::ALL),
            callers,
            actions,
            reader: rng.bool(),
            watcher: rng.u8(..3) == 0,
            responses,
            rotates: rng.u8(..4) > 0,
            tasks,
            saves,
            revokes: rng.bool(),
            is_ready: rng.u8(..16) > 0,
            time: Time::StandsStill,
            waits_through_backoff: rng.u8(..4) == 0,
        };
        if scenario.needs_time() || rng.u8(..5) == 0 {
            scenario.time = Time::Passes(1 << rng.u8(..5));
        }
        scenario
    }

    /// Whether something in the scenario ends only by a timer.
    fn needs_time(&self) -> bool {
        self.waits_through_backoff
            || self.responses.contains(&Response::Hang)
            || self.tasks.contains(&Fate::NeverRuns)
            || self.saves.iter().flatten().any(|save| *save == Save::Hangs)
    }

    /// Whether a task doesn't run to its end.
    pub fn loses_tasks(&self) -> bool {
        self.tasks.iter().any(|fate| *fate != Fate::Runs)
    }

    pub fn acts(&self, action: Action) -> bool {
        self.actions.contains(&action)
    }

    pub fn responds(&self, response: Response) -> bool {
        self.responses.contains(&response)
    }
}

// === impl Caller ===

impl Caller {
    fn random(rng: &mut fastrand::Rng) -> Self {
        let demand = pick(rng, &[Demand::Token, Demand::Token, Demand::AfterRejection, Demand::Refresh]);
        let cancel = match rng.u8(..6) {
            0 => Cancel::Unpolled,
            1 | 2 => Cancel::Waiting(rng.u8(..8)),
            _ => Cancel::Never,
        };
        Self { demand, cancel }
    }
}

// === impl Start ===

impl Start {
    const ALL: [Self; 7] =
        [Self::Nothing, Self::Fresh, Self::Fresh, Self::Stale, Self::Expired, Self::Expired, Self::SignedOut];
}

// === impl Action ===

impl Action {
    const ALL: [Self; 8] = [
        Self::MarkRejected,
        Self::Set,
        Self::SignIn,
        Self::SignOut,
        Self::ResetBackoff,
        Self::Shutdown,
        Self::Abandon,
        Self::Idle,
    ];
}

// === impl Response ===

impl Response {
    /// `Token` and `SlowToken` are listed more than once, because most other responses end the scenario
    /// early.
    const ALL: [Self; 15] = [
        Self::Token,
        Self::Token,
        Self::SlowToken,
        Self::SlowToken,
        Self::SlowToken,
        Self::SameToken,
        Self::ShortLived,
        Self::Transient,
        Self::TransientWithSuccessor,
        Self::Unexplained,
        Self::Misconfigured,
        Self::GrantEnded,
        Self::OutcomeUnknown,
        Self::Panic,
        Self::Hang,
    ];
}

// === impl Fate ===

impl Fate {
    const ALL: [Self; 6] =
        [Self::Runs, Self::Refused, Self::Unpolled, Self::DroppedAt(0), Self::DroppedAt(1), Self::NeverRuns];
}

// === impl Save ===

impl Save {
    const ALL: [Self; 5] = [Self::Succeeds, Self::Slow, Self::Fails, Self::Panics, Self::Hangs];
}

/// A uniformly distributed number below `end`.
fn count(rng: &mut fastrand::Rng, end: usize) -> usize {
    rng.usize(..end)
}

fn pick<T: Copy>(rng: &mut fastrand::Rng, all: &[T]) -> T {
    all[rng.usize(..all.len())]
}
