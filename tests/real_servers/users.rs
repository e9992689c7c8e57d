//! A thousand users of one map. The runtimes of their callers are shut down while their refreshes run.

mod callers;
mod world;

use std::{
    collections::{HashMap, HashSet, VecDeque},
    sync::Arc,
};

use futures::{StreamExt, stream};
use tokio::{runtime::Handle, sync::Semaphore};
use tower_reauth::{AuthLayer, Session, sessions::Sessions};

use crate::{
    servers::{Kind, Server},
    setup::TIMEOUT,
    support::OnRuntime,
};
use callers::{Callers, Flavor, Work};
use world::{DAY, Fate, User, World};

/// How many users there are, unless `TOWER_REAUTH_USERS` sets another number.
const USERS: usize = 1_000;
/// How many of them call at once: a wave.
const AT_ONCE: usize = 80;
/// How many calls each of them makes.
const CALLS: usize = 20;
/// How many waves each user is in, at least.
const VISITS: usize = 3;
const CAPACITY: usize = 100;
/// Of users in each wave.
const FATES: [Fate; 6] = [
    Fate::HeldResponse,
    Fate::HeldResponse,
    Fate::HeldSave,
    Fate::FailedSave,
    Fate::HeldLoad,
    Fate::HeldLoad,
];
/// Of the callers. In each wave, some of them are shut down.
const RUNTIMES: [Flavor; 4] =
    [Flavor::CurrentThread, Flavor::MultiThread, Flavor::CurrentThread, Flavor::MultiThread];

/// Oidc-provider revokes a grant if a refresh token is presented again, so one repeat would sign a user out.
#[tokio::test(flavor = "multi_thread")]
async fn p20_d19_a_thousand_users_stay_signed_in_through_evictions_and_lost_runtimes() {
    let Some(server) = Server::start(Kind::Oidc, &[]) else { return };
    let users = std::env::var("TOWER_REAUTH_USERS").ok().and_then(|users| users.parse().ok());
    let users = users.unwrap_or(USERS);
    let (server, world) = (&server, &World::new(&server));
    for_each(users, async |user| world.sign_in(user, &server.sign_in().await)).await;
    let sessions = sessions(world);

    let seed = fastrand::u64(..);
    eprintln!("seed {seed}");
    let mut random = fastrand::Rng::with_seed(seed);
    let mut visits = visits(users, &mut random);
    let mut carried = HashMap::new();
    while !visits.is_empty() {
        // All access tokens expire, and all sessions have been idle for long.
        world.clock.advance(DAY);
        sessions.evict_idle();
        for (user, fate) in &carried {
            assert!(sessions.get_loaded(user).is_some(), "evicted after a {fate:?}");
        }
        let wave = next_wave(&carried, &mut visits);
        let new = wave[carried.len()..].iter().filter(|user| sessions.get_loaded(user).is_none());
        let fates: HashMap<_, _> = new.copied().zip(FATES).collect();
        let held = users_with(&fates, &[Fate::HeldResponse, Fate::HeldSave]);
        // Their refreshes are running already, or start once they are loaded.
        let others = users_with(&carried, &[Fate::HeldResponse, Fate::HeldSave]).len()
            + users_with(&fates, &[Fate::HeldLoad]).len();
        world.begin_wave(&fates);
        run_wave(world, &sessions, &wave, &held, wave.len() - others, &mut random).await;
        world.holds_saves(users_with(&fates, &[Fate::HeldSave]).len()).await;
        carried = fates;
        carried.retain(|_, fate| *fate != Fate::HeldLoad);
    }
    world.begin_wave(&HashMap::new());
    world.open();
    sessions.close(TIMEOUT).await.unwrap();

    assert!(world.loads() > users, "no session was evicted and loaded again");
    let presented = world.presented();
    assert_eq!(server.refreshes().await, (presented as u64, 0));
    for_each(users, async |user| {
        server.refresh(&world.stored_refresh_token(user)).await.unwrap();
    })
    .await;
    assert_eq!(server.refreshes().await, ((presented + users) as u64, 0));
}

/// The map. Its tasks run on the test's own runtime, which outlives those of the callers.
fn sessions(world: &Arc<World>) -> Sessions<User, Session> {
    let loader = Arc::clone(world);
    let load = move |user| {
        let world = Arc::clone(&loader);
        async move { world.load(user).await }
    };
    Sessions::builder(load)
        .capacity(CAPACITY)
        .idle(DAY / 2)
        .load_timeout(TIMEOUT)
        .clock(world.clock.clone())
        .spawner(OnRuntime(Handle::current()))
        .build()
}

/// Each user as often as they come, in a random order.
fn visits(users: usize, random: &mut fastrand::Rng) -> VecDeque<User> {
    let mut visits = VecDeque::new();
    for _ in 0..VISITS {
        let mut order: Vec<_> = (0..users).collect();
        random.shuffle(&mut order);
        visits.extend(order);
    }
    visits
}

/// The users of the next wave, each once. Those with something left of the last wave come first.
fn next_wave(carried: &HashMap<User, Fate>, visits: &mut VecDeque<User>) -> Vec<User> {
    let mut wave: Vec<_> = carried.keys().copied().collect();
    let mut present: HashSet<_> = wave.iter().copied().collect();
    while wave.len() < AT_ONCE {
        let Some(user) = visits.pop_front() else { break };
        if present.insert(user) {
            wave.push(user);
        }
    }
    wave
}

fn users_with(fates: &HashMap<User, Fate>, wanted: &[Fate]) -> HashSet<User> {
    fates.iter().filter(|(_, fate)| wanted.contains(fate)).map(|(user, _)| *user).collect()
}

/// All users of a wave call. Some of the runtimes are shut down while all calls wait; the calls of the others succeed.
///
/// `refreshing` refreshes start before that. All callers of the `held` users are on a runtime that is shut down.
async fn run_wave(
    world: &Arc<World>,
    sessions: &Sessions<User, Session>,
    wave: &[User],
    held: &HashSet<User>,
    refreshing: usize,
    random: &mut fastrand::Rng,
) {
    let layer = AuthLayer::keyed(sessions.clone(), |head| head.extensions().get::<User>().copied());
    let client = world.client(layer);
    let mut order: Vec<_> = (0..RUNTIMES.len()).collect();
    random.shuffle(&mut order);
    let (survivors, doomed) = order.split_at(random.usize(1..RUNTIMES.len()));
    let mut work = RUNTIMES.map(|_| Work::new());
    for (place, &user) in wave.iter().enumerate() {
        for call in 0..CALLS {
            let runtime = if held.contains(&user) { doomed[0] } else { (place + call) % RUNTIMES.len() };
            work[runtime].push(world.call(&client, user));
        }
    }
    let waiting = Arc::new(Semaphore::new(0));
    let start = |(flavor, work)| Some(Callers::start(flavor, work, Arc::clone(&waiting)));
    let mut callers: Vec<_> = RUNTIMES.into_iter().zip(work).map(start).collect();
    let calls = u32::try_from(wave.len() * CALLS).unwrap();
    waiting.acquire_many(calls).await.expect("all calls wait").forget();
    world.responded(refreshing).await;
    for &runtime in doomed {
        callers[runtime].take().unwrap().shut_down().await;
    }
    world.open();
    for &runtime in survivors {
        callers[runtime].take().unwrap().succeed().await;
    }
}

/// For some users at a time.
async fn for_each(users: usize, run: impl AsyncFn(User)) {
    stream::iter(0..users).for_each_concurrent(16, |user| run(user)).await;
}
