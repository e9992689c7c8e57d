//! Random schedules against an issuer that notices each reuse of a refresh token.

use std::{
    collections::HashMap,
    env, io,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering},
    },
    time::Duration,
};

use tower_reauth::{
    RefreshContext, RefreshError, Session, Token, refresh_fn,
    sessions::{Sessions, SessionsBuilder},
};

use crate::support::{clock, run_pending_tasks};

const USERS: u32 = 12;
const CAPACITY: usize = 3;

/// An issuer with one grant per user, and the database of its client. The n-th tokens of user 7 are `A7.n` and `R7.n`.
#[derive(Clone)]
struct World {
    /// The number of the refresh token that is valid.
    issued: Arc<Mutex<HashMap<u32, u32>>>,
    stored: Arc<Mutex<HashMap<u32, u32>>>,
    reuses: Arc<AtomicUsize>,
    refreshes: Arc<AtomicUsize>,
    loads: Arc<AtomicU32>,
    saves_fail: Arc<AtomicBool>,
}

impl World {
    fn new() -> Self {
        let first = || Arc::new(Mutex::new((0..USERS).map(|user| (user, 1)).collect()));
        Self {
            issued: first(),
            stored: first(),
            reuses: Arc::default(),
            refreshes: Arc::default(),
            loads: Arc::default(),
            saves_fail: Arc::default(),
        }
    }

    fn token(user: u32, number: u32) -> Token {
        Token::builder(format!("A{user}.{number}"))
            .refresh_token(format!("R{user}.{number}"))
            .expires_in(Duration::from_secs(600))
            .build()
            .unwrap()
    }

    fn number_of(token: &str) -> (u32, u32) {
        let (user, number) = token[1..].split_once('.').unwrap();
        (user.parse().unwrap(), number.parse().unwrap())
    }

    /// Exchanges a refresh token.
    async fn refresh(self, cx: RefreshContext) -> Result<Token, RefreshError> {
        let (user, presented) = Self::number_of(cx.refresh_token().unwrap());
        pause().await;
        if fastrand::u8(..10) == 0 {
            return Err(RefreshError::transient("not today"));
        }
        let number = {
            let mut issued = self.issued.lock().unwrap();
            let current = issued.get_mut(&user).unwrap();
            if *current != presented {
                self.reuses.fetch_add(1, Ordering::SeqCst);
                return Err(RefreshError::grant_ended("reused"));
            }
            *current += 1;
            *current
        };
        self.refreshes.fetch_add(1, Ordering::SeqCst);
        pause().await;
        Ok(Self::token(user, number))
    }

    async fn load(self, user: u32) -> io::Result<Session> {
        pause().await;
        match fastrand::u8(..20) {
            0 => return Err(io::Error::other("the database is down")),
            1 => panic!("a bug in the loader"),
            2 => std::future::pending().await,
            _ => {}
        }
        let number = self.stored.lock().unwrap()[&user];
        let load = self.loads.fetch_add(1, Ordering::SeqCst);
        let world = self.clone();
        let save = move |token: Option<Token>| {
            let world = world.clone();
            async move {
                pause().await;
                if world.saves_fail.load(Ordering::SeqCst) && fastrand::bool() {
                    return Err(io::Error::other("the database is down"));
                }
                let token = token.expect("nobody signs out");
                let (_, number) = Self::number_of(token.access_token());
                world.stored.lock().unwrap().insert(user, number);
                Ok(())
            }
        };
        let refresher = refresh_fn(move |cx| self.clone().refresh(cx));
        let builder = Session::builder(refresher).token(Self::token(user, number)).save_with(save);
        Ok(builder.name(format!("{user}#{load}")).backoff(MOMENT, MOMENT).build())
    }

    fn sessions(&self) -> SessionsBuilder<u32, Session> {
        let world = self.clone();
        Sessions::builder(move |user| world.clone().load(user))
            .capacity(CAPACITY)
            .load_timeout(20 * MOMENT)
            .max_refreshes(3)
    }

    /// What must hold once everything has ended.
    fn check(&self) {
        assert_eq!(self.reuses.load(Ordering::SeqCst), 0, "a refresh token was presented twice");
        assert_eq!(*self.stored.lock().unwrap(), *self.issued.lock().unwrap(), "a rotated token was lost");
    }
}

const MOMENT: Duration = Duration::from_millis(1);

async fn pause() {
    for _ in 0..fastrand::u8(..4) {
        tokio::task::yield_now().await;
    }
}

/// Handles that somebody holds, by user.
#[derive(Default)]
struct Held(Vec<(u32, Session)>);

impl Held {
    /// All that are alive are the same session.
    fn hold(&mut self, user: u32, session: Session) {
        for (other, held) in &self.0 {
            if *other == user && !held.status().is_shut_down() {
                assert_eq!(held.name(), session.name(), "two live sessions of user {user}");
            }
        }
        self.0.push((user, session));
    }

    fn let_go(&mut self) {
        if !self.0.is_empty() {
            self.0.swap_remove(fastrand::usize(..self.0.len()));
        }
    }
}

async fn step(world: &World, sessions: &Sessions<u32>, held: &mut Held) {
    let user = fastrand::u32(..USERS);
    match fastrand::u8(..12) {
        0..=4 => {
            if let Ok(session) = sessions.get(&user).await {
                held.hold(user, session);
            }
        }
        // Nobody waits for these.
        5..=6 => {
            if let Some((_, session)) = held.0.last() {
                let session = session.clone();
                tokio::spawn(async move { drop(session.refresh().await) });
            }
        }
        7..=9 => held.let_go(),
        10 => sessions.remove(&user),
        _ => {
            let fails = fastrand::bool();
            world.saves_fail.store(fails, Ordering::SeqCst);
            sessions.evict_idle();
        }
    }
    pause().await;
}

async fn close(world: &World, sessions: &Sessions<u32>) {
    world.saves_fail.store(false, Ordering::SeqCst);
    while sessions.close(Duration::from_secs(60)).await.is_err() {
        tokio::time::sleep(MOMENT).await;
    }
    assert!(sessions.is_empty());
}

fn rounds(default: u64) -> u64 {
    env::var("MANY_USERS_ROUNDS").map_or(default, |rounds| rounds.parse().unwrap())
}

#[test]
fn p20_d19_random_schedules_present_no_refresh_token_twice_and_lose_none() {
    let mut refreshes = 0;
    for seed in 0..rounds(150) {
        fastrand::seed(seed);
        let runtime =
            tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap();
        runtime.block_on(async {
            let world = World::new();
            let sessions = world.sessions().idle(5 * MOMENT).clock(clock()).build();
            let mut held = Held::default();
            for _ in 0..300 {
                step(&world, &sessions, &mut held).await;
            }
            run_pending_tasks().await;
            close(&world, &sessions).await;
            drop(held);
            world.check();
            refreshes += world.refreshes.load(Ordering::SeqCst);
        });
    }
    assert!(refreshes > 20 * usize::try_from(rounds(150)).unwrap(), "{refreshes} refreshes show little");
}

#[test]
fn p20_d19_random_schedules_on_many_threads_present_no_refresh_token_twice_and_lose_none() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(4).enable_all().build().unwrap();
    for _ in 0..rounds(10) {
        let world = World::new();
        let sessions = world.sessions().build();
        runtime.block_on(async {
            let mut tasks = Vec::new();
            for _ in 0..8 {
                let (world, sessions) = (world.clone(), sessions.clone());
                tasks.push(tokio::spawn(async move {
                    // A load that hangs holds up one task only.
                    let mut held = Held::default();
                    for _ in 0..300 {
                        step(&world, &sessions, &mut held).await;
                    }
                }));
            }
            for task in tasks {
                task.await.unwrap();
            }
            close(&world, &sessions).await;
        });
        world.check();
    }
}
