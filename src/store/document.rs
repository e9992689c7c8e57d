//! The record's content: a JSON object.

mod reader;

use std::{collections::BTreeMap, fmt};

use serde::ser::{Serialize, SerializeMap, SerializeSeq, Serializer};
use serde_json::{Map, Value};

use crate::{
    rt::Nanos,
    token::{RevocableTokens, Secret},
};

use super::{Loaded, Record, StoreError, stored_token::StoredToken};
use reader::Reader;

/// A record's content. Its times are on this host's wall clock; [`parse`](Self::parse) and
/// [`to_record`](Self::to_record) convert them from and to the store's.
#[derive(Clone, Default)]
pub(super) struct Document {
    /// A random string, new for each write, by which a writer recognizes its own.
    pub(super) write: String,
    /// The sign-in: a random number, the same in all processes.
    pub(super) epoch: u64,
    /// The epochs before this one: the last 16, oldest first.
    pub(super) was: Vec<u64>,
    /// The number of the claim that obtained the token.
    pub(super) by: u64,
    /// The highest claim number so far.
    pub(super) claims: u64,
    pub(super) client: Option<String>,
    pub(super) signed_out: bool,
    /// The last exchange of the refresh token was sent and got no response.
    pub(super) unknown: bool,
    pub(super) token: Option<StoredToken>,
    pub(super) claim: Option<Claim>,
    pub(super) ended: Option<Ended>,
    /// Until when the token endpoint asked clients to wait.
    pub(super) pause: Option<Nanos>,
    /// Members that this version doesn't know.
    pub(super) others: Map<String, Value>,
}

/// A process's note that it is about to present the refresh token. It stays if the process dies.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Claim {
    pub(super) number: u64,
    /// Random for each handle.
    pub(super) id: String,
    /// How long the exchange takes at most.
    pub(super) length: Nanos,
    /// When it was written.
    pub(super) at: Nanos,
    /// The process, for errors.
    pub(super) who: String,
    /// The host and its boot; only for stores with a hold.
    pub(super) host: Option<String>,
}

/// The grant of the token with this number has ended.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Ended {
    pub(super) by: u64,
    pub(super) code: String,
}

const FORMAT: u64 = 1;
/// How many earlier epochs a record keeps.
pub(super) const EPOCHS: usize = 16;
/// Larger numbers lose precision in JSON readers that use floating point.
const LARGEST: u64 = (1 << 53) - 1;
const MILLISECOND: Nanos = 1_000_000;

// === impl Document ===

impl Document {
    pub(super) fn without_claim(&self) -> Self {
        Self { claim: None, ..self.clone() }
    }

    /// Reads a record. `ahead`: by how much the store's clock is ahead of this host's wall clock.
    pub(super) fn parse(loaded: &Loaded, ahead: Nanos) -> Result<Self, StoreError> {
        let bytes = loaded.record().as_bytes();
        let unreadable = |what: &str| {
            StoreError::unreadable(format!("{} {what} (it is {} bytes long)", loaded.subject(), bytes.len()))
        };
        let members = serde_json::from_slice::<Map<String, Value>>(bytes);
        // serde_json's error could quote the content.
        let mut members = members.map_err(|_| unreadable("isn't a record of tower-reauth"))?;
        match members.remove("v").and_then(|version| version.as_u64()) {
            Some(FORMAT) => {}
            Some(version) if version > FORMAT => {
                return Err(unreadable(
                    "was written by a newer version of tower-reauth: update this program",
                ));
            }
            _ => return Err(unreadable("isn't a record of tower-reauth")),
        }
        let mut reader = Reader { members, ahead };
        reader.document().ok_or_else(|| unreadable("has a member that is of the wrong type or out of range"))
    }

    /// Writes a record.
    pub(super) fn to_record(&self, ahead: Nanos) -> Result<Record, StoreError> {
        if self.claims.max(self.by) > LARGEST {
            // No process could read it.
            return Err(StoreError::unreadable("the record's numbers have become too large"));
        }
        let mut shifted = self.clone();
        if ahead != 0 {
            shifted.shift(ahead);
        }
        let failed = |_| StoreError::unavailable("the record can't be written");
        // Sized in advance: a buffer that grows leaves copies behind that aren't zeroed.
        let mut size = Size(0);
        serde_json::to_writer(&mut size, &shifted).map_err(failed)?;
        let mut bytes = Vec::with_capacity(size.0);
        serde_json::to_writer(&mut bytes, &shifted).map_err(failed)?;
        Ok(Record::from_bytes(bytes))
    }

    fn shift(&mut self, by: Nanos) {
        if let Some(token) = &mut self.token {
            token.shift(by);
        }
        if let Some(claim) = &mut self.claim {
            claim.at = claim.at.saturating_add(by);
        }
        if let Some(pause) = &mut self.pause {
            *pause = pause.saturating_add(by);
        }
    }

    pub(super) fn refresh_token(&self) -> Option<&Secret> {
        self.token.as_ref()?.refresh.as_ref()
    }

    /// Whether the grant of the token has ended, so that its refresh token isn't presented any more.
    pub(super) fn has_ended(&self) -> bool {
        self.ended.as_ref().is_some_and(|ended| ended.by == self.by)
    }

    pub(super) fn revocable_tokens(&self) -> RevocableTokens {
        let token = self.token.as_ref();
        RevocableTokens::of_secrets(
            token.and_then(|token| token.access.clone()),
            token.and_then(|token| token.refresh.clone()),
        )
    }
}

/// Counts what is written.
struct Size(usize);

impl std::io::Write for Size {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0 += bytes.len();
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

// === impl Serialize ===

impl Serialize for Document {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("v", &FORMAT)?;
        map.serialize_entry("w", &self.write)?;
        map.serialize_entry("epoch", &self.epoch)?;
        map.serialize_entry("was", &self.was)?;
        map.serialize_entry("by", &self.by)?;
        map.serialize_entry("claims", &self.claims)?;
        optional(&mut map, "client", self.client.as_deref())?;
        optional(&mut map, "signed_out", self.signed_out.then_some(true))?;
        optional(&mut map, "unknown", self.unknown.then_some(true))?;
        optional(&mut map, "token", self.token.as_ref())?;
        optional(&mut map, "claim", self.claim.as_ref())?;
        optional(&mut map, "ended", self.ended.as_ref())?;
        optional(&mut map, "pause", self.pause.map(millis))?;
        for (name, value) in &self.others {
            map.serialize_entry(name, value)?;
        }
        map.end()
    }
}

impl Serialize for StoredToken {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        optional(&mut map, "access", self.access.as_ref().map(Secret::expose))?;
        optional(&mut map, "scheme", self.scheme.as_deref())?;
        optional(&mut map, "refresh", self.refresh.as_ref().map(Secret::expose))?;
        optional(&mut map, "received_at", self.received_at.map(millis))?;
        optional(&mut map, "expires_at", self.expires_at.map(millis))?;
        optional(&mut map, "refresh_at", self.refresh_at.map(millis))?;
        optional(&mut map, "refresh_expires_at", self.refresh_expires_at.map(millis))?;
        optional(&mut map, "scopes", self.scopes.as_deref().map(Strings))?;
        optional(&mut map, "extras", (!self.extras.is_empty()).then_some(Secrets(&self.extras)))?;
        for (name, value) in &self.others {
            map.serialize_entry(name, value)?;
        }
        map.end()
    }
}

impl Serialize for Claim {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("n", &self.number)?;
        map.serialize_entry("id", &self.id)?;
        map.serialize_entry("for", &millis(self.length))?;
        map.serialize_entry("at", &millis(self.at))?;
        map.serialize_entry("who", &self.who)?;
        optional(&mut map, "host", self.host.as_deref())?;
        map.end()
    }
}

impl Serialize for Ended {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("by", &self.by)?;
        map.serialize_entry("code", &self.code)?;
        map.end()
    }
}

struct Strings<'a>(&'a [String]);

impl Serialize for Strings<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut strings = serializer.serialize_seq(Some(self.0.len()))?;
        for string in self.0 {
            strings.serialize_element(string)?;
        }
        strings.end()
    }
}

struct Secrets<'a>(&'a BTreeMap<String, Secret>);

impl Serialize for Secrets<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.0.len()))?;
        for (name, secret) in self.0 {
            map.serialize_entry(name, secret.expose())?;
        }
        map.end()
    }
}

fn optional<M: SerializeMap, T: Serialize>(
    map: &mut M,
    name: &str,
    value: Option<T>,
) -> Result<(), M::Error> {
    match value {
        Some(value) => map.serialize_entry(name, &value),
        None => Ok(()),
    }
}

fn millis(time: Nanos) -> i64 {
    time / MILLISECOND
}

impl fmt::Debug for Document {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Document")
            .field("epoch", &self.epoch)
            .field("by", &self.by)
            .field("claims", &self.claims)
            .field("claim", &self.claim)
            .field("unknown", &self.unknown)
            .field("ended", &self.ended)
            .finish_non_exhaustive()
    }
}
