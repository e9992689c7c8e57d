//! One credential for many processes and hosts.
//!
//! Processes that share a rotating refresh token share a *record* of it, in a file, in Redis, in PostgreSQL or
//! in a store of your own. Before one of them presents the refresh token, it writes a *claim* into the record;
//! the others see it and wait for the new token. So the token endpoint is called once, whichever process
//! first notices that the token has expired. See [`SharedSession`].
//!
//! # Stores
//!
//! | store | for |
//! |---|---|
//! | `FileStore` (feature `file-store`) | the processes of one host |
//! | `RedisStore`, `PostgresStore` (crates `tower-reauth-redis`, `tower-reauth-postgres`) | many hosts |
//! | [`MemoryStore`] | tests |
//! | your own [`TokenStore`] | anything with a conditional write; `check_store` (feature `test-util`) tests it |

#[cfg(feature = "test-util")]
mod check;
mod document;
mod erased;
mod error;
mod exchange;
mod follow;
// For `File::try_lock`.
#[cfg(feature = "file-store")]
#[clippy::msrv = "1.89"]
mod file;
mod known;
mod look;
mod memory;
mod mutations;
mod protocol;
mod record;
mod refresh;
mod save;
mod sealed;
mod shared;
mod sign_in;
mod stored_token;
mod view;

use std::future::{Future, pending, ready};

#[cfg(feature = "test-util")]
pub use check::check_store;
pub use error::StoreError;
#[cfg(feature = "file-store")]
pub use file::FileStore;
pub use memory::MemoryStore;
pub use record::{Hold, Loaded, Record, Swap, Version};
pub use sealed::{Sealed, StoreExt};
pub use shared::{SharedSession, SharedStore};

/// The place where a record is kept: two required operations, and two optional ones.
///
/// A store only moves bytes: it needs no lock, no lease and no clock, and it never looks into a record. Test
/// your own with `check_store` (feature `test-util`).
///
/// # Implementing
///
/// - [`swap`](Self::swap) is linearizable: of two swaps that expect the same version, one is
///   [`Written`](Swap::Written) and one is a [`Conflict`](Swap::Conflict), and each later
///   [`load`](Self::load), by any process, returns what was written. A replica that lags behind must not be
///   read.
/// - What is written stays: no expiry, no eviction.
/// - No operation blocks its thread: use an asynchronous driver, or `tokio::task::spawn_blocking`.
/// - A [`Version`] never stands for two different contents, whatever was lost, restored or deleted in
///   between. A counter can restart, so it isn't enough by itself: use [`Version::random`] if the writer can
///   choose it, an ETag, or a counter combined with the content's hash ([`Version::of`]).
/// - Don't retry a write whose response was lost: return [`StoreError::unavailable`]. The session checks whether it
///   took effect.
///
/// # Examples
///
/// ```
/// use std::sync::Mutex;
/// use tower_reauth::store::{Loaded, Record, StoreError, Swap, TokenStore, Version};
///
/// /// Keeps a record in this process.
/// #[derive(Default)]
/// struct Cell(Mutex<Option<Record>>);
///
/// impl TokenStore for Cell {
///     async fn load(&self) -> Result<Option<Loaded>, StoreError> {
///         let record = self.0.lock().map_err(|_| StoreError::unavailable("poisoned"))?.clone();
///         Ok(record.map(|record| {
///             let version = Version::of(&record);
///             Loaded::new(record, version)
///         }))
///     }
///
///     async fn swap(&self, expected: Option<&Version>, record: &Record) -> Result<Swap, StoreError> {
///         let mut current = self.0.lock().map_err(|_| StoreError::unavailable("poisoned"))?;
///         if current.as_ref().map(Version::of).as_ref() != expected {
///             return Ok(Swap::Conflict);
///         }
///         *current = Some(record.clone());
///         Ok(Swap::Written(Version::of(record)))
///     }
/// }
/// ```
pub trait TokenStore: Send + Sync + 'static {
    /// Reads the record. `None`: there is no record.
    ///
    /// # Errors
    ///
    /// [`StoreError::unavailable`] if it can't be reached, [`StoreError::unreadable`] if what is there isn't a
    /// record. Never return `None` for a record that can't be read: that counts as a sign-out.
    fn load(&self) -> impl Future<Output = Result<Option<Loaded>, StoreError>> + Send;

    /// Writes the record if the stored one still has the version `expected`. `None`: if there is no record yet.
    ///
    /// When this returns, the record is durable and visible to all.
    ///
    /// # Errors
    ///
    /// [`StoreError::unavailable`], also if the outcome is unknown.
    ///
    /// # Cancel safety
    ///
    /// If the future is dropped, the store has either the old record or the new one, whole.
    fn swap(
        &self,
        expected: Option<&Version>,
        record: &Record,
    ) -> impl Future<Output = Result<Swap, StoreError>> + Send;

    /// Completes when the record may have changed since this handle's last [`load`](Self::load), even if that
    /// happened before the call. Default: never completes, and sessions poll the record.
    fn changed(&self) -> impl Future<Output = ()> + Send {
        pending()
    }

    /// Tries to acquire an exclusive lock that is released when the process dies, such as a file lock. While it is
    /// [`busy`](Hold::busy), no other process refreshes. It doesn't wait for the lock. Default: [`Hold::none`].
    ///
    /// # Errors
    ///
    /// [`StoreError::unavailable`].
    fn try_hold(&self) -> impl Future<Output = Result<Hold, StoreError>> + Send {
        ready(Ok(Hold::none()))
    }
}

#[cfg(test)]
mod tests;
