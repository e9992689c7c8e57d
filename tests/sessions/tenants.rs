//! Many tenants through one layer: each has a token, and a server that accepts no other.

use std::{
    collections::HashMap,
    io,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, SystemTime},
};

use futures::poll;
use http::{Request, Response, StatusCode};
use tokio::task::{JoinSet, yield_now};
use tower::{Layer, ServiceExt, util::BoxCloneSyncService};
use tower_reauth::{
    AuthLayer, Error, RefreshContext, RefreshError, Session, Token, refresh_fn, rt::TestClock,
    sessions::Sessions,
};

use crate::support::BoxError;

/// An organization, and a user of it.
type Key = (String, String);
type Client = BoxCloneSyncService<Request<()>, Response<()>, BoxError>;

/// The servers of all tenants, their token endpoints, and where their tokens are saved.
struct World {
    tenants: HashMap<Key, Tenant>,
    loads: AtomicUsize,
    rejections: AtomicUsize,
    /// Requests that reached a server with the token of another tenant.
    misdirected: AtomicUsize,
    /// Refresh tokens that weren't the current one.
    repeats: AtomicUsize,
}

struct Tenant {
    host: String,
    server: Mutex<Server>,
    saved: Mutex<Token>,
}

/// What a tenant's server knows of its tokens, which are numbered.
struct Server {
    current: usize,
    /// The access tokens up to this one have expired.
    expired: usize,
}

/// The numbers of the tokens with which a request was sent and rejected.
#[derive(Clone, Default)]
struct Rejected(Arc<Mutex<Vec<usize>>>);

/// One request of the mix.
enum Call {
    /// The caller waits for the response.
    Complete,
    /// The caller goes away after the first poll.
    Dropped,
    WithoutKey,
    UnknownKey,
}

/// How many requests there are, unless `TOWER_REAUTH_REQUESTS` sets another number.
const REQUESTS: usize = 100_000;
const TENANTS: usize = 50;
/// How many requests are in progress at the same time.
const CALLERS: usize = 64;
/// So few that sessions are evicted all the time.
const CAPACITY: usize = 8;
const LIFETIME: Duration = Duration::from_secs(3600);
/// The shortest that there is: tokens expire within their trial.
const BACKOFF: Duration = Duration::from_millis(1);
/// Longer than the clock is moved altogether.
const NEVER: Duration = Duration::from_secs(50 * 365 * 86_400);

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn p20_no_tenants_token_reaches_the_server_of_another() {
    let requests = std::env::var("TOWER_REAUTH_REQUESTS").ok().and_then(|requests| requests.parse().ok());
    let requests: usize = requests.unwrap_or(REQUESTS);
    let world = World::new();
    let clock = TestClock::new(SystemTime::now());
    let sessions = sessions(&world, &clock);
    let client = client(&world, &sessions);
    let mut callers = JoinSet::new();
    for caller in 0..CALLERS {
        let (world, sessions, client) = (Arc::clone(&world), sessions.clone(), client.clone());
        let clock = clock.clone();
        callers.spawn(async move {
            let mut random = fastrand::Rng::with_seed(caller as u64);
            for _ in 0..requests.div_ceil(CALLERS) {
                match random.usize(..2_000) {
                    0 => clock.step(LIFETIME),
                    1..10 => drop(sessions.evict_idle()),
                    _ => {}
                }
                call(&world, client.clone(), &mut random).await;
            }
        });
    }
    callers.join_all().await;
    sessions.close(NEVER).await.unwrap();

    let count = |counter: &AtomicUsize| counter.load(Ordering::Relaxed);
    assert_eq!((count(&world.misdirected), count(&world.repeats)), (0, 0));
    assert!(count(&world.loads) > 2 * TENANTS, "hardly any session was evicted");
    assert!(count(&world.rejections) > TENANTS, "hardly any token was rejected");
    for tenant in world.tenants.values() {
        let current = tenant.server.lock().unwrap().current;
        assert!(current > 1, "{}: no refresh", tenant.host);
        let saved = tenant.saved.lock().unwrap().refresh_token().map(str::to_owned);
        assert_eq!(saved, Some(format!("R {} {current}", tenant.host)));
    }
}

#[tokio::test]
async fn p20_keys_whose_parts_join_to_the_same_string_are_different() {
    let world = World::new();
    let sessions = sessions(&world, &TestClock::new(SystemTime::now()));
    let [first, second] = keys(7);
    assert_eq!(first.0.clone() + &first.1, second.0.clone() + &second.1);
    for key in [&first, &second] {
        let token = sessions.get(key).await.unwrap().token().await.unwrap();
        assert_eq!(token.secret(), format!("A {} 1", world.tenants[key].host));
    }
    assert_eq!(sessions.len(), 2);
}

/// Two keys whose parts join to the same string.
fn keys(number: usize) -> [Key; 2] {
    [("a", "bc"), ("ab", "c")]
        .map(|(organization, user)| (format!("{number}{organization}"), user.to_owned()))
}

fn sessions(world: &Arc<World>, clock: &TestClock) -> Sessions<Key, Session> {
    let (world, sessions_clock) = (Arc::clone(world), clock.clone());
    let load = move |key| {
        let (world, clock) = (Arc::clone(&world), sessions_clock.clone());
        async move { world.load(key, clock).await }
    };
    Sessions::builder(load)
        .capacity(CAPACITY)
        .idle(Duration::ZERO)
        .load_timeout(NEVER)
        .clock(clock.clone())
        .build()
}

fn client(world: &Arc<World>, sessions: &Sessions<Key, Session>) -> Client {
    let layer = AuthLayer::keyed(sessions.clone(), |head| head.extensions().get::<Key>().cloned());
    let world = Arc::clone(world);
    let servers = tower::service_fn(move |request| {
        let world = Arc::clone(&world);
        async move { Ok::<_, BoxError>(world.respond(request).await) }
    });
    BoxCloneSyncService::new(layer.layer(servers))
}

/// Makes one request of the mix, and checks its result.
async fn call(world: &Arc<World>, client: Client, random: &mut fastrand::Rng) {
    let key = keys(random.usize(..TENANTS / 2))[random.usize(..2)].clone();
    let tenant = &world.tenants[&key];
    if random.usize(..20) == 0 {
        tenant.expire();
    }
    let kind = match random.usize(..100) {
        0 => Call::WithoutKey,
        1 => Call::UnknownKey,
        2..5 => Call::Dropped,
        _ => Call::Complete,
    };
    let mut request = Request::get(format!("https://{}/", tenant.host)).body(()).unwrap();
    match kind {
        Call::WithoutKey => {}
        Call::UnknownKey => drop(request.extensions_mut().insert(("nobody".to_owned(), key.1))),
        Call::Complete | Call::Dropped => drop(request.extensions_mut().insert(key)),
    }
    let rejected = Rejected::default();
    request.extensions_mut().insert(rejected.clone());
    let mut response = Box::pin(client.oneshot(request));
    if let Call::Dropped = kind {
        let _ = poll!(&mut response);
        return;
    }
    let response = response.await;
    match kind {
        Call::WithoutKey => assert!(error(&response).is_missing_session()),
        Call::UnknownKey => assert!(error(&response).is_load_failed()),
        Call::Complete | Call::Dropped => {
            let status = response.unwrap().status();
            let rejected = rejected.0.lock().unwrap();
            match status {
                StatusCode::OK => assert!(rejected.len() < 2),
                // Both tokens had expired.
                StatusCode::UNAUTHORIZED => assert!(rejected.len() == 2 && rejected[0] < rejected[1]),
                status => panic!("{status}"),
            }
        }
    }
}

fn error(response: &Result<Response<()>, BoxError>) -> &Error {
    Error::find(&**response.as_ref().unwrap_err()).unwrap()
}

// === impl World ===

impl World {
    fn new() -> Arc<Self> {
        let keys = (0..TENANTS / 2).flat_map(keys).enumerate();
        let tenants = keys.map(|(number, key)| (key, Tenant::new(number))).collect();
        let counters = || AtomicUsize::new(0);
        Arc::new(Self {
            tenants,
            loads: counters(),
            rejections: counters(),
            misdirected: counters(),
            repeats: counters(),
        })
    }

    async fn load(self: Arc<Self>, key: Key, clock: TestClock) -> io::Result<Session> {
        yield_now().await;
        let tenant = self.tenants.get(&key).ok_or(io::ErrorKind::NotFound)?;
        self.loads.fetch_add(1, Ordering::Relaxed);
        let saved = tenant.saved.lock().unwrap().clone();
        let (world, of) = (Arc::clone(&self), key.clone());
        let refresher = refresh_fn(move |cx: RefreshContext| {
            let (world, of) = (Arc::clone(&world), of.clone());
            async move { world.exchange(&of, &cx).await }
        });
        let save = move |token: Option<Token>| {
            let (world, key) = (Arc::clone(&self), key.clone());
            async move {
                yield_now().await;
                *world.tenants[&key].saved.lock().unwrap() = token.expect("nobody signs out");
                Ok::<_, BoxError>(())
            }
        };
        let session = Session::builder(refresher)
            .token(saved)
            .save_with(save)
            .backoff(BACKOFF, BACKOFF)
            .wait_through_backoff(true)
            .wait_timeout(NEVER)
            .refresh_timeout(NEVER)
            .save_timeout(NEVER)
            .clock(clock);
        Ok(session.build())
    }

    async fn exchange(&self, key: &Key, cx: &RefreshContext) -> Result<Token, RefreshError> {
        yield_now().await;
        let tenant = &self.tenants[key];
        let mut server = tenant.server.lock().unwrap();
        if cx.refresh_token() != Some(&*format!("R {} {}", tenant.host, server.current)) {
            self.repeats.fetch_add(1, Ordering::Relaxed);
            return Err(RefreshError::grant_ended("not the current refresh token"));
        }
        server.current += 1;
        Ok(token(&tenant.host, server.current))
    }

    async fn respond(&self, request: Request<()>) -> Response<()> {
        yield_now().await;
        let host = request.uri().host().unwrap();
        let tenant = self.tenants.values().find(|tenant| tenant.host == host).unwrap();
        let value = request.headers()["authorization"].to_str().unwrap();
        let number = value.strip_prefix(&format!("Bearer A {host} ")).map(|number| number.parse().unwrap());
        let status = match number {
            None => {
                self.misdirected.fetch_add(1, Ordering::Relaxed);
                StatusCode::FORBIDDEN
            }
            Some(number) if number <= tenant.server.lock().unwrap().expired => {
                self.rejections.fetch_add(1, Ordering::Relaxed);
                request.extensions().get::<Rejected>().unwrap().0.lock().unwrap().push(number);
                StatusCode::UNAUTHORIZED
            }
            Some(_) => StatusCode::OK,
        };
        Response::builder().status(status).body(()).unwrap()
    }
}

// === impl Tenant ===

impl Tenant {
    fn new(number: usize) -> Self {
        let host = format!("tenant-{number}.example.com");
        let server = Server { current: 1, expired: 0 };
        let token = token(&host, 1);
        Self { host, server: Mutex::new(server), saved: Mutex::new(token) }
    }

    /// All access tokens so far expire.
    fn expire(&self) {
        let mut server = self.server.lock().unwrap();
        server.expired = server.current;
    }
}

fn token(host: &str, number: usize) -> Token {
    let token = Token::builder(format!("A {host} {number}")).refresh_token(format!("R {host} {number}"));
    token.expires_in(LIFETIME).build().unwrap()
}
