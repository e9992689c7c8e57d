//! A session for each of many users.
//!
//! [`Sessions`] keeps one [`Session`] per key, such as a user's ID. It loads a session when its key is first used, and
//! evicts those that have not been used for long, but only if nothing is lost by that.
//! [`docs::many_users`](crate::docs::many_users) says how to choose keys, and how eviction and shutdown work.
//!
//! # Examples
//!
//! A gateway that calls an API for many users, each with a grant of its own:
//!
//! ```
//! use std::{sync::Arc, time::Duration};
//! use tower::{Layer, Service, service_fn};
//! use tower_reauth::{AuthLayer, RefreshContext, Session, Token, refresh_fn, sessions::Sessions};
//!
//! /// Who makes a request; set by the part of the gateway that authenticates its callers.
//! #[derive(Clone, PartialEq, Eq, Hash)]
//! struct UserId(Arc<str>);
//!
//! # async fn load(_: &UserId) -> std::io::Result<Token> { Ok(Token::try_new("A1").unwrap()) }
//! # async fn save(_: &UserId, _: Option<Token>) -> std::io::Result<()> { Ok(()) }
//! # tokio_test::block_on(async {
//! # let refresher = refresh_fn(|_: RefreshContext| async { Ok(Token::try_new("A2")?) });
//! # let client = service_fn(|_: http::Request<()>| async { Ok::<_, std::convert::Infallible>(http::Response::new(())) });
//! // Settings that all sessions share.
//! let builder = Session::builder(refresher).wait_timeout(Duration::from_secs(10));
//! let sessions = Sessions::builder(move |user: UserId| {
//!     let builder = builder.clone().name(user.0.clone());
//!     async move {
//!         let token = load(&user).await?;
//!         let save = move |token| {
//!             let user = user.clone();
//!             async move { save(&user, token).await }
//!         };
//!         Ok::<_, std::io::Error>(builder.token(token).save_with(save).build())
//!     }
//! })
//! .capacity(100_000)
//! .idle(Duration::from_secs(3600))
//! .max_refreshes(64)
//! .build();
//!
//! let layer = AuthLayer::keyed(sessions.clone(), |head| head.extensions().get::<UserId>().cloned());
//! let mut client = layer.layer(client);
//!
//! let mut request = http::Request::get("https://api.example.com/").body(())?;
//! request.extensions_mut().insert(UserId("alice".into()));
//! client.call(request).await?;
//!
//! assert_eq!(sessions.len(), 1);
//! sessions.close(Duration::from_secs(10)).await?;
//! # Ok::<(), tower::BoxError>(())
//! # }).unwrap();
//! ```

mod builder;
mod close;
mod find;
mod handle;
mod keyed;
mod load;
mod map;
mod shard;

use std::{fmt, future::Future, hash::Hash, sync::Arc};

use crate::{
    error::{BoxError, Error},
    session::Session,
};

use find::{Found, timed_out};
use load::Waited;
use map::Map;

pub use builder::SessionsBuilder;
pub use handle::SessionHandle;

/// One session per key, loaded when it is needed.
///
/// Clones are cheap and share the sessions. See the [module docs](self).
///
/// # One session per key
///
/// There is never more than one live session for a key: two would present the same refresh token, and a server that
/// rotates refresh tokens would then sign the user out. So a session stays as long as anybody has a handle to it,
/// and while its refresh or save is running. Such sessions are in use, and don't count towards the
/// [capacity](SessionsBuilder::capacity). After a burst, the sessions beyond it are evicted a few at a time as others
/// are loaded, or by [`evict_idle`](Self::evict_idle).
///
/// Keys are hashed, compared, cloned and dropped under a lock.
///
/// # Eviction
///
/// A session is evicted only if it isn't in use and nothing is lost: loading it again would restore what it holds.
///
/// - With a [save hook](crate::SessionBuilder::save_with) or a store, everything must be saved.
/// - Without one, a session stays once your code has changed it (`sign_in`, `set_token`, `sign_out`), or once a refresh
///   has changed it and it has a refresh token.
/// - A session whose last refresh got no response stays until the next refresh succeeds or fails.
///
/// If the map is full and no session can be evicted, loading another one fails with [`is_full`](Error::is_full).
///
/// The least recently used ones go first, approximately. A reloaded session doesn't remember an earlier
/// [backoff](crate::SessionBuilder::backoff), `Retry-After` or ended grant. Keep the handle until a call is over: a
/// rejection of its token can't be reported to a session that was loaded since.
pub struct Sessions<K, S = Session> {
    map: Arc<Map<K, S>>,
}

// === impl Sessions ===

impl<K, S> Sessions<K, S>
where
    K: Clone + Eq + Hash + Send + Sync + 'static,
    S: SessionHandle,
{
    /// Creates a builder. `load` makes the session of a key: it reads what was saved for the key, and builds a session
    /// from that.
    ///
    /// It is called in a task, and for one key only once at a time. It must build a new session each time. It must not
    /// wait for the session's token: that could present the stored refresh token before the map knows the session. It
    /// must not call [`get`](Self::get) for its own key. It must start nothing on the session that refreshes or changes it,
    /// such as [`keep_fresh`](crate::Session::keep_fresh), before it returns.
    ///
    /// An error means that the session can't be loaded now; the next call tries again. For a user without a credential,
    /// return a session that is [signed out](crate::SessionBuilder::token_or_signed_out) instead: requests then fail with
    /// [`is_signed_out`](Error::is_signed_out).
    pub fn builder<F, Fut, E>(load: F) -> SessionsBuilder<K, S>
    where
        F: Fn(K) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<S, E>> + Send + 'static,
        E: Into<BoxError>,
    {
        SessionsBuilder::new(load)
    }

    fn new(map: Map<K, S>) -> Self {
        Self { map: Arc::new(map) }
    }

    /// Returns the session of a key, and loads it if necessary.
    ///
    /// ```
    /// # use tower_reauth::{Error, sessions::Sessions};
    /// async fn header(sessions: &Sessions<u64>, user: u64) -> Result<String, Error> {
    ///     let session = sessions.get(&user).await?;
    ///     Ok(session.token().await?.secret().to_owned())
    /// }
    /// ```
    ///
    /// All callers of a key share one load. If it fails, they all get its error, and so do further callers for a
    /// second; then the next one loads again.
    ///
    /// # Errors
    ///
    /// - [`is_load_failed`](Error::is_load_failed): the loading function failed, panicked or timed out, or its runtime
    ///   shut down.
    /// - [`is_full`](Error::is_full): no session could be evicted to make room.
    /// - [`is_unsaved`](Error::is_unsaved): the key was [removed](Self::remove), and what its session held still
    ///   couldn't be saved.
    /// - [`is_shut_down`](Error::is_shut_down): the map was [closed](Self::close).
    /// - [`is_missing_runtime`](Error::is_missing_runtime): there is no runtime for the load.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future only cancels the wait; the load continues.
    pub async fn get(&self, key: &K) -> Result<S, Error> {
        let mut was_overdue = false;
        loop {
            let load = match self.map.find(key, S::clone)? {
                Found::Session(session) => return Ok(session),
                Found::Loading(load) => load,
            };
            match load.wait(&*self.map.settings.clock).await {
                Waited::Ended(loaded) => return loaded,
                Waited::Discarded => {}
                // The one that took its place isn't polled either.
                Waited::Overdue if was_overdue => return Err(timed_out()),
                Waited::Overdue => was_overdue = true,
            }
        }
    }

    /// Returns the session of a key if it has been loaded.
    pub fn get_loaded(&self, key: &K) -> Option<S> {
        self.map.find_loaded(key, S::clone)
    }

    /// Removes the session of a key and shuts it down: its handles still return a valid token, but start no further
    /// refresh.
    ///
    /// The next [`get`](Self::get) waits until a refresh in flight and its save have ended, then loads the session again.
    /// Also forgets a failed load. A request that has got the session already may fail with
    /// [`is_shut_down`](Error::is_shut_down).
    ///
    /// To end a session, call this rather than its `shutdown`, after which the map would still return it.
    ///
    /// If the user has signed in again, call [`sign_in`](crate::Session::sign_in) on the session instead, which also
    /// saves the new token. To replace what is stored yourself, wait for the end of the old session first, as it may
    /// still be saved:
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use tower_reauth::{Error, sessions::Sessions};
    /// async fn end(sessions: &Sessions<u32>, user: u32) -> Result<(), Error> {
    ///     let session = sessions.get_loaded(&user);
    ///     sessions.remove(&user);
    ///     match session {
    ///         Some(session) => session.shutdown(Duration::from_secs(10)).await,
    ///         None => Ok(()),
    ///     }
    /// }
    /// ```
    pub fn remove(&self, key: &K) {
        self.map.remove(key);
    }

    /// The number of loaded sessions, including those that are in use.
    pub fn len(&self) -> usize {
        self.map.len()
    }

    /// Whether no session is loaded.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Evicts the sessions that haven't been used for the [idle time](SessionsBuilder::idle), if one is set, and those
    /// beyond the [capacity](SessionsBuilder::capacity), as far as they can be.
    /// Returns how many were evicted.
    ///
    /// There is no timer: sessions are evicted when others are loaded. Call this from time to time to free the memory of
    /// an idle map.
    pub fn evict_idle(&self) -> usize {
        self.map.evict_idle()
    }
}

impl<K, S> Clone for Sessions<K, S> {
    fn clone(&self) -> Self {
        Self { map: Arc::clone(&self.map) }
    }
}

impl<K, S> fmt::Debug for Sessions<K, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sessions").field("map", &self.map).finish()
    }
}
