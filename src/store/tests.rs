//! What the tests of the protocol's steps share: a process, and records as strings.

use std::{
    sync::{Arc, Mutex, OnceLock},
    time::Duration,
};

use crate::{
    refresh::{AnyRefresher, RefreshContext, RefreshError},
    refresh_fn,
    rt::{Clock, Nanos, NoTimer, Sleep, SystemClock, Timestamp},
    session::{Session, SessionBuilder},
    token::{Secret, Token},
};

use super::{
    MemoryStore, TokenStore,
    document::{Claim, Document, Ended},
    known::{Known, UnsavedToken},
    protocol::{Identity, Protocol, Settings},
    stored_token::StoredToken,
};

const SECOND: Nanos = 1_000_000_000;
const NOW: Timestamp = Timestamp { wall: 1_700_000_000 * SECOND, monotonic: 500 * SECOND };

struct FixedClock;

impl Clock for FixedClock {
    fn now(&self) -> Timestamp {
        NOW
    }

    fn sleep(&self, duration: Duration) -> Result<Sleep, NoTimer> {
        SystemClock.sleep(duration)
    }
}

fn refresher() -> AnyRefresher {
    AnyRefresher::new(refresh_fn(|_: RefreshContext| async {
        Err::<Token, _>(RefreshError::misconfigured("no test calls it"))
    }))
}

/// The process "me", without a session.
pub(super) fn protocol(store: impl TokenStore, known: Known) -> Protocol {
    let (id, who) = ("me".to_owned(), "pod 1".to_owned());
    Protocol {
        store: Box::new(store),
        refresher: refresher(),
        clock: Arc::new(FixedClock),
        settings: Settings {
            exchange_timeout: 10 * SECOND,
            slack: 5 * SECOND,
            never_repeats: false,
            client: None,
        },
        identity: Identity { id, who, host: None },
        session: OnceLock::new(),
        known: Mutex::new(known),
        write_lock: Mutex::default(),
    }
}

/// Gives the process a session. Its own changes aren't saved.
pub(super) fn attach(protocol: &Protocol, set: fn(SessionBuilder) -> SessionBuilder) -> Session {
    let session = set(Session::builder(refresher()).clock(FixedClock)).build_on_store(
        refresher(),
        Arc::new(|_| Box::pin(async { Ok(()) })),
        Duration::from_secs(30),
    );
    assert!(protocol.session.set(session.link()).is_ok());
    session
}

/// A store with this record.
pub(super) async fn store(document: Option<&Document>) -> MemoryStore {
    let store = MemoryStore::new();
    if let Some(document) = document {
        store.swap(None, &document.to_record(0).unwrap()).await.unwrap();
    }
    store
}

/// What the record is now.
pub(super) async fn record(protocol: &Protocol) -> String {
    protocol.load().await.unwrap().document().map_or("no record".to_owned(), written)
}

/// Token 3000 of sign-in 7.
pub(super) fn document() -> Document {
    Document {
        epoch: 7,
        was: vec![5, 6],
        by: 3000,
        claims: 3500,
        client: Some("app".to_owned()),
        token: Some(token("A3 R3")),
        ..Document::default()
    }
}

/// The same.
pub(super) fn known() -> Known {
    Known { epoch: Some(7), was: vec![5, 6], by: 3000, token: Some(token("A3 R3")), ..Known::default() }
}

/// Token 4000, for token 3000.
pub(super) fn unsaved() -> UnsavedToken {
    UnsavedToken { number: 4000, epoch: 7, by: 3000, presented: secret("R3"), token: token("A4 R4") }
}

pub(super) fn secret(secret: &str) -> Option<Secret> {
    (secret != "-").then(|| Secret::new(secret.to_owned()))
}

/// A token, written `A1 R1 60`. `-` stands for none; the third word is when the refresh token expires.
pub(super) fn token(spec: &str) -> StoredToken {
    let words: Vec<_> = spec.split(' ').collect();
    let refresh_expires_at = words.get(2).map(|word| word.parse::<Nanos>().unwrap() * SECOND);
    StoredToken {
        access: secret(words[0]),
        refresh: secret(words[1]),
        refresh_expires_at,
        ..StoredToken::default()
    }
}

pub(super) fn claim(id: &str) -> Option<Claim> {
    let (id, who) = (id.to_owned(), "pod 2".to_owned());
    Some(Claim { number: 4000, id, length: 10 * SECOND, at: NOW.wall, who, host: None })
}

/// The record has everything that a token clears.
pub(super) fn spoil(document: &mut Document) {
    document.unknown = true;
    document.ended = Some(Ended { by: 3000, code: "invalid_grant".to_owned() });
    document.pause = Some(NOW.wall + SECOND);
}

/// Members that this version doesn't know.
pub(super) fn others(name: &str) -> serde_json::Map<String, serde_json::Value> {
    [(name.to_owned(), true.into())].into_iter().collect()
}

pub(super) fn written(document: &Document) -> String {
    let Document { epoch, was, by, claims, client, token, .. } = document;
    let epoch = if *epoch <= 100 { epoch.to_string() } else { "new".to_owned() };
    let parts = [
        (document.signed_out, "signed out"),
        (document.unknown, "unknown"),
        (document.claim.is_some(), "claimed"),
        (document.ended.is_some(), "ended"),
        (document.pause.is_some(), "paused"),
    ];
    let parts: String = parts.iter().filter(|(has, _)| *has).map(|(_, name)| format!(", {name}")).collect();
    let client = client.as_deref().unwrap_or("-");
    format!("{epoch} after {was:?}, {by} of {claims}, {client}, {}{parts}", held(token.as_ref()))
}

pub(super) fn held(token: Option<&StoredToken>) -> String {
    let Some(token) = token else { return "nothing".to_owned() };
    let [access, refresh] =
        [&token.access, &token.refresh].map(|secret| secret.as_ref().map_or("-", Secret::expose));
    let expiry = token.refresh_expires_at.map(|expiry| format!(" {}", expiry / SECOND)).unwrap_or_default();
    let others: String = token.others.keys().map(|name| format!(" {name}")).collect();
    format!("{access} {refresh}{expiry}{others}")
}

/// What the process knows: the sign-in, the number and the token, and what it didn't save.
pub(super) fn shown(known: &Known) -> String {
    let epoch = known.epoch.map_or("-".to_owned(), |epoch| epoch.to_string());
    let unsaved = known.unsaved.as_ref().map(|unsaved| format!(", {} unsaved", unsaved.number));
    format!("{epoch}, {} {}{}", known.by, held(known.token.as_ref()), unsaved.unwrap_or_default())
}
