//! [`Sealed`].

use std::{error::Error as StdError, fmt};

use zeroize::Zeroizing;

use crate::error::BoxError;

use super::{Hold, Loaded, Record, StoreError, Swap, TokenStore, Version};

/// Combinators for stores.
pub trait StoreExt: TokenStore + Sized {
    /// Encrypts the record with your own cipher.
    ///
    /// `seal` gets the whole record, and its result is stored; `open` is its inverse. Use an AEAD cipher with a
    /// fresh nonce for each call, and the record's name as associated data, so that no record can take
    /// another's place.
    ///
    /// If `seal` fails, nothing is written; if `open` fails, the record is
    /// [unreadable](StoreError::is_unreadable). To change the key, first deploy an `open` that tries both, then a
    /// `seal` with the new one.
    fn sealed<F, G>(self, seal: F, open: G) -> Sealed<Self, F, G>
    where
        F: Fn(&[u8]) -> Result<Vec<u8>, BoxError> + Send + Sync + 'static,
        G: Fn(&[u8]) -> Result<Vec<u8>, BoxError> + Send + Sync + 'static,
    {
        Sealed { store: self, seal, open }
    }
}

impl<S: TokenStore> StoreExt for S {}

/// A store whose records are encrypted; see [`StoreExt::sealed`].
#[derive(Clone)]
pub struct Sealed<S, F, G> {
    store: S,
    seal: F,
    open: G,
}

/// The user's cipher failed.
#[derive(Debug)]
struct CipherError {
    message: String,
    source: BoxError,
}

// === impl CipherError ===

impl fmt::Display for CipherError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl StdError for CipherError {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        Some(&*self.source)
    }
}

// === impl Sealed ===

impl<S, F, G> TokenStore for Sealed<S, F, G>
where
    S: TokenStore,
    F: Fn(&[u8]) -> Result<Vec<u8>, BoxError> + Send + Sync + 'static,
    G: Fn(&[u8]) -> Result<Vec<u8>, BoxError> + Send + Sync + 'static,
{
    async fn load(&self) -> Result<Option<Loaded>, StoreError> {
        let Some(loaded) = self.store.load().await? else { return Ok(None) };
        let opened = (self.open)(loaded.record().as_bytes()).map_err(|source| {
            let message = format!("{} couldn't be decrypted", loaded.subject());
            StoreError::unreadable(CipherError { message, source })
        })?;
        Ok(Some(loaded.with_record(Record::from_bytes(opened))))
    }

    async fn swap(&self, expected: Option<&Version>, record: &Record) -> Result<Swap, StoreError> {
        let sealed = (self.seal)(record.as_bytes()).map(Zeroizing::new);
        let sealed = sealed.map_err(|source| {
            let message = "the record couldn't be encrypted, so it wasn't written".to_owned();
            StoreError::unavailable(CipherError { message, source })
        })?;
        self.store.swap(expected, &Record::from_bytes(&sealed[..])).await
    }

    async fn changed(&self) {
        self.store.changed().await;
    }

    async fn try_hold(&self) -> Result<Hold, StoreError> {
        self.store.try_hold().await
    }
}

impl<S: fmt::Debug, F, G> fmt::Debug for Sealed<S, F, G> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sealed").field("store", &self.store).finish_non_exhaustive()
    }
}
