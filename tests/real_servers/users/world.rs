//! What the users' sessions use: a clock, a database, the token endpoint and an API.

use std::{
    collections::{HashMap, HashSet},
    convert::Infallible,
    io,
    pin::Pin,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use http::{Request, Response};
use tokio::{
    runtime::Handle,
    sync::{Semaphore, watch},
};
use tower::{Layer, ServiceExt, util::BoxCloneSyncService};
use tower_reauth::{
    AuthLayer, RefreshContext, RefreshError, Refresher, Session, Token,
    refresh::AnyRefresher,
    rt::{Clock, NoTimer, Sleep, SystemClock, Timestamp},
};

use crate::{
    servers::{Grant, Server},
    setup::{BoxError, Presented, Provider, Recorded},
    support::OnRuntime,
};

pub(super) type User = usize;
pub(super) type Client = BoxCloneSyncService<Request<()>, Response<()>, BoxError>;

/// What happens to a user in a wave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    /// The response to the refresh arrives during the next wave.
    HeldResponse,
    /// The save of the new token ends during the next wave.
    HeldSave,
    /// The save fails, and the next one doesn't.
    FailedSave,
    /// The load ends when some of the callers' runtimes have been shut down.
    HeldLoad,
}

pub(super) struct World {
    pub(super) clock: MovedClock,
    token_endpoint: Recorded<AnyRefresher>,
    handle: Handle,
    database: Mutex<HashMap<User, Token>>,
    /// All access tokens of each user.
    issued: Mutex<HashMap<User, HashSet<String>>>,
    loads: AtomicUsize,
    wave: Mutex<Wave>,
    /// The number of the wave up to which nothing is held any more.
    opened: watch::Sender<usize>,
    /// How many responses have arrived in this wave.
    responses: watch::Sender<usize>,
    held_saves: Semaphore,
}

#[derive(Default)]
struct Wave {
    number: usize,
    /// Those that haven't come true yet.
    fates: HashMap<User, Fate>,
}

/// The system's clock, moved forward by the test. Its timers are not.
#[derive(Clone, Default)]
pub(super) struct MovedClock {
    seconds: Arc<AtomicU64>,
}

/// The refresher of one user.
struct OfUser {
    user: User,
    world: Arc<World>,
}

/// The lifetime of an access token.
pub(super) const DAY: Duration = Duration::from_secs(86_400);
/// Longer than the clock is moved altogether.
const NEVER: Duration = Duration::from_secs(10 * 365 * 86_400);
/// The shortest that there is: a token that is held while the clock is moved has expired when it arrives.
const BACKOFF: Duration = Duration::from_millis(1);

// === impl World ===

impl World {
    /// The sessions' tasks run on the caller's runtime.
    pub(super) fn new(server: &Server) -> Arc<Self> {
        Arc::new(Self {
            clock: MovedClock::default(),
            token_endpoint: Recorded {
                inner: Provider::of(server).refresher(),
                presented: Presented::default(),
            },
            handle: Handle::current(),
            database: Mutex::default(),
            issued: Mutex::default(),
            loads: AtomicUsize::new(0),
            wave: Mutex::default(),
            opened: watch::Sender::new(0),
            responses: watch::Sender::new(0),
            held_saves: Semaphore::new(0),
        })
    }

    pub(super) fn sign_in(&self, user: User, grant: &Grant) {
        let token = Token::builder(&*grant.access).refresh_token(&*grant.refresh);
        let token = token.received_at(self.clock.now().wall()).expires_in(DAY).build().unwrap();
        self.database.lock().unwrap().insert(user, token);
    }

    pub(super) fn begin_wave(&self, fates: &HashMap<User, Fate>) {
        let mut wave = self.wave.lock().unwrap();
        wave.number += 1;
        wave.fates.extend(fates);
        self.responses.send_replace(0);
    }

    /// Waits until the server has responded to so many refreshes of this wave.
    pub(super) async fn responded(&self, count: usize) {
        self.responses.subscribe().wait_for(|responses| *responses >= count).await.unwrap();
    }

    /// Waits until so many saves of this wave are held.
    pub(super) async fn holds_saves(&self, count: usize) {
        self.held_saves.acquire_many(count.try_into().unwrap()).await.unwrap().forget();
    }

    /// Ends what is held in this wave, except for what is held until the next one.
    pub(super) fn open(&self) {
        self.opened.send_replace(self.number());
    }

    /// Builds a user's session from the database.
    pub(super) async fn load(self: &Arc<Self>, user: User) -> Result<Session, Infallible> {
        self.loads.fetch_add(1, Ordering::Relaxed);
        if self.comes_true(user, Fate::HeldLoad) {
            self.opened(self.number()).await;
        }
        let stored = self.database.lock().unwrap()[&user].clone();
        let world = Arc::clone(self);
        let save = move |token: Option<Token>| {
            let world = Arc::clone(&world);
            async move { world.save(user, token.expect("nobody signs out")).await }
        };
        let session = Session::builder(OfUser { user, world: Arc::clone(self) })
            .token(stored)
            .save_with(save)
            .refresh_early(false)
            .backoff(BACKOFF, BACKOFF)
            .wait_through_backoff(true)
            .wait_timeout(NEVER)
            .refresh_timeout(NEVER)
            .save_timeout(NEVER)
            .clock(self.clock.clone())
            .spawner(OnRuntime(self.handle.clone()));
        Ok(session.build())
    }

    /// How often a session was loaded.
    pub(super) fn loads(&self) -> usize {
        self.loads.load(Ordering::Relaxed)
    }

    /// How many refresh tokens were presented.
    pub(super) fn presented(&self) -> usize {
        self.token_endpoint.presented.count()
    }

    pub(super) fn stored_refresh_token(&self, user: User) -> String {
        self.database.lock().unwrap()[&user].refresh_token().unwrap().to_owned()
    }

    /// A client of an API that accepts only a user's own tokens.
    pub(super) fn client(self: &Arc<Self>, layer: AuthLayer) -> Client {
        let world = Arc::clone(self);
        let api = tower::service_fn(move |request: Request<()>| {
            let user: User = *request.extensions().get().unwrap();
            let token = request.headers()["authorization"].to_str().unwrap().strip_prefix("Bearer ").unwrap();
            let issued = world.issued.lock().unwrap();
            let is_own = issued.get(&user).is_some_and(|issued| issued.contains(token));
            let response = if is_own {
                Ok(Response::new(()))
            } else {
                Err(BoxError::from(format!("{token} isn't {user}'s")))
            };
            async move { response }
        });
        BoxCloneSyncService::new(layer.layer(api))
    }

    /// One call of a user.
    pub(super) fn call(
        &self,
        client: &Client,
        user: User,
    ) -> Pin<Box<dyn Future<Output = Result<(), BoxError>> + Send>> {
        let mut request = Request::get("https://api.example.com/").body(()).unwrap();
        request.extensions_mut().insert(user);
        let client = client.clone();
        Box::pin(async move { client.oneshot(request).await.map(drop) })
    }

    async fn save(&self, user: User, token: Token) -> io::Result<()> {
        if self.comes_true(user, Fate::FailedSave) {
            return Err(io::Error::other("the database is down"));
        }
        if self.comes_true(user, Fate::HeldSave) {
            let next = self.number() + 1;
            self.held_saves.add_permits(1);
            self.opened(next).await;
        }
        self.database.lock().unwrap().insert(user, token);
        Ok(())
    }

    /// Whether it is the user's fate, which then has come true.
    fn comes_true(&self, user: User, fate: Fate) -> bool {
        let fates = &mut self.wave.lock().unwrap().fates;
        fates.get(&user) == Some(&fate) && fates.remove(&user).is_some()
    }

    fn number(&self) -> usize {
        self.wave.lock().unwrap().number
    }

    async fn opened(&self, number: usize) {
        self.opened.subscribe().wait_for(|opened| *opened >= number).await.unwrap();
    }
}

// === impl OfUser ===

impl Refresher for OfUser {
    async fn refresh(&self, cx: RefreshContext) -> Result<Token, RefreshError> {
        let Self { user, world } = self;
        let number = world.number();
        let until = if world.comes_true(*user, Fate::HeldResponse) { number + 1 } else { number };
        let result = world.token_endpoint.refresh(cx).await;
        if let Ok(token) = &result {
            let access = token.access_token().to_owned();
            world.issued.lock().unwrap().entry(*user).or_default().insert(access);
        }
        world.responses.send_modify(|responses| *responses += 1);
        world.opened(until).await;
        result
    }
}

// === impl MovedClock ===

impl MovedClock {
    pub(super) fn advance(&self, by: Duration) {
        self.seconds.fetch_add(by.as_secs(), Ordering::SeqCst);
    }
}

impl Clock for MovedClock {
    fn now(&self) -> Timestamp {
        let (now, moved) = (SystemClock.now(), Duration::from_secs(self.seconds.load(Ordering::SeqCst)));
        Timestamp::new(now.wall() + moved, now.monotonic() + moved)
    }

    fn sleep(&self, duration: Duration) -> Result<Sleep, NoTimer> {
        SystemClock.sleep(duration)
    }
}
