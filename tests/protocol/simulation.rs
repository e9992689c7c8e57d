//! Whatever happens: random runs of a few processes, each step of which is checked.

use std::{
    fmt::Write as _,
    sync::{Arc, Mutex},
    time::{Duration, SystemTime},
};

use tokio::time::sleep;
use tower_reauth::{
    Error, Session, Token,
    rt::TestClock,
    store::{SharedSession, SharedStore},
    testing::Reuse,
};

use crate::world::{Client, Faults, ProcessSpawner, World};

/// One kind of run.
#[derive(Clone, Copy)]
struct Run {
    processes: usize,
    steps: u32,
    faults: Faults,
    never_repeats: bool,
}

struct Process {
    number: usize,
    shared: SharedSession,
    tasks: Arc<Mutex<Vec<tokio::task::JoinHandle<()>>>>,
}

impl Process {
    fn start(world: &World, number: usize, clock: &TestClock) -> Self {
        let tasks = Arc::new(Mutex::new(Vec::new()));
        let spawner = ProcessSpawner { world: world.clone(), process: number, tasks: Arc::clone(&tasks) };
        let mut store = SharedStore::new(world.store(number));
        if world.state().never_repeats {
            store = store.never_repeat();
        }
        let shared = Session::builder(Client { world: world.clone(), process: number })
            .name(format!("process {number}"))
            .clock(clock.clone())
            .spawner(spawner)
            .jitter(false)
            .build_shared(store);
        Self { number, shared, tasks }
    }

    /// Runs something as a part of the process.
    fn spawn(&self, world: &World, task: impl Future<Output = ()> + Send + 'static) {
        let task = tokio::spawn(world.suspendable(self.number, task));
        self.tasks.lock().unwrap().push(task);
    }

    fn kill(self, world: &World) {
        for task in self.tasks.lock().unwrap().drain(..) {
            task.abort();
        }
        world.forget(self.number);
    }
}

/// What a client does: it sends a request, and again after a rejection.
async fn demand(world: World, process: usize, shared: SharedSession) -> Result<(), Error> {
    let session = shared.session();
    let server = world.state().server.clone();
    let held = session.try_token().map(|token| server.family_of(token.secret()));
    let mut token = session.token().await?;
    for _ in 0..4 {
        if held.is_some_and(|held| held != server.family_of(token.secret())) {
            world.state().violation(format!("I7: {process} gets another sign-in's token"));
        }
        if server.accepts(token.secret()) {
            return Ok(());
        }
        token = session.token_after_rejection(&token).await?;
    }
    Ok(())
}

async fn run(policy: Reuse, run: Run, seed: u64) -> Result<(), String> {
    fastrand::seed(seed);
    let clock = TestClock::new(SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000));
    let world = World::new(policy, run.faults, run.never_repeats, seed);
    let mut expiries = 1;
    let server = world.state().server.clone();
    let first = server.sign_in();
    let mut processes: Vec<_> =
        (0..run.processes).map(|number| Process::start(&world, number, &clock)).collect();
    {
        // The store has no faults before the first sign-in.
        let faults = std::mem::take(&mut world.state().faults);
        processes[0].shared.sign_in(first).await.unwrap();
        world.state().faults = faults;
    }
    server.expire_access_tokens();
    let mut next_process = run.processes;
    for _ in 0..run.steps {
        let (choice, at) = {
            let rng = &mut world.state().rng;
            (rng.u32(0..16), rng.usize(0..processes.len()))
        };
        let process = &processes[at];
        let (number, shared) = (process.number, process.shared.clone());
        let take = |budget: fn(&mut Faults) -> &mut u32| {
            let mut state = world.state();
            let left = budget(&mut state.faults);
            let has = *left > 0;
            *left = left.saturating_sub(1);
            has
        };
        match choice {
            0..=4 => {
                let world = world.clone();
                world.log(format!("{number} needs a token"));
                process.spawn(&world.clone(), async move {
                    let result = demand(world.clone(), number, shared).await;
                    world.log(format!("{number} got {:?}", result.map_err(|error| error.to_string())));
                });
            }
            5 | 6 => {
                // A token that is rejected right after a refresh would look like one that never worked.
                sleep(Duration::from_secs(3700)).await;
                world.log("all access tokens expire");
                server.expire_access_tokens();
                expiries += 1;
            }
            7 if take(|faults| &mut faults.crashes) => {
                world.log(format!("{number} is killed"));
                processes.remove(at).kill(&world);
                processes.push(Process::start(&world, next_process, &clock));
                next_process += 1;
            }
            8 if take(|faults| &mut faults.suspensions) => {
                world.log(format!("{number} is suspended"));
                world.suspend(number);
                let (world, length) = (world.clone(), world.state().rng.u64(0..60));
                tokio::spawn(async move {
                    sleep(Duration::from_secs(length)).await;
                    world.log(format!("{number} goes on"));
                    world.resume(number);
                });
            }
            9 if take(|faults| &mut faults.sign_ins) => {
                let out = world.state().rng.bool();
                let sync = world.state().rng.bool();
                world.log(format!("{number} signs {}", if out { "out" } else { "in" }));
                let token = server.sign_in();
                process.spawn(&world, async move {
                    match (out, sync) {
                        (true, true) => drop(shared.session().sign_out()),
                        (false, true) => shared.session().sign_in(token),
                        (true, false) => drop(shared.sign_out().await),
                        (false, false) => drop(shared.sign_in(token).await),
                    }
                });
            }
            10 if take(|faults| &mut faults.rollbacks) => {
                if world.state().roll_back() {
                    world.log("the store loses its last write");
                }
            }
            11 if take(|faults| &mut faults.deletions) => {
                world.log("the record is deleted");
                world.state().delete();
            }
            12 if take(|faults| &mut faults.sets) => {
                let sync = world.state().rng.bool();
                process.spawn(&world.clone(), {
                    let world = world.clone();
                    async move {
                        // A token for whoever is signed in at this moment.
                        let Some(held) = shared.session().try_token() else { return };
                        let access = world.state().server.issue_access_token(held.secret()).unwrap();
                        world.log(format!("{number} sets {access}"));
                        let token = Token::try_new(access).unwrap();
                        match sync {
                            true => drop(shared.session().set_token(token)),
                            false => drop(shared.set_token(token).await),
                        }
                    }
                });
            }
            _ => {
                let length = world.state().rng.u64(0..400);
                sleep(Duration::from_millis(length)).await;
            }
        }
        if !world.state().violations.is_empty() {
            break;
        }
    }
    settle(&world, &processes).await;
    let mut state = world.state();
    let has_faults = !matches!(
        run.faults,
        Faults {
            crashes: 0,
            losses: 0,
            store: 0,
            suspensions: 0,
            sign_ins: 0,
            rollbacks: 0,
            deletions: 0,
            sets: 0
        }
    );
    if !has_faults && state.presentations > expiries {
        let presentations = state.presentations;
        state.violation(format!("I9: {presentations} exchanges for {expiries} expiries"));
    }
    match state.violations.is_empty() {
        true => Ok(()),
        false => {
            let mut report = format!("{policy:?}, seed {seed}:\n");
            for line in &state.log {
                let _ = writeln!(report, "  {line}");
            }
            Err(report)
        }
    }
}

/// Nothing fails any more. Everybody gets a token, unless that can't be.
async fn settle(world: &World, processes: &[Process]) {
    world.state().faults = Faults::default();
    sleep(Duration::from_secs(120)).await;
    for process in processes {
        world.resume(process.number);
    }
    world.log("no more faults");
    sleep(Duration::from_secs(400)).await;
    for _ in 0..2 {
        for process in processes {
            let mut result = Ok(());
            for _ in 0..8 {
                // Within one sign-in; and it may take some looks to find it.
                let demand = demand(world.clone(), process.number, process.shared.clone());
                result = tokio::time::timeout(Duration::from_secs(600), demand).await.unwrap_or_else(|_| {
                    world.state().violation(format!("I4: {} never gets an answer", process.number));
                    Ok(())
                });
                if result.is_ok() {
                    break;
                }
                sleep(Duration::from_secs(150)).await;
            }
            process.shared.session().idle().await;
            let mut state = world.state();
            let document = state.document();
            let refresh = document.as_ref().and_then(|document| document["token"]["refresh"].as_str());
            let is_signed_in = refresh.is_some();
            let is_grant_live = refresh.is_some_and(|refresh| state.server.is_in_live_family(refresh));
            if !is_signed_in || state.is_excused() {
                continue;
            }
            // A session that signed itself out stays so until it looks again.
            let status = process.shared.session().status();
            if let Err(error) = result {
                if !error.is_signed_out() {
                    state.violation(format!("I3: {} is left without a token: {error}", process.number));
                }
            }
            if status.is_unsaved() {
                state.violation(format!("I4: {} has something unsaved", process.number));
            }
            if !is_grant_live {
                state.violation("I3: the server has revoked the grant".to_owned());
            }
        }
    }
    let mut state = world.state();
    let document = state.document();
    let refresh = document.as_ref().and_then(|document| document["token"]["refresh"].as_str());
    let Some(refresh) = refresh.map(str::to_owned) else { return };
    if !state.is_excused() && !state.stalled && !state.server.is_unused(&refresh) {
        state.violation(format!("I6: at rest the record has {refresh}, which the server doesn't take"));
    }
}

/// Runs many seeds with each policy; the first that breaks a promise is reported, with all its steps.
fn runs(kind: Run) {
    let seeds = std::env::var("TOWER_REAUTH_SEEDS").ok().and_then(|seeds| seeds.parse().ok()).unwrap_or(60);
    for policy in Reuse::ALL {
        for seed in 0..seeds {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_time()
                .start_paused(true)
                .build()
                .unwrap();
            if let Err(report) = runtime.block_on(run(policy, kind, seed)) {
                panic!("{report}");
            }
        }
    }
}

const PLAIN: Run = Run {
    processes: 3,
    steps: 40,
    never_repeats: false,
    faults: Faults {
        crashes: 0,
        losses: 0,
        store: 0,
        suspensions: 0,
        sign_ins: 0,
        rollbacks: 0,
        deletions: 0,
        sets: 0,
    },
};

#[test]
fn p19_one_exchange_for_each_expiry() {
    runs(PLAIN);
}

#[test]
fn p19_with_killed_processes() {
    runs(Run { faults: Faults { crashes: 2, ..PLAIN.faults }, ..PLAIN });
    runs(Run { faults: Faults { crashes: 2, ..PLAIN.faults }, never_repeats: true, ..PLAIN });
}

#[test]
fn p19_with_lost_requests_and_responses() {
    runs(Run { faults: Faults { losses: 2, ..PLAIN.faults }, ..PLAIN });
    runs(Run { faults: Faults { losses: 2, ..PLAIN.faults }, never_repeats: true, ..PLAIN });
}

#[test]
fn p19_with_a_store_that_fails() {
    runs(Run { faults: Faults { store: 3, ..PLAIN.faults }, ..PLAIN });
    runs(Run { faults: Faults { store: 3, ..PLAIN.faults }, never_repeats: true, ..PLAIN });
}

#[test]
fn p19_with_suspended_processes() {
    runs(Run { faults: Faults { suspensions: 2, ..PLAIN.faults }, ..PLAIN });
}

#[test]
fn p19_with_sign_ins_and_sign_outs() {
    runs(Run { faults: Faults { sign_ins: 3, ..PLAIN.faults }, ..PLAIN });
    runs(Run { faults: Faults { sign_ins: 2, crashes: 1, ..PLAIN.faults }, ..PLAIN });
}

#[test]
fn p19_with_access_tokens_that_are_set() {
    runs(Run { faults: Faults { sets: 3, ..PLAIN.faults }, ..PLAIN });
    runs(Run { faults: Faults { sets: 2, losses: 1, ..PLAIN.faults }, never_repeats: true, ..PLAIN });
}

#[test]
fn p19_with_a_deleted_record() {
    runs(Run { faults: Faults { deletions: 1, sign_ins: 1, ..PLAIN.faults }, ..PLAIN });
}

#[test]
fn p19_with_a_store_that_loses_a_write() {
    runs(Run { faults: Faults { rollbacks: 1, sign_ins: 2, ..PLAIN.faults }, ..PLAIN });
}

#[test]
fn p19_with_all_of_it() {
    let faults = Faults {
        crashes: 2,
        losses: 2,
        store: 4,
        suspensions: 1,
        sign_ins: 2,
        rollbacks: 1,
        deletions: 1,
        sets: 2,
    };
    runs(Run { faults, steps: 80, ..PLAIN });
    runs(Run { faults, steps: 80, never_repeats: true, ..PLAIN });
}
