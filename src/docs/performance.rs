//! Performance: figures, how to repeat them, and what they measure.
//!
//! # How to repeat them
//!
//! | command | measures |
//! |---|---|
//! | `cargo bench --bench fresh -- table` | a request with a fresh token: instructions (needs valgrind) and time |
//! | `cargo bench --bench storm -- table` | many callers and an expired token; callers that join a refresh |
//! | `cargo bench --bench many` | a map with a session for each of many users |
//! | `cargo bench --bench memory` | allocations, waiters, idle sessions |
//! | `cargo bench --features reqwest --bench clients` | the throughput of layered clients |
//! | `cargo bench --bench stores` | a refresh through each store |
//! | `cargo bench --bench processes` | many processes and an expired token |
//!
//! The docs of each bench describe its method. `stores` and `processes` start Redis and PostgreSQL if they are
//! installed. Compare ratios within one run only: times differ between machines, and between two builds of the
//! same code.
//!
//! # Figures
//!
//! Measured on two cores of a shared x86-64 machine. Next to a figure is its goal, if it has one.
//! Goals that were missed are listed as such.
//!
//! <!-- figures: performance -->
//!
//! ## A fresh token
//!
//! The ratio is to tower-http's `AddAuthorization` with a fixed value, which takes 342 instructions.
//!
//! | | instructions | ratio | goal |
//! |---|---|---|---|
//! | the layer, replay `NoReplay` | 837 | 2.5 | 670; 2.0 |
//! | more with `restrict_to_origin` | 121 | | 60 |
//! | more with an extension in the request | 42 | | 60 |
//! | the default, `CloneBody`, with its copy of the request head | 2,304 | | 1,950 |
//! | by hand: a header in a `RwLock` | 399 | 1.2 | |
//! | by hand: a string in a `watch` channel | 1,384 | 4.0 | |
//!
//! | time, ratio to `AddAuthorization`: median of nine processes | the layer, `NoReplay` | goal | `RwLock` by hand | `watch` by hand |
//! |---|---|---|---|---|
//! | one thread | 2.7 | 2.5 | 1.8 | 2.5 |
//! | service cloned for each call | 2.2 | 2.4 | 1.6 | 2.2 |
//! | two threads at once | 0.70 | 1.0 | 1.7 | 1.3 |
//!
//! ## Many callers and an expired token
//!
//! The time from the token endpoint's response until the last request is sent, with `NoReplay` and a timeout for
//! each caller. It is a ratio to the time of a bare vector of wakers (a lower bound, without support for
//! cancellation or errors), a `tokio::sync::watch` channel, and an async mutex with a second check.
//!
//! | callers | to wakers | goal | to `watch` | to a mutex | refresh fails: to wakers | goal |
//! |---|---|---|---|---|---|---|
//! | 1,000 | 1.30 | 1.25 | 1.10 | 1.17 | 1.19 | 1.15 |
//! | 10,000 | 1.07 | 1.1 | 0.57 | 1.02 | 1.09 | 1.15 |
//! | 100,000 | 0.96 | 1.15 | 0.39 | 0.96 | 0.88 | 1.15 |
//! | 1,000,000 | 0.98 | 1.15 | 0.39 | 1.00 | | |
//!
//! ## Memory, and callers that join a refresh
//!
//! | | measured | goal |
//! |---|---|---|
//! | allocations of the layer with a fresh token: `NoReplay`; `CloneBody`; `Buffered` | 0; 2; 3 | 0; 2; |
//! | the response future, besides the inner one | 64 bytes | 64 |
//! | a waiter: its timer and waker slot; polls | 136 bytes; 2 | 160; 2 |
//! | a waiting request: its two boxes, one of them with the request | 520 bytes | |
//! | callers joining a refresh, from two threads | 1.4 million per second | 0.6 |
//! | an idle session, besides its tokens: with settings of its own; built from a cloned builder | 999; 983 bytes | 1,024; 1,000 |
//! | more if it is shared, with tokens of 40 bytes | 1,541 bytes | |
//! | instructions per request with a store behind the session | the same | the same |
//!
//! ## Many users
//!
//! A map of 10,000 sessions with access tokens of 500 bytes, built from clones of one builder. `get` finds a session
//! that is loaded.
//!
//! | | measured | goal |
//! |---|---|---|
//! | an idle session in the map, besides its tokens: without hooks; with a save hook | 1,067; 1,131 bytes | 1,000 |
//! | `get`, one thread | 53 ns | |
//! | `get`, two threads: different keys; the same key | 100 ns; 0.5 to 0.7 µs | 150 ns |
//! | a fresh request through `keyed`, more than with one session: key `u64`; key `Arc<str>` | 70 ns; 92 ns | 100 ns |
//! | the same: allocations | 0 | 0 |
//!
//! With the same key, two threads contend for the lock of one part of the map and for the session's reference count.
//!
//! ## Throughput of layered clients
//!
//! The throughput of a layered client divided by that of the bare one that sends the same token, end to end
//! on loopback, where client and server share two cores: the median of 20 pairs of rounds, with the lowest
//! and highest.
//!
//! | | HTTP/1 | HTTP/2 | goal |
//! |---|---|---|---|
//! | hyper | 0.96 (0.89 to 1.07) | 0.97 (0.75 to 1.29) | 0.97 |
//! | reqwest | 0.87 (0.77 to 1.27) | 0.92 (0.84 to 1.05) | 0.97 |
//!
//! ## A refresh through a store
//!
//! The time that a store adds to a refresh, without the exchange: medians of 500, the middle one of three
//! runs. Each refresh reads the record once and writes it twice: the claim and the new token.
//!
//! | store | p50 | baseline on the same machine | ratio | goal |
//! |---|---|---|---|---|
//! | file, on a disk | 1.9 ms | an `fsync`: 0.27 ms | 7.0 | 5 |
//! | file, in memory (tmpfs) | 0.55 ms | | | 0.1 ms |
//! | Redis, without persistence | 0.51 ms | a round trip: 0.14 ms | 3.7 | 0.25 ms |
//! | PostgreSQL | 1.8 ms | a committed `UPDATE`: 0.48 ms | 3.6 | 3 |
//!
//! ## Many processes
//!
//! Processes that all find the token expired at once, over 40 expiries:
//!
//! | processes | store | exchanges per expiry | loads per process and expiry | swaps per process and expiry | until the last one has the new token: p50; p99 |
//! |---|---|---|---|---|---|
//! | 2 | file | 1 | 1.5 | 1.0 | 5 ms; 7 ms |
//! | 50 | file | 1 | 2.1 | 0.04 | 13 ms; 20 ms |
//! | 50 | Redis | 1 | 2.2 | 0.29 | 10 ms; 18 ms |
//! | 50 | Redis, without notifications | 1 | 2.2 | 0.43 | 11 ms; 14 ms |
//! | 50 | PostgreSQL | 1 | 2.2 | 0.22 | 16 ms; 31 ms |
//! | 50 | PostgreSQL, without notifications | 1 | 2.1 | 0.32 | 14 ms; 18 ms |
//! | 200 | file | 1 | 3.5 | 0.01 | 46 ms; 84 ms |
//!
//! If the process that refreshes is killed, the others have a token 17 ms later with a file; with Redis and
//! PostgreSQL, once its claim has lapsed (after 5.0 s here, 14 s by default).
//!
//! <!-- /figures: performance -->
//!
//! # Why a fresh token costs what it does
//!
//! A request reads the clock and loads an immutable snapshot of the session once: the token, its header value and
//! its expiry. The header is attached to the request in place, and the inner service's future isn't boxed. With
//! `NoReplay` and one session, the request takes no lock and allocates nothing. The default copies its head (two
//! allocations); `AuthLayer::keyed` takes a lock to find the session.
//!
//! # What a layered client costs
//!
//! The instructions of one call, client and server together, as callgrind counts them (see `CLIENTS_COUNT` in the docs
//! of `benches/clients.rs`):
//!
//! | | bare | layered |
//! |---|---|---|
//! | hyper, HTTP/1 | 39,660 | 41,750 |
//! | reqwest, HTTP/1 | 82,260 | 88,520 |
//! | reqwest, HTTP/2 | 150,200 | 156,270 |
//!
//! With reqwest the layer adds the conversion to an `http::Request` (about 1,700 instructions, as the options are in
//! extensions that only the conversion reveals), the copy of the head and, over plain `http`, the check for loopback.
//!
//! # An idle session
//!
//! It has no task, timer or channel. It holds about 700 bytes of its own, and small parts: its token's header and
//! metadata, and the snapshot of one thread. Each further thread adds a copy of the header when it first uses the
//! token. Sessions that are built from clones of one builder share their settings.
//!
//! With the feature `metrics`, a request with a fresh token takes four instructions more, as the compiler lays out the
//! code differently; none of them records anything.
//!
//! # What a store costs
//!
//! With a fresh token the store isn't touched, and a request executes the same instructions as in a session
//! without a store. A refresh reads the record, writes a claim and writes the new token. The file store
//! performs each step on a blocking thread, and each write syncs the new file and its folder. That is why its
//! goals are missed. With Redis and PostgreSQL each step is one round trip.
//!
//! # Waiting
//!
//! A request that has to wait takes the session's lock, and allocates its state and a timer. It holds no
//! readiness of the inner service meanwhile. When the refresh ends, each waiter is polled once, acquires
//! readiness and is sent.
//!
//! By default any number of callers may wait. If the token endpoint hangs, 100,000 of them hold 87 MiB
//! (`Session::token`) or 125 MiB (through the layer), tasks included, until their wait timeouts expire. Servers
//! should set [`max_waiters`](crate::SessionBuilder::max_waiters).
//!
//! # Replays
//!
//! With [`CloneBody`](crate::replay::CloneBody), the default, and with [`Buffered`](crate::replay::Buffered),
//! each request is copied before it is sent, in case it has to be retried: its head in any case, and a clone
//! of the body or its frames up to the limit. [`NoReplay`](crate::replay::NoReplay) avoids the copy. Requests
//! are then never retried.
