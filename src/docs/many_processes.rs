//! Many processes and hosts.
//!
//! Shells, workers, pods and cron jobs often share one sign-in, and with it one rotating refresh token. A
//! [`SharedSession`](crate::store::SharedSession) keeps it in a store. This page says what that promises, what no
//! store can promise, and how to choose its settings. [Stores](super::stores) compares the stores.
//!
//! # How it works
//!
//! The store has one *record* for the credential. Before a process *presents* the refresh token, which means
//! that it sends it to the token endpoint, it writes a *claim* into the record: "I am calling the token
//! endpoint, for at most ten seconds". It writes only if the record hasn't changed since it was read, so of
//! two processes that try at the same time only one succeeds. The others see the claim and wait for the new
//! token. They *adopt* it, without calling the endpoint.
//!
//! If the process dies, its claim stays behind. It shows the next process that the refresh token may have been
//! used. That process waits until the claim *lapses*, then repeats the exchange, and says so to the refresher:
//! [`RefreshReason::Repeated`](crate::refresh::RefreshReason::Repeated).
//!
//! A session reads the record when its own token is stale, expired or rejected, when
//! [`load`](crate::store::SharedSession::load) is called, and whenever
//! [`follow`](crate::store::SharedSession::follow) learns of a change or polls. Until then
//! it uses the token that it has.
//!
//! Clients without a refresh token (client credentials) can share a store, too: one process obtains a token,
//! and the others adopt it. If the store is unavailable, each process calls the endpoint itself. A process
//! that has never read the record can't know whether there is a refresh token: its refresher is called
//! without one. A refresher that needs one must then fail with
//! [`grant_ended`](crate::RefreshError::grant_ended), as the built-in ones do.
//!
//! # What is promised
//!
//! - A refresh token is presented by one process at a time, and never again once its successor is in
//!   the record, unless a process is suspended while it presents, or the store loses a write (see below).
//! - A refusal counts only if the record still has the token that was refused. A process that was late doesn't
//!   sign out the others.
//! - A new token replaces only an older one, however late it is written.
//! - A sign-in, a sign-out and a token that is set win over a refresh that is running anywhere. They take effect in
//!   each process when it next reads the record.
//! - A process that couldn't save a new token keeps it and uses it, and presents nothing until it is saved.
//! - While the store is unavailable or can't be read, nothing is presented and nothing is written. A valid token
//!   stays in use.
//!
//! | what happens | what the other processes do |
//! |---|---|
//! | a process is killed before it presents the token | wait for the lapse, then call the endpoint; it has seen nothing |
//! | a process is killed after that, before it has saved the response | wait for the lapse, then repeat the exchange |
//! | a process is killed while it writes | find the old record or the new one, whole |
//! | a process is suspended | wait for the lapse, then repeat the exchange; what it writes later is dropped if it is older. With a file: wait, and get an error with its process ID |
//! | the store is unavailable | use their token while it is valid; then calls fail with an error that can be retried |
//! | the response to a write is lost | the process that wrote reads the record, to see whether it was written |
//!
//! # When a claim lapses
//!
//! A process treats a claim as lapsed once it has seen it unchanged for 14 s, by its own monotonic clock: 4 s
//! more than the exchange timeout. If the store couldn't be read in between, the 14 s begin again. If the
//! store has a clock, a claim also lapses 28 s after it was written, so that a process which has just started
//! needn't wait.
//!
//! With a file on Linux, a process doesn't wait if the one that wrote the claim is dead: its file lock shows
//! that. Both must have the same host name and boot: containers of one host with different host names wait
//! for the lapse.
//!
//! # When the user still has to sign in again
//!
//! No store can make a token endpoint check who has the claim, and none can recover a lost response. Whether
//! the user has to sign in again depends on what the server does with a refresh token that was used before:
//!
//! | the server | the user has to sign in again only if |
//! |---|---|
//! | accepts it for longer than the lapse, and issues another pair of tokens | never |
//! | accepts it for longer than the lapse, and returns the same pair while that is unused | a process is suspended just before it sends its request, and the request arrives after the successor was used |
//! | accepts it for longer than the lapse, issues another pair, and invalidates the one before | a suspended process's request arrives late, as above; or the response to a repeat is lost after the first one couldn't be saved |
//! | refuses it; the grant survives | the only copy of a token is lost: with a response, with a process that dies before it saves it, or by the store |
//! | revokes the grant | the only copy of a token is lost, as above; or a claim lapses while its process is still running: it is suspended, or exchange and save together take longer |
//! | any, with [`never_repeat`](crate::store::SharedStore::never_repeat) | a response is lost, a process dies between its claim and its save, or a claim lapses while its process is still running |
//!
//! If your provider doesn't document what it does, assume that it revokes the grant.
//!
//! # Choosing the exchange timeout
//!
//! Many servers have a grace period: for some seconds after a refresh token was used, they accept it again,
//! so that a client whose response was lost can repeat the exchange. A repeat must arrive within the grace
//! period. The next process repeats the exchange when the claim lapses, 4 s after the exchange timeout, and
//! its request may take another 2 s. So set [`exchange_timeout`](crate::store::SharedStore::exchange_timeout)
//! to 6 s less than the grace period. For a grace period of ten seconds, that is 4 s:
//!
//! ```
//! # use std::time::Duration;
//! # use tower_reauth::store::{MemoryStore, SharedStore};
//! # let my_store = MemoryStore::new();
//! let store = SharedStore::new(my_store).exchange_timeout(Duration::from_secs(4));
//! # let _ = store;
//! ```
//!
//! Use [`never_repeat`](crate::store::SharedStore::never_repeat) only if a repeated refresh token does more harm
//! than signing the user out. For a server that merely revokes the grant it gains nothing: the first request may
//! never have arrived, and then the repeat succeeds.
//!
//! # Interactive logins
//!
//! A shared session gives its refresher at most the exchange timeout, so it can't prompt the user in
//! [`or_else`](crate::RefresherExt::or_else). Prompt when
//! [`Status::needs_sign_in`](crate::Status::needs_sign_in) is true, then call
//! [`SharedSession::sign_in`](crate::store::SharedSession::sign_in).
//!
//! # Deleting the record
//!
//! Processes that have used the record take that for a sign-out. Those that start later find nobody signed in.
//!
//! # Short-lived programs
//!
//! A command that exits during a refresh leaves its claim behind. Call
//! [`refresh_early(false)`](crate::SessionBuilder::refresh_early), so that it refreshes only if it must, and
//! [`shutdown`](crate::Session::shutdown) before it exits.
//!
//! # The first token
//!
//! A token given to the builder is used only if the store has no record, or one that has never had a token: a
//! process without a token writes such a record when it claims the first call of the token endpoint. After a
//! sign-out the builder's token isn't used. Don't leave a refresh token in the configuration: if the record
//! is lost, it is presented again although it is spent. Use
//! [`SharedSession::sign_in`](crate::store::SharedSession::sign_in).
