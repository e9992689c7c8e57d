//! [`SharedSession`].

use std::{
    fmt,
    future::{Future, pending},
    sync::{Arc, Mutex, OnceLock},
    time::Duration,
};

use futures_util::future::{Either, select};

use crate::{
    error::Error,
    event::{Closed, HookError},
    refresh::AnyRefresher,
    rt::{Nanos, duration, nanos},
    session::{Hook, InitialToken, SaveOrder, Session, SessionBuilder, StoreParts},
    token::{RevocableTokens, Token},
};

use super::{
    TokenStore,
    erased::ErasedStore,
    known::Known,
    look::{LONGEST_EXCHANGE, SHORTEST_EXCHANGE},
    protocol::{Identity, Protocol, Settings, to_error},
    record::random,
    refresh::SharedRefresher,
    stored_token::StoredToken,
};

/// A store with its settings.
///
/// Made from a store by [`new`](Self::new). [`SessionBuilder::build_shared`] accepts either.
pub struct SharedStore<S> {
    store: S,
    settings: Settings,
    poll: Nanos,
}

/// A session whose credential is in a store, shared with other processes.
///
/// Made by [`SessionBuilder::build_shared`]. Clones are cheap and share their state.
///
/// The first call that needs a token reads the record; [`load`](Self::load) reads it immediately. From then
/// on the session reads it when its own token is stale, expired or rejected, and adopts a newer one that
/// another process has obtained. If there is none, one of the processes calls the token endpoint, and the
/// others wait.
///
/// [`sign_in`](Self::sign_in), [`sign_out`](Self::sign_out) and [`set_token`](Self::set_token) write the record
/// first, then change the session. Those of the [`Session`] itself take effect in this process immediately, and are
/// written right afterwards; [`Status::is_unsaved`](crate::Status::is_unsaved) says whether they are.
#[derive(Clone)]
pub struct SharedSession {
    session: Session,
    protocol: Arc<Protocol>,
    poll: Nanos,
}

const SECOND: Nanos = 1_000_000_000;
/// The time for the store's part of a save: its operations, and waiting for another save.
const SAVE_ALLOWANCE: Duration = Duration::from_secs(15);

// === impl SharedStore ===

impl<S: TokenStore> SharedStore<S> {
    /// Creates it with the default settings.
    pub fn new(store: S) -> Self {
        let settings =
            Settings { exchange_timeout: 10 * SECOND, slack: 4 * SECOND, never_repeats: false, client: None };
        Self { store, settings, poll: 5 * SECOND }
    }

    /// Sets the timeout of an exchange with the token endpoint, clamped to between 1 s and 15 s. Default: 10 s.
    ///
    /// The refresher's own timeout applies, too; the shorter one counts. If a process dies, another one takes
    /// over 4 s after this timeout. If the server accepts a used refresh token for a grace period, set this
    /// to 6 s less: see [Choosing the exchange
    /// timeout](crate::docs::many_processes#choosing-the-exchange-timeout).
    pub fn exchange_timeout(mut self, timeout: Duration) -> Self {
        self.settings.exchange_timeout = nanos(timeout).clamp(SHORTEST_EXCHANGE, LONGEST_EXCHANGE);
        self
    }

    /// Never presents a refresh token that may already have been used. If a response is lost, a process dies
    /// during an exchange, or one takes too long, the user has to sign in again.
    ///
    /// Use it only if a repeated refresh token does more harm than signing the user out. For a server that merely
    /// revokes the grant it gains nothing: the first request may never have arrived, and then the repeat succeeds.
    pub fn never_repeat(mut self) -> Self {
        self.settings.never_repeats = true;
        self
    }

    /// Sets the client that the record belongs to: any fixed string, such as
    /// `"https://id.example.com web-client"`. Default: not checked.
    ///
    /// A record of another client is [unreadable](super::StoreError::is_unreadable). Without this, a process
    /// with a wrong client ID could get `invalid_grant`, and sign out all processes.
    pub fn credential(mut self, client: impl Into<String>) -> Self {
        self.settings.client = Some(client.into());
        self
    }

    /// Sets how much longer than its exchange a claim is respected, and how often `follow` reads the record.
    #[doc(hidden)]
    #[cfg(feature = "test-util")]
    pub fn test_times(mut self, slack: Duration, poll: Duration) -> Self {
        self.settings.slack = nanos(slack);
        self.poll = nanos(poll);
        self
    }
}

impl<S: TokenStore> From<S> for SharedStore<S> {
    fn from(store: S) -> Self {
        Self::new(store)
    }
}

impl<S: fmt::Debug> fmt::Debug for SharedStore<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SharedStore")
            .field("store", &self.store)
            .field("settings", &self.settings)
            .finish_non_exhaustive()
    }
}

// === impl SessionBuilder ===

impl SessionBuilder {
    /// Builds a session that shares its credential with other processes through a store.
    ///
    /// [`token`](Self::token) and [`refresh_token`](Self::refresh_token) are used only if the store has no
    /// record, or one that has never had a token: a process without a token writes such a record when it
    /// claims the first call of the token endpoint. After a sign-out they aren't used.
    /// [`signed_out`](Self::signed_out) has no effect: the record decides.
    ///
    /// The refresh timeout is raised to three times the [exchange timeout](SharedStore::exchange_timeout)
    /// plus 14 s, if it is shorter. A [`save_with`](Self::save_with) hook is still called, after the store
    /// has been written, unless the record was deleted.
    pub fn build_shared<S: TokenStore>(mut self, store: impl Into<SharedStore<S>>) -> SharedSession {
        let SharedStore { store, settings, poll } = store.into();
        let StoreParts { refresher, initial, save, save_timeout, refresh_timeout, clock, name } =
            self.take_store_parts();
        let seed = match initial {
            InitialToken::Token(mut token) => {
                token.resolve_times(clock.now());
                Some(StoredToken::new(&token, Default::default()))
            }
            InitialToken::RefreshToken(refresh_token) => Some(StoredToken::seed(refresh_token)),
            InitialToken::None | InitialToken::SignedOut => None,
        };
        let least = duration(3 * settings.exchange_timeout + 14 * SECOND);
        let store: Box<dyn ErasedStore> = Box::new(store);
        let protocol = Arc::new(Protocol {
            store,
            refresher,
            clock,
            settings,
            identity: Identity::of_this_process(name.as_deref()),
            session: OnceLock::new(),
            known: Mutex::new(Known { seed, ..Known::default() }),
            write_lock: Mutex::default(),
        });
        let refresher = AnyRefresher::new(SharedRefresher(Arc::clone(&protocol)));
        let hook = save_hook(Arc::clone(&protocol), save, save_timeout);
        let session = self.refresh_timeout(refresh_timeout.max(least)).build_on_store(
            refresher,
            hook,
            save_timeout + SAVE_ALLOWANCE,
        );
        let _ = protocol.session.set(session.link());
        SharedSession { session, protocol, poll }
    }
}

/// Saves in the store, then calls the user's own hook.
fn save_hook(protocol: Arc<Protocol>, own: Option<Hook<SaveOrder>>, timeout: Duration) -> Hook<SaveOrder> {
    Arc::new(move |order| {
        let (protocol, own) = (Arc::clone(&protocol), own.clone());
        Box::pin(async move {
            protocol.save_order(&order).await?;
            let Some(own) = own else { return Ok(()) };
            let Ok(timeout) = protocol.clock.sleep(timeout) else { return Err(HookError::DROPPED) };
            match select(own(order), timeout).await {
                Either::Left((result, _)) => result,
                Either::Right(_) => Err(HookError::TIMED_OUT),
            }
        })
    })
}

// === impl SharedSession ===

impl SharedSession {
    /// The session: for [`layer`](Session::layer), [`token`](Session::token), [`watch`](Session::watch) and
    /// [`shutdown`](Session::shutdown).
    pub fn session(&self) -> &Session {
        &self.session
    }

    /// Reads the record now, and takes over changes by other processes. Never calls the token endpoint.
    ///
    /// # Errors
    ///
    /// If the store can't be used; see [`StoreError::find`](super::StoreError::find).
    ///
    /// # Cancel safety
    ///
    /// If the future is dropped, the record stays whole.
    pub async fn load(&self) -> Result<(), Error> {
        self.protocol.look_now().await.map(drop).map_err(to_error)
    }

    /// Signs in as another user.
    ///
    /// Callers that wait for the old user's token fail with [`is_signed_out`](Error::is_signed_out). Another
    /// process switches when it next reads the record; see [`follow`](Self::follow).
    ///
    /// # Errors
    ///
    /// If the store can't be used; this session is then unchanged. If
    /// [`is_unknown`](super::StoreError::is_unknown), the record may have changed, and the session takes it
    /// over when it next reads the record.
    ///
    /// # Cancel safety
    ///
    /// If the future is dropped, the record may have changed without the session, which takes it over when it next
    /// reads the record.
    pub async fn sign_in(&self, token: Token) -> Result<(), Error> {
        self.protocol.sign_in(token).await.map_err(to_error)
    }

    /// Signs out. Returns the tokens that the record had, so that they can be revoked.
    ///
    /// This session stops immediately; other processes stop when they next read the record. Afterwards, calls fail
    /// without reading the store. To notice a sign-in by another process, call [`load`](Self::load) or spawn
    /// [`follow`](Self::follow).
    ///
    /// # Errors
    ///
    /// As [`sign_in`](Self::sign_in).
    ///
    /// # Cancel safety
    ///
    /// As [`sign_in`](Self::sign_in).
    pub async fn sign_out(&self) -> Result<RevocableTokens, Error> {
        self.protocol.sign_out().await.map_err(to_error)
    }

    /// Replaces the token with one obtained elsewhere for the same user. Other processes get it when they next read
    /// the record.
    ///
    /// # Errors
    ///
    /// [`is_signed_out`](Error::is_signed_out) if nobody is signed in, or if another user has signed in
    /// since; otherwise as [`sign_in`](Self::sign_in).
    ///
    /// # Cancel safety
    ///
    /// As [`sign_in`](Self::sign_in).
    pub async fn set_token(&self, token: Token) -> Result<(), Error> {
        self.protocol.set_token(token).await.map_err(to_error)
    }

    /// Picks up other processes' tokens, sign-ins and sign-outs without waiting for a call, until the session is
    /// dropped.
    ///
    /// It reads the record about every 5 s, and whenever the store reports a change. It never calls the token
    /// endpoint. Spawn the returned future.
    pub fn follow(&self) -> impl Future<Output = ()> + Send + 'static {
        let (protocol, poll) = (Arc::clone(&self.protocol), self.poll);
        let mut watch = self.session.watch();
        async move {
            loop {
                let looked = protocol.look_now().await;
                let pause = (poll as f64 * (0.8 + 0.4 * fastrand::f64())) as Nanos;
                let Ok(pause) = protocol.sleep(pause) else { return };
                // A store that can't be read may report changes repeatedly.
                let changed = match looked {
                    Ok(_) => Either::Left(protocol.store.changed()),
                    Err(_) => Either::Right(pending()),
                };
                let mut next = select(changed, pause);
                loop {
                    match select(&mut next, Box::pin(watch.changed())).await {
                        Either::Left(_) => break,
                        Either::Right((Err(Closed(())), _)) => return,
                        // A refresh in flight kept the session from adopting a token; it may have ended.
                        Either::Right((Ok(()), _)) if matches!(looked, Ok(false)) => break,
                        Either::Right((Ok(()), _)) => {}
                    }
                }
            }
        }
    }
}

impl fmt::Debug for SharedSession {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SharedSession").field("session", &self.session).finish_non_exhaustive()
    }
}

// === impl Identity ===

impl Identity {
    fn of_this_process(name: Option<&str>) -> Self {
        let pid = std::process::id();
        let who = match name {
            Some(name) => format!("{name}, pid {pid}"),
            None => format!("pid {pid}"),
        };
        Self { id: format!("{:016x}", random()), who, host: host() }
    }
}

/// The host's name and boot ID, if the operating system has one.
fn host() -> Option<String> {
    let read = |path| std::fs::read_to_string(path).ok().map(|text| text.trim().to_owned());
    let boot = read("/proc/sys/kernel/random/boot_id")?;
    Some(format!("{} {boot}", read("/proc/sys/kernel/hostname").unwrap_or_default()))
}
