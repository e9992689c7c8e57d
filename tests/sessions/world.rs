//! What the users of a map have stored, and a token endpoint that the test controls.

use std::{
    collections::HashMap,
    io,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use tokio::sync::Semaphore;
use tower_reauth::{
    Session, SessionBuilder, Token,
    rt::TestClock,
    sessions::{Sessions, SessionsBuilder},
};

use crate::support::{Call, Endpoint, clock, endpoint, run_pending_tasks, token};

pub(crate) type Map = Sessions<u32, Session>;

/// The database of a gateway.
#[derive(Clone)]
pub(crate) struct Database {
    tokens: Arc<Mutex<HashMap<u32, Token>>>,
    loads: Arc<AtomicUsize>,
    fails_to_save: Arc<AtomicBool>,
}

pub(crate) struct World {
    pub(crate) database: Database,
    pub(crate) clock: TestClock,
    pub(crate) endpoint: Endpoint,
    builder: SessionBuilder,
}

// === impl Database ===

impl Database {
    pub(crate) fn new() -> Self {
        Self { tokens: Arc::default(), loads: Arc::default(), fails_to_save: Arc::default() }
    }

    pub(crate) fn loads(&self) -> usize {
        self.loads.load(Ordering::SeqCst)
    }

    pub(crate) fn fail_to_save(&self, fails: bool) {
        self.fails_to_save.store(fails, Ordering::SeqCst);
    }

    /// The access token that is stored for a user.
    pub(crate) fn access_token(&self, user: u32) -> String {
        self.tokens.lock().unwrap()[&user].access_token().to_owned()
    }

    pub(crate) fn load(&self, user: u32) -> io::Result<Token> {
        self.loads.fetch_add(1, Ordering::SeqCst);
        let tokens = self.tokens.lock().unwrap();
        tokens.get(&user).cloned().ok_or_else(|| io::Error::other("no such user"))
    }

    pub(crate) fn save(&self, user: u32, token: Option<Token>) -> io::Result<()> {
        if self.fails_to_save.load(Ordering::SeqCst) {
            return Err(io::Error::other("the database is down"));
        }
        let mut tokens = self.tokens.lock().unwrap();
        match token {
            Some(token) => drop(tokens.insert(user, token)),
            None => drop(tokens.remove(&user)),
        }
        Ok(())
    }

    /// A session with a save hook.
    pub(crate) fn session(&self, builder: SessionBuilder, user: u32) -> io::Result<Session> {
        let token = self.load(user)?;
        let database = self.clone();
        let save = move |token| {
            let saved = database.save(user, token);
            async move { saved }
        };
        Ok(builder.token(token).save_with(save).build())
    }
}

// === impl World ===

impl World {
    /// Each of these users has a token, such as `A7 R7 600`. To be made in a runtime with paused time.
    pub(crate) fn with_users(users: impl IntoIterator<Item = u32>) -> Self {
        let (refresher, endpoint) = endpoint();
        let clock = clock();
        let builder = Session::builder(refresher).jitter(false).clock(clock.clone());
        let database = Database::new();
        for user in users {
            database.save(user, Some(token(&format!("A{user} R{user} 600")))).unwrap();
        }
        Self { database, clock, endpoint, builder }
    }

    /// The builder of all sessions.
    pub(crate) fn session_builder(&self) -> SessionBuilder {
        self.builder.clone()
    }

    pub(crate) fn configure(mut self, set: impl FnOnce(SessionBuilder) -> SessionBuilder) -> Self {
        self.builder = set(self.builder);
        self
    }

    /// Sessions with a save hook.
    pub(crate) fn saved(&self) -> SessionsBuilder<u32, Session> {
        let (database, builder) = (self.database.clone(), self.builder.clone());
        let builder = Sessions::builder(move |user| {
            let session = database.session(builder.clone(), user);
            async move { session }
        });
        builder.clock(self.clock.clone())
    }

    /// Sessions with a save hook. Each load reads the database, then waits for a permit.
    pub(crate) fn gated(&self) -> (Map, Arc<Semaphore>) {
        let gate = Arc::new(Semaphore::new(0));
        let (database, builder, waits) = (self.database.clone(), self.builder.clone(), Arc::clone(&gate));
        let sessions = Sessions::builder(move |user| {
            let (session, gate) = (database.session(builder.clone(), user), Arc::clone(&waits));
            async move {
                gate.acquire().await.unwrap().forget();
                session
            }
        });
        (sessions.build(), gate)
    }

    /// Sessions without one.
    pub(crate) fn unsaved(&self) -> SessionsBuilder<u32, Session> {
        let (database, builder) = (self.database.clone(), self.builder.clone());
        let builder = Sessions::builder(move |user| {
            let token = database.load(user);
            let builder = builder.clone();
            async move { Ok::<_, io::Error>(builder.token(token?).build()) }
        });
        builder.clock(self.clock.clone())
    }

    /// Starts a refresh that nobody waits for.
    pub(crate) async fn start_refresh(&mut self, session: &Session) -> Call {
        let caller = crate::support::spawn_refresh(session);
        let call = self.endpoint.next_call().await;
        caller.abort();
        let _ = caller.await;
        call
    }

    /// Refreshes to `spec`.
    pub(crate) async fn refresh(&mut self, session: &Session, spec: &str) {
        self.start_refresh(session).await.succeed(spec);
        session.idle().await;
        run_pending_tasks().await;
    }
}

pub(crate) const SECOND: Duration = Duration::from_secs(1);
