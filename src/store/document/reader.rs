//! Reading a record's members.

use std::{collections::BTreeMap, sync::Arc};

use serde_json::{Map, Value};

use crate::{rt::Nanos, token::Secret};

use super::{super::stored_token::StoredToken, Claim, Document, Ended, LARGEST, MILLISECOND};

/// Takes typed members out of an object, so that no secret is copied.
pub(super) struct Reader {
    pub(super) members: Map<String, Value>,
    /// By how much the store's clock is ahead of this host's wall clock.
    pub(super) ahead: Nanos,
}

// === impl Reader ===

impl Reader {
    pub(super) fn document(&mut self) -> Option<Document> {
        let mut document = Document {
            write: self.string("w")?.unwrap_or_default(),
            epoch: self.number("epoch")??,
            was: self.numbers("was")?,
            by: self.number("by")?.unwrap_or_default(),
            claims: self.number("claims")?.unwrap_or_default(),
            client: self.string("client")?,
            signed_out: self.flag("signed_out")?,
            unknown: self.flag("unknown")?,
            pause: self.time("pause")?.filter(|pause| *pause > 0),
            ..Document::default()
        };
        document.token = match self.object("token")? {
            Some(mut token) => Some(token.token()?),
            None => None,
        };
        document.claim = match self.object("claim")? {
            Some(mut claim) => Some(claim.claim()?),
            None => None,
        };
        document.ended = match self.object("ended")? {
            Some(mut ended) => {
                Some(Ended { by: ended.number("by")??, code: ended.string("code")?.unwrap_or_default() })
            }
            None => None,
        };
        document.others = std::mem::take(&mut self.members);
        Some(document)
    }

    fn token(&mut self) -> Option<StoredToken> {
        let extras = match self.object("extras")? {
            Some(extras) => extras.strings()?,
            None => BTreeMap::new(),
        };
        let mut token = StoredToken {
            access: self.string("access")?.filter(|access| !access.is_empty()).map(Secret::new),
            scheme: self.string("scheme")?,
            refresh: self.string("refresh")?.and_then(Secret::refresh_token),
            received_at: self.time("received_at")?,
            expires_at: self.time("expires_at")?,
            refresh_at: self.time("refresh_at")?,
            refresh_expires_at: self.time("refresh_expires_at")?,
            scopes: self.scopes()?,
            extras: Arc::new(extras),
            ..StoredToken::default()
        };
        token.others = std::mem::take(&mut self.members);
        Some(token)
    }

    fn claim(&mut self) -> Option<Claim> {
        Some(Claim {
            number: self.number("n")??,
            id: self.string("id")?.unwrap_or_default(),
            length: self.millis("for")?.unwrap_or_default(),
            at: self.time("at")?.unwrap_or_default(),
            who: self.string("who")?.unwrap_or_default(),
            host: self.string("host")?,
        })
    }

    /// The outer `None`: the member has another type.
    fn take<T>(&mut self, name: &str, read: impl FnOnce(Value) -> Option<T>) -> Option<Option<T>> {
        match self.members.remove(name) {
            None | Some(Value::Null) => Some(None),
            Some(value) => read(value).map(Some),
        }
    }

    fn string(&mut self, name: &str) -> Option<Option<String>> {
        self.take(name, |value| match value {
            Value::String(string) => Some(string),
            _ => None,
        })
    }

    fn flag(&mut self, name: &str) -> Option<bool> {
        Some(self.take(name, |value| value.as_bool())?.unwrap_or_default())
    }

    fn number(&mut self, name: &str) -> Option<Option<u64>> {
        self.take(name, |value| value.as_u64().filter(|number| *number <= LARGEST))
    }

    fn millis(&mut self, name: &str) -> Option<Option<Nanos>> {
        self.take(name, |value| Some(value.as_i64()?.saturating_mul(MILLISECOND)))
    }

    fn time(&mut self, name: &str) -> Option<Option<Nanos>> {
        let ahead = self.ahead;
        Some(self.millis(name)?.map(|time| time.saturating_sub(ahead)))
    }

    fn numbers(&mut self, name: &str) -> Option<Vec<u64>> {
        let numbers = self.take(name, |value| match value {
            Value::Array(numbers) => numbers.iter().map(Value::as_u64).collect(),
            _ => None,
        })?;
        Some(numbers.unwrap_or_default())
    }

    fn scopes(&mut self) -> Option<Option<Arc<[String]>>> {
        self.take("scopes", |value| match value {
            Value::Array(scopes) => scopes.into_iter().map(string).collect(),
            _ => None,
        })
    }

    fn object(&mut self, name: &str) -> Option<Option<Self>> {
        let ahead = self.ahead;
        self.take(name, |value| match value {
            Value::Object(members) => Some(Self { members, ahead }),
            _ => None,
        })
    }

    fn strings(self) -> Option<BTreeMap<String, Secret>> {
        let members = self.members.into_iter();
        members.map(|(name, value)| Some((name, Secret::new(string(value)?)))).collect()
    }
}

fn string(value: Value) -> Option<String> {
    match value {
        Value::String(string) => Some(string),
        _ => None,
    }
}
