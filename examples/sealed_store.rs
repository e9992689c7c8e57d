//! Tokens that are encrypted where they are stored.
//!
//! `StoreExt::sealed` takes two functions, so any cipher does. This one is XChaCha20-Poly1305 of the crate
//! `chacha20poly1305`. Its nonces are long enough to be random. The name of the credential is the associated data, so
//! that a record doesn't open under another name.
//!
//! ```sh
//! cargo run --example sealed_store --features store
//! ```
#![allow(clippy::print_stdout, reason = "this program reports to its user")]

use std::error::Error;

use chacha20poly1305::{
    AeadCore, KeyInit, XChaCha20Poly1305, XNonce,
    aead::{Aead, OsRng, Payload},
};
use tower_reauth::{
    RefreshContext, RefreshError, Session, Token, refresh_fn,
    store::{MemoryStore, SharedSession, StoreError, StoreExt, TokenStore},
};

type BoxError = Box<dyn Error + Send + Sync>;

const NONCE: usize = 24;

/// Encrypts the records of one credential.
#[derive(Clone)]
struct Cipher {
    aead: XChaCha20Poly1305,
    name: String,
}

impl Cipher {
    /// A fresh nonce, then the encrypted record.
    fn seal(&self, record: &[u8]) -> Result<Vec<u8>, BoxError> {
        let nonce = XChaCha20Poly1305::generate_nonce(&mut OsRng);
        let payload = Payload { msg: record, aad: self.name.as_bytes() };
        let sealed = self.aead.encrypt(&nonce, payload).map_err(|_| "the record can't be encrypted")?;
        Ok([nonce.as_slice(), &sealed].concat())
    }

    fn open(&self, sealed: &[u8]) -> Result<Vec<u8>, BoxError> {
        let (nonce, sealed) = sealed.split_at_checked(NONCE).ok_or("the record is too short")?;
        let payload = Payload { msg: sealed, aad: self.name.as_bytes() };
        let opened = self.aead.decrypt(XNonce::from_slice(nonce), payload);
        opened.map_err(|_| "the key is another one, or the record is another credential's".into())
    }
}

/// A session whose token is in this store, under this name.
fn session(store: &MemoryStore, key: &[u8; 32], name: &str) -> SharedSession {
    let cipher = Cipher { aead: XChaCha20Poly1305::new(key.into()), name: name.to_owned() };
    let opener = cipher.clone();
    let store =
        store.with_name(name).sealed(move |record| cipher.seal(record), move |sealed| opener.open(sealed));
    let refresher = refresh_fn(|_: RefreshContext| async { Err(RefreshError::transient("not shown here")) });
    Session::builder(refresher).build_shared(store)
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), BoxError> {
    let store = MemoryStore::new();
    // In a program it comes from the keychain, or from a key service.
    let key = [7; 32];

    session(&store, &key, "alice").sign_in(Token::builder("A1").refresh_token("R1").build()?).await?;
    let stored = store.with_name("alice").load().await?.ok_or("there is a record")?;
    let bytes = stored.record().as_bytes();
    let is_readable = bytes.windows(7).any(|window| window == b"refresh");
    println!("stored: {} bytes, readable: {is_readable}", bytes.len());

    let alice = session(&store, &key, "alice");
    println!("with the key: {}", alice.session().token().await?.secret());

    store.with_name("bob").swap(None, stored.record()).await?;
    show("copied to another name", &session(&store, &key, "bob")).await;
    show("with another key", &session(&store, &[8; 32], "alice")).await;
    Ok(())
}

async fn show(what: &str, session: &SharedSession) {
    let Err(error) = session.session().token().await else { return println!("{what}: it opens") };
    let error: &(dyn Error + 'static) = &error;
    let Some(error) = StoreError::find(error) else { return println!("{what}: {error}") };
    let cause = error.source().map(ToString::to_string).unwrap_or_default();
    println!("{what}: {error}: {cause}");
}
