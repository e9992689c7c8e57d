//! `StoreExt::sealed`, with a cipher of RustCrypto.

use std::time::Duration;

use chacha20poly1305::{
    AeadCore, KeyInit, XChaCha20Poly1305, XNonce,
    aead::{Aead, OsRng, Payload},
};
use serde_json::{Value, json};
use tokio::time::sleep;
use tower_reauth::{
    rt::TestClock,
    store::{MemoryStore, Record, SharedSession, SharedStore, StoreError, StoreExt, TokenStore, check_store},
};

use crate::{
    scripted::{ScriptedStore, open, record},
    support::{BoxError, Endpoint, clock, run_pending_tasks, sources, token},
};

const NONCE: usize = 24;
const OLD: Key = Key(1);
const NEW: Key = Key(2);

#[derive(Clone, Copy, Debug, PartialEq)]
struct Key(u8);

impl Key {
    fn aead(self) -> XChaCha20Poly1305 {
        XChaCha20Poly1305::new(&[self.0; 32].into())
    }

    fn seal(self, name: &str, record: &[u8]) -> Result<Vec<u8>, BoxError> {
        let nonce = XChaCha20Poly1305::generate_nonce(&mut OsRng);
        let payload = Payload { msg: record, aad: name.as_bytes() };
        let sealed = self.aead().encrypt(&nonce, payload).map_err(|_| "can't seal")?;
        Ok([nonce.as_slice(), &sealed].concat())
    }

    fn open(self, name: &str, sealed: &[u8]) -> Result<Vec<u8>, BoxError> {
        let (nonce, sealed) = sealed.split_at_checked(NONCE).ok_or("too short")?;
        let payload = Payload { msg: sealed, aad: name.as_bytes() };
        self.aead().decrypt(XNonce::from_slice(nonce), payload).map_err(|_| "can't open".into())
    }
}

/// Seals with a key and opens with any of these, for one credential.
fn sealed<S: TokenStore>(store: S, name: &str, seals: Key, opens: &[Key]) -> impl TokenStore + use<S> {
    let (name, opener, opens) = (name.to_owned(), name.to_owned(), opens.to_vec());
    store.sealed(
        move |record| seals.seal(&name, record),
        move |sealed| {
            let mut opened = opens.iter().map(|key| key.open(&opener, sealed));
            opened.find(Result::is_ok).unwrap_or_else(|| Err("can't open".into()))
        },
    )
}

fn shared(
    clock: &TestClock,
    store: &ScriptedStore,
    name: &str,
    seals: Key,
    opens: &[Key],
) -> (SharedSession, Endpoint) {
    open(clock, SharedStore::new(sealed(store.clone(), name, seals, opens)))
}

fn sealed_record(document: &Value, name: &str, key: Key) -> ScriptedStore {
    let store = ScriptedStore::default();
    store.write(key.seal(name, document.to_string().as_bytes()).unwrap());
    store
}

/// The session can't read the record: nothing is presented or written.
async fn assert_unreadable(store: &ScriptedStore, (shared, endpoint): &(SharedSession, Endpoint)) {
    let (before, swaps) = (store.bytes(), store.swap_count());
    let errors = [
        shared.session().token().await.unwrap_err(),
        shared.load().await.unwrap_err(),
        shared.sign_in(token("A9 R9 600")).await.unwrap_err(),
    ];
    for error in errors {
        assert!(error.is_misconfigured(), "{error:?}");
        assert!(StoreError::find(&error).is_some_and(StoreError::is_unreadable), "{error:?}");
        assert!(sources(&error).any(|source| source.to_string() == "can't open"), "{error:?}");
    }
    assert_eq!((store.bytes(), store.swap_count(), endpoint.call_count()), (before, swaps, 0));
}

#[tokio::test]
async fn p19_a_sealed_store_passes_the_checks() {
    let store = MemoryStore::new();
    check_store(async |name| sealed(store.with_name(name), name, OLD, &[OLD])).await;
}

#[tokio::test(start_paused = true)]
async fn p19_what_is_stored_is_sealed() {
    let (clock, store) = (clock(), ScriptedStore::default());
    let (shared, mut endpoint) = shared(&clock, &store, "a", OLD, &[OLD]);
    shared.sign_in(token("A1 R1 600")).await.unwrap();
    let respond = async { endpoint.next_call().await.succeed("A2 R2 600") };
    let (refreshed, ()) = tokio::join!(shared.session().refresh(), respond);
    refreshed.unwrap();
    let bytes = store.bytes().unwrap();
    let document: Value = serde_json::from_slice(&OLD.open("a", &bytes).unwrap()).unwrap();
    assert_eq!(document["token"]["refresh"], json!("R2"));
    assert!(!bytes.windows(5).any(|window| window == b"token" || window == b"epoch"));
}

#[tokio::test(start_paused = true)]
async fn p19_a_record_that_is_copied_to_another_name_is_unreadable() {
    let (clock, store) = (clock(), sealed_record(&record("A1", "R1", 600), "a", OLD));
    assert_unreadable(&store, &shared(&clock, &store, "b", OLD, &[OLD])).await;
    let (own, _) = shared(&clock, &store, "a", OLD, &[OLD]);
    assert_eq!(own.session().token().await.unwrap().secret(), "A1");
}

#[tokio::test(start_paused = true)]
async fn p19_another_key_and_a_changed_record_are_unreadable() {
    let (clock, store) = (clock(), sealed_record(&record("A1", "R1", 600), "a", OLD));
    assert_unreadable(&store, &shared(&clock, &store, "a", NEW, &[NEW])).await;
    let bytes = store.bytes().unwrap();
    for changed in [Vec::new(), bytes[..10].to_vec(), bytes[..bytes.len() - 1].to_vec(), {
        let mut changed = bytes.clone();
        changed[NONCE] ^= 1;
        changed
    }] {
        store.write(changed);
        let (shared, endpoint) = shared(&clock, &store, "a", OLD, &[OLD]);
        let error = shared.session().token().await.unwrap_err();
        assert!(error.is_misconfigured() && endpoint.call_count() == 0, "{error:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn p19_a_seal_that_fails_writes_and_presents_nothing() {
    let clock = clock();
    let store = ScriptedStore::new(&record("A1", "R1", 600));
    let failing = store.clone().sealed(|_| Err("no key".into()), |sealed| Ok(sealed.to_vec()));
    let before = store.bytes();
    let (shared, endpoint) = open(&clock, failing);
    shared.load().await.unwrap();
    let errors = [
        shared.session().refresh().await.unwrap_err(),
        shared.sign_in(token("A2 R2 600")).await.unwrap_err(),
        shared.sign_out().await.unwrap_err(),
    ];
    for error in errors {
        assert!(error.is_transient(), "{error:?}");
        assert!(sources(&error).any(|source| source.to_string() == "no key"), "{error:?}");
    }
    assert_eq!((store.bytes(), store.swap_count(), endpoint.call_count()), (before, 0, 0));
    assert_eq!(shared.session().try_token().unwrap().secret(), "A1");

    // A session's own sign-in is kept as unsaved.
    shared.session().sign_in(token("A2 R2 600"));
    run_pending_tasks().await;
    assert!(shared.session().status().is_unsaved());
    assert_eq!(store.swap_count(), 0);
}

#[tokio::test(start_paused = true)]
async fn p19_the_key_is_changed_by_an_opener_of_both_then_a_sealer_with_the_new_one() {
    let (clock, store) = (clock(), sealed_record(&record("A1", "R1", 600), "a", OLD));
    let (before, _) = shared(&clock, &store, "a", OLD, &[OLD]);
    let (both, mut endpoint) = shared(&clock, &store, "a", OLD, &[OLD, NEW]);
    let (after, mut after_endpoint) = shared(&clock, &store, "a", NEW, &[NEW, OLD]);
    before.load().await.unwrap();
    both.load().await.unwrap();
    after.load().await.unwrap();

    // While only the opener has changed, all can read what any of them writes.
    let respond = async { endpoint.next_call().await.succeed("A2 R2 600") };
    let (refreshed, ()) = tokio::join!(both.session().refresh(), respond);
    assert_eq!(refreshed.unwrap().secret(), "A2");
    before.load().await.unwrap();
    after.load().await.unwrap();
    assert_eq!(before.session().try_token().unwrap().secret(), "A2");

    // With the new key, all but those with the old opener can.
    let respond = async { after_endpoint.next_call().await.succeed("A3 R3 600") };
    let (refreshed, ()) = tokio::join!(after.session().refresh(), respond);
    assert_eq!(refreshed.unwrap().secret(), "A3");
    both.load().await.unwrap();
    assert_eq!(both.session().try_token().unwrap().secret(), "A3");
    assert!(before.load().await.unwrap_err().is_misconfigured());
}

/// In the wrong order: the sealer first.
#[tokio::test(start_paused = true)]
async fn p19_an_old_opener_keeps_its_valid_token_and_presents_nothing() {
    let (clock, store) = (clock(), sealed_record(&record("A1", "R1", 600), "a", OLD));
    let old = shared(&clock, &store, "a", OLD, &[OLD]);
    old.0.load().await.unwrap();
    store.write(NEW.seal("a", record("A2", "R2", 600).to_string().as_bytes()).unwrap());
    // It is stale now.
    sleep(Duration::from_secs(500)).await;
    assert_eq!(old.0.session().token().await.unwrap().secret(), "A1");
    run_pending_tasks().await;
    assert!(!old.0.session().status().needs_sign_in());
    sleep(Duration::from_secs(200)).await;
    assert_unreadable(&store, &old).await;
}

#[tokio::test]
async fn p19_each_write_has_a_fresh_nonce() {
    let store = MemoryStore::new();
    let (record, sealed) = (Record::from_bytes("same"), sealed(store.clone(), "a", OLD, &[OLD]));
    let mut seen = Vec::new();
    let mut version = None;
    for _ in 0..3 {
        sealed.swap(version.as_ref(), &record).await.unwrap();
        let loaded = store.load().await.unwrap().unwrap();
        version = Some(loaded.version().clone());
        seen.push(loaded.record().as_bytes().to_vec());
    }
    seen.sort();
    seen.dedup();
    assert_eq!(seen.len(), 3);
}
