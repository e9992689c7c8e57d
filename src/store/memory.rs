//! [`MemoryStore`].

use std::{
    collections::HashMap,
    fmt,
    pin::pin,
    sync::{Arc, Mutex},
};

use tokio::sync::Notify;

use crate::sync;

use super::{Loaded, Record, StoreError, Swap, TokenStore, Version};

/// Keeps records in this process, for tests. Clones share them.
///
/// # Examples
///
/// ```
/// use tower_reauth::store::{MemoryStore, Record, Swap, TokenStore};
///
/// # tokio_test::block_on(async {
/// let store = MemoryStore::new();
/// let record = Record::from_bytes("content");
/// assert!(matches!(store.swap(None, &record).await?, Swap::Written(_)));
/// assert!(matches!(store.swap(None, &record).await?, Swap::Conflict));
/// # Ok::<(), tower_reauth::store::StoreError>(())
/// # }).unwrap();
/// ```
pub struct MemoryStore {
    backend: Arc<Backend>,
    name: Arc<str>,
    /// The version at the last load.
    seen: Mutex<Option<u64>>,
}

#[derive(Default)]
struct Backend {
    records: Mutex<Records>,
    changed: Notify,
}

#[derive(Default)]
struct Records {
    by_name: HashMap<Arc<str>, (Record, u64)>,
    writes: u64,
}

// === impl MemoryStore ===

impl MemoryStore {
    /// Creates an empty store.
    pub fn new() -> Self {
        Self { backend: Arc::default(), name: "default".into(), seen: Mutex::default() }
    }

    /// A handle on another record of the same store.
    pub fn with_name(&self, name: impl Into<Arc<str>>) -> Self {
        Self { backend: Arc::clone(&self.backend), name: name.into(), seen: Mutex::default() }
    }

    /// Deletes the record.
    pub fn delete(&self) {
        sync::lock(&self.backend.records).by_name.remove(&self.name);
        self.backend.changed.notify_waiters();
    }

    fn version(&self) -> Option<u64> {
        sync::lock(&self.backend.records).by_name.get(&self.name).map(|(_, version)| *version)
    }
}

impl Clone for MemoryStore {
    /// Creates a handle that is notified of changes independently.
    fn clone(&self) -> Self {
        let seen = *sync::lock(&self.seen);
        Self { backend: Arc::clone(&self.backend), name: Arc::clone(&self.name), seen: Mutex::new(seen) }
    }
}

impl Default for MemoryStore {
    fn default() -> Self {
        Self::new()
    }
}

impl TokenStore for MemoryStore {
    async fn load(&self) -> Result<Option<Loaded>, StoreError> {
        let records = sync::lock(&self.backend.records);
        let found = records.by_name.get(&self.name);
        *sync::lock(&self.seen) = found.map(|(_, version)| *version);
        Ok(found.map(|(record, version)| Loaded::new(record.clone(), Version::new(version.to_string()))))
    }

    async fn swap(&self, expected: Option<&Version>, record: &Record) -> Result<Swap, StoreError> {
        let mut records = sync::lock(&self.backend.records);
        let found = records.by_name.get(&self.name).map(|(_, version)| version.to_string());
        if found.as_deref() != expected.map(Version::as_str) {
            return Ok(Swap::Conflict);
        }
        records.writes += 1;
        let version = records.writes;
        records.by_name.insert(Arc::clone(&self.name), (record.clone(), version));
        drop(records);
        self.backend.changed.notify_waiters();
        Ok(Swap::Written(Version::new(version.to_string())))
    }

    async fn changed(&self) {
        loop {
            // Listens before it looks, so that no change is missed in between.
            let mut changed = pin!(self.backend.changed.notified());
            changed.as_mut().enable();
            if self.version() != *sync::lock(&self.seen) {
                return;
            }
            changed.await;
        }
    }
}

impl fmt::Debug for MemoryStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryStore").field("name", &self.name).finish_non_exhaustive()
    }
}
