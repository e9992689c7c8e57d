//! What a store reads and writes.

use std::{
    any::Any,
    collections::hash_map::RandomState,
    fmt,
    hash::{BuildHasher, Hasher},
    sync::Arc,
    time::SystemTime,
};

use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

/// The bytes of a record, which hold secrets. They are zeroed when the last clone is dropped.
#[derive(Clone)]
pub struct Record {
    bytes: Arc<Zeroizing<Vec<u8>>>,
}

/// The version of a record in a store: any string that never stands for two different contents.
#[derive(Clone, PartialEq, Eq)]
pub struct Version {
    version: Arc<str>,
}

/// A record with its version.
#[derive(Clone, Debug)]
pub struct Loaded {
    record: Record,
    version: Version,
    at: Option<SystemTime>,
    /// The path of its file, for errors.
    path: Option<Arc<str>>,
}

/// The result of [`TokenStore::swap`](super::TokenStore::swap).
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Swap {
    /// Written; this is the new version.
    Written(Version),
    /// The record was at another version, or there was one where none was expected.
    Conflict,
}

/// The result of [`TokenStore::try_hold`](super::TokenStore::try_hold).
///
/// It is held until it is dropped, or until the process ends, however it ends.
#[must_use]
pub struct Hold {
    kind: HoldKind,
}

pub(super) enum HoldKind {
    None,
    Busy(String),
    Held(Box<dyn Any + Send + Sync>),
}

/// A random number that no other process gets: unlike `fastrand`'s, its seed comes from the operating system.
pub(super) fn random() -> u64 {
    RandomState::new().build_hasher().finish()
}

// === impl Record ===

impl Record {
    /// Creates a record from the bytes that a store has read.
    pub fn from_bytes(bytes: impl Into<Vec<u8>>) -> Self {
        Self { bytes: Arc::new(Zeroizing::new(bytes.into())) }
    }

    /// The bytes to write.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }
}

impl fmt::Debug for Record {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Record").field("len", &self.bytes.len()).finish_non_exhaustive()
    }
}

// === impl Version ===

impl Version {
    /// Creates a version from the store's own, such as an ETag.
    pub fn new(version: impl Into<Arc<str>>) -> Self {
        Self { version: version.into() }
    }

    /// Creates a version that no other process creates, for stores in which the writer chooses it: 32 random
    /// hexadecimal digits.
    pub fn random() -> Self {
        Self::new(format!("{:016x}{:016x}", random(), random()))
    }

    /// Creates a version for stores that have none: the SHA-256 hash of the content.
    pub fn of(record: &Record) -> Self {
        use std::fmt::Write as _;

        let mut version = String::with_capacity(64);
        for byte in Sha256::digest(record.as_bytes()) {
            let _ = write!(version, "{byte:02x}");
        }
        Self::new(version)
    }

    /// The version as a string.
    pub fn as_str(&self) -> &str {
        &self.version
    }
}

impl fmt::Debug for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Version").finish_non_exhaustive()
    }
}

// === impl Loaded ===

impl Loaded {
    /// Creates a loaded record.
    pub fn new(record: Record, version: Version) -> Self {
        Self { record, version, at: None, path: None }
    }

    /// Sets the time of the store's own clock at the load, such as a response's `Date`. Default: none.
    ///
    /// With it, the clocks of the hosts needn't agree, and a process that has just started needn't wait as long
    /// for one that died.
    pub fn at(mut self, time: SystemTime) -> Self {
        self.at = Some(time);
        self
    }

    /// The record.
    pub fn record(&self) -> &Record {
        &self.record
    }

    /// Its version.
    pub fn version(&self) -> &Version {
        &self.version
    }

    /// The time of the store's clock, if it has one.
    pub fn time(&self) -> Option<SystemTime> {
        self.at
    }

    #[cfg(feature = "file-store")]
    pub(super) fn with_path(self, path: &std::path::Path) -> Self {
        Self { path: Some(path.display().to_string().into()), ..self }
    }

    /// What an error about the record is about.
    pub(super) fn subject(&self) -> &str {
        self.path.as_deref().unwrap_or("the stored content")
    }

    pub(super) fn with_record(self, record: Record) -> Self {
        Self { record, ..self }
    }
}

// === impl Hold ===

impl Hold {
    /// The store doesn't support holds.
    pub fn none() -> Self {
        Self { kind: HoldKind::None }
    }

    /// Another process has it; `who` describes that process for errors, such as its process ID.
    pub fn busy(who: impl Into<String>) -> Self {
        Self { kind: HoldKind::Busy(who.into()) }
    }

    /// This process has it until `guard` is dropped.
    pub fn new(guard: impl Send + Sync + 'static) -> Self {
        Self { kind: HoldKind::Held(Box::new(guard)) }
    }

    pub(super) fn into_kind(self) -> HoldKind {
        self.kind
    }
}

impl fmt::Debug for Hold {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.kind {
            HoldKind::None => f.write_str("Hold(none)"),
            HoldKind::Busy(who) => write!(f, "Hold(busy: {who})"),
            HoldKind::Held(_) => f.write_str("Hold(held)"),
        }
    }
}
