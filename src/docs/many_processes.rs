//! Many processes and hosts.
//!
//! Terminals, workers, pods and cron jobs often share one sign-in, and with it one rotating refresh token. A
//! [`SharedSession`](crate::store::SharedSession) keeps it in a store. This page says what that promises, what no
//! store can promise, and how to choose its settings.
//!
//! # How it works
//!
//! The store has one *record* for the credential. Before a process presents the refresh token, it writes a
//! *claim* into the record: "I am asking the token endpoint, for at most ten seconds". It writes on condition
//! that the record hasn't changed since it was read, so of two processes that try at once only one succeeds. The
//! others see the claim and wait for the new token, which they then use without asking the endpoint.
//!
//! If the process dies, its claim stays behind. It tells the next process that the refresh token may have been
//! used. The next one waits until the claim *lapses*, then repeats the exchange, and says so to the refresher:
//! [`RefreshReason::Repeated`](crate::refresh::RefreshReason::Repeated).
//!
//! # What is promised
//!
//! - A refresh token is presented by one process at a time, and never again once its successor is in the record.
//! - A refusal counts only if the record still has the token that was refused. A process that was late doesn't
//!   sign out the others.
//! - A new token replaces only an older one, however late it is written.
//! - A sign-in, a sign-out and a token that is set take effect in all processes, and win over a refresh that is
//!   running anywhere.
//! - A process that couldn't save a new token keeps it and uses it, and presents nothing until it is saved.
//! - While the store is unavailable or can't be read, nothing is presented and nothing is written. A valid token
//!   stays in use.
//!
//! | what happens | what the others do |
//! |---|---|
//! | a process is killed before it presents the token | wait for the lapse, then ask; the server has seen nothing |
//! | .. after it, or with the response | wait for the lapse, then repeat the exchange |
//! | .. while it writes | find the old record or the new one, whole |
//! | a process is suspended | wait for the lapse, then repeat the exchange; what it writes later is dropped if it is older. With a file: wait, and get an error that names the process |
//! | the store is unavailable | use their token while it is valid; then calls fail with an error that can be retried |
//! | the response to a write is lost | look whether it was written |
//!
//! A claim lapses four seconds after its exchange timeout, so after 14 s by default. With a file the operating
//! system tells at once that a process of the same boot is dead.
//!
//! # Who is signed out all the same
//!
//! No store can make a token endpoint check who holds a claim, and no store has a response that was lost. So it
//! depends on what the server does when it sees a refresh token for the second time:
//!
//! | the server | the user has to sign in again only if |
//! |---|---|
//! | issues another pair of tokens, for longer than the lapse | never |
//! | returns the same pair while it is unused, for longer than the lapse | a process is suspended just before it sends its request, and the request arrives after the successor was used |
//! | issues another pair, and invalidates the one before | as above; or the response to a repeat is lost after the first one couldn't be saved |
//! | refuses, and the grant lives | the only copy of a token is lost: with a response, with a process that dies before it saves it, or by the store |
//! | revokes the grant | as above; or a claim lapses while its process still works: it is suspended, or exchange and save together take longer |
//! | any, with [`never_repeat`](crate::store::SharedStore::never_repeat) | a response is lost, a process dies between its claim and its save, or a claim lapses while its process still works |
//!
//! # Choosing the exchange timeout
//!
//! Many servers accept a refresh token again for some seconds after it was used, for clients whose response was
//! lost. The lapse should be shorter than that: set
//! [`exchange_timeout`](crate::store::SharedStore::exchange_timeout) to that time less six seconds. With ten seconds
//! of tolerance, an exchange timeout of 4 s lets a claim lapse after 8 s. If the server revokes the grant at once,
//! choose [`never_repeat`](crate::store::SharedStore::never_repeat) only if a repeat does harm beyond that: the
//! first presentation may never have arrived.
//!
//! # Which store
//!
//! - Processes of one host: a file, with `FileStore`.
//! - Several hosts: PostgreSQL, which loses no write that it has acknowledged, or Redis.
//! - [`MemoryStore`](crate::store::MemoryStore) is for tests.
//!
//! # Files on a network
//!
//! File locks over NFS and the shared folders of virtual machines may be local to each host, and what one host
//! writes may reach the other seconds later. Two hosts then refresh at once. Use a file on one host only, or
//! NFS 4 with its locks on; otherwise Redis or PostgreSQL.
//!
//! # Failover
//!
//! Redis replicates asynchronously: if its primary fails, writes that it acknowledged can be lost. Each process
//! that knows better then writes its token, its sign-in or its sign-out again before it presents anything. A
//! claim that is lost lets a second process ask at the same time. Set `min-replicas-to-write 1`, and Redis refuses
//! writes that no replica would get. PostgreSQL with synchronous replication loses nothing.
//!
//! # Clocks
//!
//! Waits and lapses are counted by each process's own monotonic clock. With Redis and PostgreSQL, the times in the
//! record are the store's, so the clocks of the hosts don't matter. With a file they cost one early refresh, or
//! one rejected request, for each lifetime of a token.
//!
//! # Short-lived programs
//!
//! A command that ends during a refresh is a process that dies. Call
//! [`refresh_early(false)`](crate::SessionBuilder::refresh_early), so that it refreshes only if it must, and
//! [`shutdown`](crate::Session::shutdown) before it exits.
//!
//! # Seeds
//!
//! A refresh token in the configuration is for the first start, when there is no record. If it stays there and
//! the record is lost, it is presented again, though it was used. Sign in with
//! [`SharedSession::sign_in`](crate::store::SharedSession::sign_in) instead.
//!
//! # A store of your own
//!
//! Anything with a conditional write can be a store: S3 and its ETags, DynamoDB, etcd, Vault. Implement
//! [`TokenStore`](crate::store::TokenStore), which has the rules, and test it with `check_store` (feature
//! `test-util`).
