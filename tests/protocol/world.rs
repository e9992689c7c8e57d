//! What processes share: the store, the token endpoint, and the faults of both. It checks each step.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, HashSet},
    future::Future,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard},
    task::{Context, Poll, Waker},
    time::Duration,
};

use serde_json::Value;
use tokio::sync::oneshot;
use tower_reauth::{
    RefreshContext, RefreshError, Refresher, Token,
    rt::{NoRuntime, Spawner, Task},
    store::{Loaded, Record, StoreError, Swap, TokenStore, Version},
    testing::{Issuer, Reuse},
};

/// How many faults of each kind may still happen.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Faults {
    pub(crate) crashes: u32,
    /// Requests and responses of the token endpoint.
    pub(crate) losses: u32,
    /// Operations of the store, before or after they took effect.
    pub(crate) store: u32,
    pub(crate) suspensions: u32,
    pub(crate) sign_ins: u32,
    /// The store loses its last write.
    pub(crate) rollbacks: u32,
    pub(crate) deletions: u32,
    /// Access tokens are set.
    pub(crate) sets: u32,
}

pub(crate) struct State {
    pub(crate) policy: Reuse,
    pub(crate) server: Issuer,
    pub(crate) rng: fastrand::Rng,
    pub(crate) faults: Faults,
    pub(crate) never_repeats: bool,
    record: Option<(Vec<u8>, u64)>,
    /// What the last write replaced.
    before: Option<Option<(Vec<u8>, u64)>>,
    writes: u64,
    /// By refresh token: the processes that are presenting it.
    presenting: BTreeMap<String, BTreeSet<usize>>,
    presented: HashSet<String>,
    /// Refresh tokens whose successor was in the record.
    succeeded: HashSet<String>,
    /// Which processes have got a successor for which refresh token, since they started.
    arrived: HashSet<(usize, String)>,
    /// The sign-ins before each sign-in.
    was: HashMap<u64, HashSet<u64>>,
    grants: HashMap<u64, u64>,
    pub(crate) violations: Vec<String>,
    /// The only copy of a successor was lost.
    pub(crate) lost: bool,
    store_failures: u32,
    has_lost_write: bool,
    /// A claim may have lapsed under a living holder, or the store has lost a write.
    pub(crate) stalled: bool,
    pub(crate) presentations: u32,
    suspended: HashMap<usize, Vec<Waker>>,
    pub(crate) log: Vec<String>,
}

#[derive(Clone)]
pub(crate) struct World(Arc<Mutex<State>>);

/// One process's connection to the store.
pub(crate) struct FaultyStore {
    world: World,
    process: usize,
}

/// One process's client of the token endpoint.
pub(crate) struct Client {
    pub(crate) world: World,
    pub(crate) process: usize,
}

/// Runs a process's tasks, until it is killed.
pub(crate) struct ProcessSpawner {
    pub(crate) world: World,
    pub(crate) process: usize,
    pub(crate) tasks: Arc<Mutex<Vec<tokio::task::JoinHandle<()>>>>,
}

/// Makes no progress while its process is suspended.
pub(crate) struct Suspendable<F> {
    world: World,
    process: usize,
    future: Pin<Box<F>>,
}

/// Presenting ends when this is dropped.
struct Presenting {
    world: World,
    process: usize,
    token: String,
}

impl World {
    pub(crate) fn new(policy: Reuse, faults: Faults, never_repeats: bool, seed: u64) -> Self {
        Self(Arc::new(Mutex::new(State {
            policy,
            server: Issuer::builder().reuse(policy).lifetime(Duration::from_secs(36_000)).build(),
            rng: fastrand::Rng::with_seed(seed),
            faults,
            never_repeats,
            record: None,
            before: None,
            writes: 0,
            presenting: BTreeMap::new(),
            presented: HashSet::new(),
            succeeded: HashSet::new(),
            arrived: HashSet::new(),
            was: HashMap::new(),
            grants: HashMap::new(),
            violations: Vec::new(),
            lost: false,
            store_failures: 0,
            has_lost_write: false,
            stalled: false,
            presentations: 0,
            suspended: HashMap::new(),
            log: Vec::new(),
        })))
    }

    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap()
    }

    pub(crate) fn store(&self, process: usize) -> FaultyStore {
        FaultyStore { world: self.clone(), process }
    }

    pub(crate) fn log(&self, line: impl Into<String>) {
        self.state().log.push(line.into());
    }

    pub(crate) fn suspendable<F: Future>(&self, process: usize, future: F) -> Suspendable<F> {
        Suspendable { world: self.clone(), process, future: Box::pin(future) }
    }

    pub(crate) fn suspend(&self, process: usize) {
        let mut state = self.state();
        state.stalled = true;
        state.suspended.entry(process).or_default();
    }

    pub(crate) fn resume(&self, process: usize) {
        let wakers = self.state().suspended.remove(&process);
        for waker in wakers.into_iter().flatten() {
            waker.wake();
        }
    }

    /// A process is killed: what only it had is lost.
    pub(crate) fn forget(&self, process: usize) {
        let mut state = self.state();
        let is_presenting = state.presenting.values().any(|processes| processes.contains(&process));
        let saved = state.succeeded.clone();
        let has_unsaved =
            state.arrived.iter().any(|(owner, token)| *owner == process && !saved.contains(token));
        // A claim of a killed process may be one under which something was presented.
        state.lost |= is_presenting || has_unsaved || state.never_repeats;
        state.arrived.retain(|(owner, _)| *owner != process);
        for processes in state.presenting.values_mut() {
            processes.remove(&process);
        }
        state.suspended.remove(&process);
    }

    async fn pause(&self, up_to: u64) {
        let length = self.state().rng.u64(0..=up_to);
        tokio::time::sleep(Duration::from_millis(length)).await;
    }
}

impl State {
    /// Whether a fault happens now.
    fn fails(&mut self, budget: fn(&mut Faults) -> &mut u32) -> bool {
        let left = budget(&mut self.faults);
        if *left == 0 || self.rng.u32(0..3) > 0 {
            return false;
        }
        *budget(&mut self.faults) -= 1;
        true
    }

    fn store_fails(&mut self) -> bool {
        let fails = self.fails(|faults| &mut faults.store);
        self.store_failures += u32::from(fails);
        // With two, a claim may stay in the record under which nothing was presented; others can't tell.
        self.lost |= self.never_repeats && self.store_failures >= 2;
        fails
    }

    pub(crate) fn violation(&mut self, what: String) {
        self.log.push(format!("VIOLATION {what}"));
        self.violations.push(what);
    }

    pub(crate) fn document(&self) -> Option<Value> {
        let (bytes, _) = self.record.as_ref()?;
        Some(serde_json::from_slice(bytes).unwrap())
    }

    pub(crate) fn delete(&mut self) {
        self.record = None;
        self.before = None;
    }

    pub(crate) fn roll_back(&mut self) -> bool {
        let Some(before) = self.before.take() else { return false };
        self.record = before;
        (self.lost, self.stalled, self.has_lost_write) = (true, true, true);
        true
    }

    /// Checks a write.
    fn written(&mut self, process: usize, bytes: &[u8]) {
        let old = self.document();
        let new: Value = serde_json::from_slice(bytes).unwrap();
        let epoch = new["epoch"].as_u64().unwrap();
        self.log.push(format!("{process} writes {}", shown(&new)));
        let is_new_epoch = old.as_ref().is_none_or(|old| old["epoch"] != new["epoch"]);
        if let Some(old) = &old {
            let before = old["epoch"].as_u64().unwrap();
            if is_new_epoch {
                if self.was.get(&before).is_some_and(|was| was.contains(&epoch)) {
                    self.violation(format!("I10: {process} writes a sign-in over a later one"));
                }
            } else {
                let token_changed = old["token"] != new["token"] || old["by"] != new["by"];
                if token_changed && new["by"].as_u64() <= old["by"].as_u64() {
                    self.violation(format!("I5: {process} replaces a token by one of an earlier claim"));
                }
                if let Some(refresh) = old["token"]["refresh"].as_str() {
                    if old["token"]["refresh"] != new["token"]["refresh"] {
                        self.succeeded.insert(refresh.to_owned());
                    }
                }
            }
        }
        if is_new_epoch && !self.was.contains_key(&epoch) {
            let mut was: HashSet<u64> =
                new["was"].as_array().unwrap().iter().map(|epoch| epoch.as_u64().unwrap()).collect();
            if let Some(old) = &old {
                let before = old["epoch"].as_u64().unwrap();
                was.insert(before);
                was.extend(self.was.get(&before).into_iter().flatten());
            }
            self.was.insert(epoch, was);
        }
        if let Some(access) = new["token"]["access"].as_str() {
            let grant = self.server.family_of(access).expect("a token of the server");
            if *self.grants.entry(epoch).or_insert(grant) != grant {
                self.violation(format!("I7: {process} writes a token of another sign-in"));
            }
        }
    }

    fn present(&mut self, process: usize, token: &str) {
        self.presentations += 1;
        self.log.push(format!("{process} presents {token}"));
        let others = self.presenting.entry(token.to_owned()).or_default();
        let is_presented_elsewhere = others.iter().any(|other| *other != process);
        others.insert(process);
        if is_presented_elsewhere && !self.stalled {
            self.violation(format!("I1: {process} presents {token} while another process does"));
        }
        if self.succeeded.contains(token) && !self.stalled {
            self.violation(format!("I2: {process} presents {token}, whose successor is in the record"));
        }
        if self.arrived.contains(&(process, token.to_owned())) {
            self.violation(format!("I2: {process} presents {token}, though it has the successor"));
        }
        if self.arrived.iter().any(|(owner, arrived)| *owner != process && arrived == token) {
            // The claim of a process that couldn't save has lapsed.
            self.stalled = true;
        }
        // A store that loses a claim can't tell.
        if !self.presented.insert(token.to_owned()) && self.never_repeats && !self.has_lost_write {
            self.violation(format!("I8: {process} presents {token} again"));
        }
    }

    /// Whether a sign-out couldn't be avoided.
    pub(crate) fn is_excused(&self) -> bool {
        let (lost, stalled) = (self.lost, self.stalled);
        if self.never_repeats {
            return lost || stalled;
        }
        match self.policy {
            Reuse::Fork => false,
            Reuse::SameSuccessor | Reuse::LatestSuccessor => stalled,
            Reuse::Refuse => lost,
            _ => lost || stalled,
        }
    }
}

fn shown(document: &Value) -> String {
    let claim = &document["claim"];
    format!(
        "epoch {} by {} claims {} token {}/{} claim {} {} unknown {} ended {} out {}",
        document["epoch"].as_u64().unwrap_or_default() % 1000,
        document["by"],
        document["claims"],
        document["token"]["access"].as_str().unwrap_or("-"),
        document["token"]["refresh"].as_str().unwrap_or("-"),
        claim["n"],
        claim["who"].as_str().unwrap_or("-"),
        document["unknown"],
        document["ended"]["by"],
        document["signed_out"],
    )
}

impl TokenStore for FaultyStore {
    async fn load(&self) -> Result<Option<Loaded>, StoreError> {
        self.world.pause(20).await;
        let record = {
            let mut state = self.world.state();
            if state.store_fails() {
                state.log.push(format!("{} can't load", self.process));
                return Err(StoreError::unavailable("a fault"));
            }
            state.record.clone()
        };
        self.world.pause(20).await;
        Ok(record.map(|(bytes, version)| {
            Loaded::new(Record::from_bytes(bytes), Version::new(version.to_string()))
        }))
    }

    async fn swap(&self, expected: Option<&Version>, record: &Record) -> Result<Swap, StoreError> {
        self.world.pause(20).await;
        let result = {
            let mut state = self.world.state();
            if state.store_fails() {
                state.log.push(format!("{} can't swap", self.process));
                return Err(StoreError::unavailable("a fault"));
            }
            let found = state.record.as_ref().map(|(_, version)| version.to_string());
            if found.as_deref() != expected.map(Version::as_str) {
                Swap::Conflict
            } else {
                state.written(self.process, record.as_bytes());
                state.before = Some(state.record.take());
                state.writes += 1;
                let version = state.writes;
                state.record = Some((record.as_bytes().to_vec(), version));
                Swap::Written(Version::new(version.to_string()))
            }
        };
        self.world.pause(20).await;
        let mut state = self.world.state();
        if state.store_fails() {
            state.log.push(format!("{}'s swap gets no response", self.process));
            return Err(StoreError::unavailable("a fault"));
        }
        Ok(result)
    }
}

impl Drop for Presenting {
    fn drop(&mut self) {
        if let Some(processes) = self.world.state().presenting.get_mut(&self.token) {
            processes.remove(&self.process);
        }
    }
}

impl Refresher for Client {
    async fn refresh(&self, cx: RefreshContext) -> Result<Token, RefreshError> {
        let Some(token) = cx.refresh_token().map(str::to_owned) else {
            return Err(RefreshError::grant_ended("no refresh token"));
        };
        self.world.pause(20).await;
        if !cx.is_wanted() || cx.time_left().is_some_and(|left| left.is_zero()) {
            return Err(RefreshError::transient("not sent"));
        }
        self.world.state().present(self.process, &token);
        let _presenting =
            Presenting { world: self.world.clone(), process: self.process, token: token.clone() };
        let (sender, response) = oneshot::channel();
        let (world, process, sent) = (self.world.clone(), self.process, token.clone());
        // The server goes on if the process dies.
        tokio::spawn(async move {
            world.pause(300).await;
            let mut state = world.state();
            let kind = if state.fails(|faults| &mut faults.losses) { state.rng.u32(0..3) } else { 3 };
            match kind {
                0 => {
                    state.log.push(format!("{process}'s request is lost"));
                    // Nobody can tell that from a lost response.
                    state.lost |= state.never_repeats;
                    let _ = sender.send(Err(RefreshError::outcome_unknown("a lost request")));
                }
                1 => {
                    state.log.push(format!("{process} is asked to retry later"));
                    state.presented.remove(&sent);
                    let busy = RefreshError::transient("busy").with_retry_after(Duration::from_secs(3));
                    let _ = sender.send(Err(busy));
                }
                2 => {
                    let token = state.server.exchange(&sent);
                    state.lost |= token.is_some();
                    let shown = token.as_ref().map(Token::access_token);
                    state.log.push(format!("{process}'s response is lost: {shown:?}"));
                    let _ = sender.send(Err(RefreshError::outcome_unknown("a lost response")));
                }
                _ => {
                    let token = state.server.exchange(&sent);
                    let shown = token.as_ref().map(Token::access_token);
                    state.log.push(format!("the server responds to {process}: {shown:?}"));
                    let _ = sender.send(token.ok_or_else(|| RefreshError::grant_ended("invalid_grant")));
                }
            }
        });
        let new = response.await.map_err(RefreshError::outcome_unknown)??;
        self.world.state().arrived.insert((self.process, token));
        Ok(new)
    }
}

impl Spawner for ProcessSpawner {
    fn is_ready(&self) -> bool {
        true
    }

    fn spawn(&self, task: Task) -> Result<(), NoRuntime> {
        let task = tokio::spawn(self.world.suspendable(self.process, task));
        self.tasks.lock().unwrap().push(task);
        Ok(())
    }
}

impl<F: Future> Future for Suspendable<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        let process = self.process;
        if let Some(wakers) = self.world.state().suspended.get_mut(&process) {
            wakers.push(cx.waker().clone());
            return Poll::Pending;
        }
        self.future.as_mut().poll(cx)
    }
}
