//! Stores: one credential for many processes.
//!
//! If several processes use one rotating refresh token (shells, workers, pods, cron jobs), keep it in a
//! store: one process refreshes, and the others wait and use its token. This page is about using one; [many
//! processes](super::many_processes) says exactly what is promised, what no store can promise, and how to
//! choose the settings.
//!
//! For the processes of one host, a file is enough (feature `file-store`, Rust 1.89):
//!
//! ```
//! # #[cfg(feature = "file-store")]
//! # mod example {
//! use std::time::Duration;
//! use tower_reauth::{AccessToken, Error, Refresher, Session, Token, store::FileStore};
//!
//! async fn run(refresher: impl Refresher, new_sign_in: Option<Token>) -> Result<AccessToken, Error> {
//!     let shared = Session::builder(refresher)
//!         .refresh_early(false)  // a short command may exit before the response arrives
//!         .build_shared(FileStore::new("/home/me/.config/my-app/credentials.json"));
//!     if let Some(token) = new_sign_in {
//!         shared.sign_in(token).await?;  // all processes switch to this user
//!     }
//!     let token = shared.session().token().await?;  // or `shared.session().layer()`
//!     shared.session().shutdown(Duration::from_secs(3)).await?;
//!     Ok(token)
//! }
//! # }
//! ```
//!
//! [`build_shared`](crate::SessionBuilder::build_shared) returns a
//! [`SharedSession`](crate::store::SharedSession). [`SharedStore`](crate::store::SharedStore) has the store's
//! settings. You don't need [`save_with`](crate::SessionBuilder::save_with): the store replaces it.
//!
//! A session reads the store only when its own token is stale, expired or rejected. Until then it keeps using
//! that token, even if another process has signed out; spawn [`follow`](crate::store::SharedSession::follow)
//! to pick up changes sooner.
//!
//! # Comparison
//!
//! `RedisStore` and `PostgresStore` are in the crates `tower-reauth-redis` and `tower-reauth-postgres`, whose
//! docs have the server's configuration. [`MemoryStore`](crate::store::MemoryStore) is for tests.
//!
//! | | `FileStore` | `RedisStore` | `PostgresStore` |
//! |---|---|---|---|
//! | for | one host | many hosts | many hosts |
//! | a process is killed during a refresh | Linux: the next one takes over at once; elsewhere after 14 s | the next one takes over after 14 s | the next one takes over after 14 s |
//! | a process is suspended during a refresh | callers without a valid token get an error after 15 s that names the suspended process | the next one takes over after 14 s | the next one takes over after 14 s |
//! | the store is unavailable | valid tokens stay in use, no refresh is made | the same | the same |
//! | the store fails over | not applicable | may lose its last write; a process that still has it writes it again | loses nothing if replication is synchronous |
//! | learns of changes, with `follow` | within about 5 s | at once, if the store listens | at once, if the store listens |
//! | tests with real processes and servers, in `stores/fleet/tests` | `processes`: `killed`, `suspended`, `stale`, `changes` | the same, and `engines`: `cuts`, `outages`, `redis` | the same, and `engines`: `cuts`, `outages`, `postgres` |
//!
//! The parts of `FileStore` for Windows are untested.
//!
//! # Seeing it work
//!
//! `cargo run --release --example fleet -- --processes 8 --callers 200 --store file` (or `redis`,
//! `postgres`): the processes go through five expiries, and one of them is killed in the middle of a refresh. The
//! server counts the refreshes. It tolerates one repeat of a refresh token, and revokes the grant on further
//! reuse. The same processes run without a store first, and are signed out. The last line:
//!
//! ```text
//! fleet: processes=8 callers=1600 expiries=5 refreshes=5 refused=0 failed=0 killed=1 signed_in=yes
//! ```
//!
//! # Files on a network
//!
//! File locks over NFS and the shared folders of virtual machines may be local to each host, and what one
//! host writes may reach the other seconds later. Two hosts then refresh at the same time. Use a file on one
//! host only, or NFS 4 with locking enabled; otherwise Redis or PostgreSQL.
//!
//! # Failover
//!
//! Redis replicates asynchronously: if its primary fails, writes that it acknowledged can be lost. A process
//! that still has the lost token, sign-in or sign-out writes it again before it presents anything. If a claim
//! is lost, a second process may present the refresh token at the same time. With `min-replicas-to-write 1`,
//! Redis rejects writes that no replica would receive. PostgreSQL with synchronous replication loses nothing.
//!
//! # Clocks
//!
//! With Redis and PostgreSQL, the times in the record are the store's, so the clocks of the hosts don't
//! matter. With a file on several hosts, clocks that differ cost one early refresh, or one rejected request,
//! per token.
//!
//! # Encryption
//!
//! [`StoreExt::sealed`](crate::store::StoreExt::sealed) encrypts the records of any store with your own
//! cipher. The example `sealed_store` does it with an AEAD cipher, bound to the credential's name. On a
//! desktop, keep the key in the operating system's keychain. With the crate `keyring` 3 and the example's
//! cipher, that is:
//!
//! ```text
//! use chacha20poly1305::{Key, KeyInit, XChaCha20Poly1305, aead::OsRng};
//!
//! fn key() -> keyring::Result<Key> {
//!     let entry = keyring::Entry::new("my-program", "token-store")?;
//!     match entry.get_secret() {
//!         Ok(key) if key.len() == 32 => Ok(*Key::from_slice(&key)),
//!         Ok(_) => Err(keyring::Error::Invalid("secret".into(), "not a key of 32 bytes".into())),
//!         Err(keyring::Error::NoEntry) => {
//!             let key = XChaCha20Poly1305::generate_key(&mut OsRng);
//!             entry.set_secret(&key)?;
//!             Ok(key)
//!         }
//!         Err(error) => Err(error),
//!     }
//! }
//! ```
//!
//! With another key, or none, a record can't be read: nothing is presented, and nothing is overwritten. Delete the
//! record and sign in again.
//!
//! # A store of your own
//!
//! Anything with a conditional write can be a store: S3 and its ETags, DynamoDB, etcd, Vault. Implement
//! [`TokenStore`](crate::store::TokenStore), which has the rules, and test it with `check_store` (feature
//! `test-util`). Here is one for etcd:
//!
#![doc = "```no_run"]
#![doc = include_str!("../../examples/etcd_store.rs")]
#![doc = "```"]
