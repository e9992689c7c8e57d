//! A store with one fault.

use std::{
    collections::HashMap,
    pin::pin,
    sync::{Arc, Mutex, MutexGuard},
    time::{Duration, SystemTime},
};

use tokio::{sync::Notify, task::yield_now};
use tower_reauth::store::{Hold, Loaded, Record, StoreError, Swap, TokenStore, Version};

#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Fault {
    None,
    /// A missing record is loaded as an empty one.
    MissingIsEmpty,
    /// A first swap writes nothing.
    FirstWriteIsLost,
    /// A swap returns another version than the next load.
    OtherVersion,
    /// A swap that expects no record replaces one.
    Upsert,
    /// A swap doesn't look at the version.
    LastWriteWins,
    /// Writing the same bytes counts as no row written.
    SameBytesConflict,
    /// The version is a counter that wraps around.
    VersionsWrap,
    /// An earlier version of the same content is accepted, though there was other content since.
    AbaIsAccepted,
    /// A swap compares, then writes.
    CompareThenWrite,
    /// The 200th conflict is a write.
    RareLostUpdate,
    /// The second handle reads from a replica that lags by one load.
    LaggingReplica,
    /// A long record is written in place.
    TornReads,
    /// The record is a string.
    OnlyUtf8,
    /// An empty record is none.
    EmptyIsMissing,
    /// The record is cut off.
    Truncates,
    /// A swap that is dropped leaves half of a long record.
    TornWhenDropped,
    /// A change before the call of `changed` isn't reported.
    MissesEarlierChanges,
    /// A change after the call of `changed` isn't reported.
    MissesLaterChanges,
    /// A change is reported whenever asked.
    ChangesAlways,
    /// The clock goes back.
    ClockGoesBack,
    /// The clock is missing from every second load.
    ClockNowAndThen,
    /// Everybody gets the hold.
    ManyHolders,
    /// The hold stays after it was dropped.
    HoldStays,
    /// Names are cut off.
    ShortNames,
    /// An error shows the record.
    ErrorShowsRecord,
    /// A version that never was is accepted.
    AnyVersion,
    /// A swap of a record with a claim doesn't look at the version.
    BlindClaims,
}

/// A handle on a record.
pub(crate) struct FaultyStore {
    fault: Fault,
    backend: Backend,
    name: String,
    /// The first handle of a name is 0.
    handle: u32,
    /// The record at the last operation.
    seen: Mutex<Option<Stored>>,
}

/// What all handles share.
#[derive(Clone, Default)]
pub(crate) struct Backend {
    state: Arc<Mutex<State>>,
    changed: Arc<Notify>,
}

#[derive(Default)]
struct State {
    records: HashMap<String, Stored>,
    handles: HashMap<String, u32>,
    conflicts: u32,
    loads: u32,
    holds: HashMap<String, ()>,
}

#[derive(Clone, PartialEq)]
struct Stored {
    bytes: Vec<u8>,
    version: u64,
    /// All versions before, and their content.
    earlier: Vec<(u64, Vec<u8>)>,
}

/// Releases a hold.
struct Guard {
    backend: Backend,
    name: String,
}

/// Leaves half a record if it is dropped before the write is complete.
struct Half<'a> {
    store: &'a FaultyStore,
    bytes: Option<Vec<u8>>,
}

const LONG: usize = 1000;

// === impl Backend ===

impl Backend {
    pub(crate) fn open(&self, fault: Fault, name: &str) -> FaultyStore {
        let name = if fault == Fault::ShortNames { name.chars().take(64).collect() } else { name.to_owned() };
        let mut state = self.state();
        let handles = state.handles.entry(name.clone()).or_default();
        let handle = *handles;
        *handles += 1;
        drop(state);
        FaultyStore { fault, backend: self.clone(), name, handle, seen: Mutex::default() }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }
}

// === impl FaultyStore ===

impl FaultyStore {
    fn is(&self, fault: Fault) -> bool {
        self.fault == fault
    }

    fn current(&self) -> Option<Stored> {
        self.backend.state().records.get(&self.name).cloned()
    }

    /// Whether a swap may write.
    fn is_expected(&self, expected: Option<&str>, record: &[u8]) -> bool {
        let current = self.current();
        let version = current.as_ref().map(|current| current.version.to_string());
        if version.as_deref() == expected {
            return !(self.is(Fault::SameBytesConflict)
                && current.is_some_and(|current| current.bytes == record));
        }
        let is_alias = |current: &Stored| {
            let same = |(version, bytes): &(u64, Vec<u8>)| {
                let was_other_since = current.version > version + 1;
                was_other_since && Some(&*version.to_string()) == expected && *bytes == current.bytes
            };
            current.earlier.iter().any(same)
        };
        let has_claim = || record.windows(7).any(|window| window == b"\"claim\"");
        let is_written = match self.fault {
            Fault::Upsert => expected.is_none(),
            Fault::LastWriteWins => expected.is_some() && current.is_some(),
            Fault::AnyVersion => expected.is_some_and(|version| version.parse::<u64>().is_err()),
            Fault::AbaIsAccepted => current.as_ref().is_some_and(is_alias),
            Fault::BlindClaims => has_claim(),
            _ => false,
        };
        if is_written {
            return true;
        }
        let mut state = self.backend.state();
        state.conflicts += 1;
        self.is(Fault::RareLostUpdate) && state.conflicts == 200
    }

    fn write(&self, bytes: Vec<u8>) -> u64 {
        let mut state = self.backend.state();
        let before = state.records.remove(&self.name);
        let (last, mut earlier) = before.map_or((0, Vec::new()), |before| (before.version, before.earlier));
        let version = if self.is(Fault::VersionsWrap) { (last + 1) % 8 } else { last + 1 };
        if self.is(Fault::AbaIsAccepted) {
            earlier.push((version, bytes.clone()));
        }
        let stored = Stored { bytes, version, earlier };
        state.records.insert(self.name.clone(), stored.clone());
        drop(state);
        *self.seen.lock().unwrap() = Some(stored);
        self.backend.changed.notify_waiters();
        version
    }

    /// Leaves half of these bytes, at the same version.
    fn write_half(&self, bytes: &[u8]) {
        if let Some(stored) = self.backend.state().records.get_mut(&self.name) {
            stored.bytes = bytes[..bytes.len() / 2].to_vec();
        }
    }
}

impl TokenStore for FaultyStore {
    async fn load(&self) -> Result<Option<Loaded>, StoreError> {
        let mut current = self.current();
        {
            let mut seen = self.seen.lock().unwrap();
            let before = std::mem::replace(&mut *seen, current.clone());
            if self.is(Fault::LaggingReplica) && self.handle == 1 && before.is_some() {
                current = before;
            }
        }
        if self.is(Fault::EmptyIsMissing) {
            current = current.filter(|current| !current.bytes.is_empty());
        }
        let Some(Stored { bytes, version, .. }) = current else {
            let empty = || Loaded::new(Record::from_bytes(""), Version::new("0"));
            return Ok(self.is(Fault::MissingIsEmpty).then(empty));
        };
        let loaded = Loaded::new(Record::from_bytes(bytes), Version::new(version.to_string()));
        let mut state = self.backend.state();
        state.loads += 1;
        let hour = Duration::from_secs(3600);
        Ok(Some(match self.fault {
            Fault::ClockGoesBack => loaded.at(SystemTime::now() - hour * state.loads),
            Fault::ClockNowAndThen if state.loads % 2 == 0 => loaded,
            Fault::ClockNowAndThen => loaded.at(SystemTime::now()),
            _ => loaded,
        }))
    }

    async fn swap(&self, expected: Option<&Version>, record: &Record) -> Result<Swap, StoreError> {
        let expected = expected.map(Version::as_str);
        let mut bytes = record.as_bytes().to_vec();
        let is_foreign = expected.is_some_and(|version| version.parse::<u64>().is_err());
        if self.is(Fault::ErrorShowsRecord) && is_foreign {
            let message = format!("can't write {}", String::from_utf8_lossy(&bytes));
            return Err(StoreError::unavailable(message));
        }
        if !self.is_expected(expected, &bytes) {
            return Ok(Swap::Conflict);
        }
        match self.fault {
            Fault::CompareThenWrite => yield_now().await,
            Fault::FirstWriteIsLost if expected.is_none() => return Ok(Swap::Written(Version::new("1"))),
            Fault::TornReads if bytes.len() > LONG => {
                self.write_half(&bytes);
                yield_now().await;
            }
            Fault::TornWhenDropped if bytes.len() > LONG => {
                let mut half = Half { store: self, bytes: Some(bytes.clone()) };
                yield_now().await;
                half.bytes = None;
            }
            Fault::OnlyUtf8 => bytes = String::from_utf8_lossy(&bytes).into_owned().into_bytes(),
            Fault::Truncates => bytes.truncate(64 * 1024),
            _ => {}
        }
        let version = self.write(bytes);
        let version = if self.is(Fault::OtherVersion) { version + 1 } else { version };
        Ok(Swap::Written(Version::new(version.to_string())))
    }

    async fn changed(&self) {
        loop {
            let mut changed = pin!(self.backend.changed.notified());
            changed.as_mut().enable();
            let is_changed = self.current() != *self.seen.lock().unwrap();
            if self.is(Fault::ChangesAlways) || is_changed && !self.is(Fault::MissesEarlierChanges) {
                return;
            }
            if self.is(Fault::MissesLaterChanges) {
                std::future::pending::<()>().await;
            }
            changed.await;
            if self.is(Fault::MissesEarlierChanges) {
                return;
            }
        }
    }

    async fn try_hold(&self) -> Result<Hold, StoreError> {
        if self.is(Fault::BlindClaims) {
            // A hold would keep the claims apart.
            return Ok(Hold::none());
        }
        let before = self.backend.state().holds.insert(self.name.clone(), ());
        if before.is_some() && !self.is(Fault::ManyHolders) {
            return Ok(Hold::busy("another handle"));
        }
        if self.is(Fault::HoldStays) {
            return Ok(Hold::new(()));
        }
        Ok(Hold::new(Guard { backend: self.backend.clone(), name: self.name.clone() }))
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        self.backend.state().holds.remove(&self.name);
    }
}

impl Drop for Half<'_> {
    fn drop(&mut self) {
        if let Some(bytes) = &self.bytes {
            self.store.write_half(bytes);
        }
    }
}
