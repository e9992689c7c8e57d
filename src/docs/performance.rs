//! Performance.
//!
//! # Measurements
//!
//! ```text
//! cargo bench --bench fresh -- table     # a request with a fresh token
//! cargo bench --bench memory             # allocations, waiters, idle sessions
//! cargo bench --bench storm -- table     # many callers and an expired token
//! cargo bench --features reqwest --bench clients  # the throughput of layered clients
//! cargo bench --bench stores             # a refresh through each store
//! cargo bench --bench processes          # many processes and an expired token
//! ```
//!
//! `fresh` calls the layer on a service that drops the request and returns at once, and compares it with
//! tower-http's `AddAuthorization` with a fixed value. Times are net of the bare service.
//! If valgrind is installed it counts instructions, too, which repeat exactly.
//!
//! `storm` starts one task for each caller, lets all of them wait for one refresh, and measures the time from
//! the token endpoint's response until the last request is sent. It compares the layer with a bare vector of
//! wakers (a lower bound, without support for cancellation or errors), a `tokio::sync::watch` channel, and an
//! async mutex with a second check.
//!
//! `stores` and `processes` start Redis and PostgreSQL if they are installed. `processes` starts up to 200 processes, which
//! find the token expired at the same time, and counts their loads and swaps.
//!
//! Compare ratios within one run only: times differ between machines, and between two builds of the same
//! code.
//!
//! The README has the figures.
//!
//! # A fresh token
//!
//! A request reads the clock and looks once at an immutable snapshot of the session: the token, its header
//! value and its expiry. The header is attached to the request in place. There is no lock and no allocation,
//! and the inner service's future isn't boxed.
//!
//! Of its 751 instructions about 120 append the header to the map, 90 copy the request into the inner call, 60
//! read the snapshot through its `ArcSwap`, and 60 read the clocks. With allowed origins, scheme and host are
//! compared as strings.
//!
//! # An idle session
//!
//! It has no task, timer or channel. It holds about 900 bytes of its own, and small shared parts: its token's
//! header and metadata, the snapshot of one thread, its clock, spawner and refresher. Further threads add a
//! copy of the header each when they first use the token.
//!
//! # A shared session
//!
//! With a fresh token the store isn't touched, and a request executes the same instructions as in a session
//! without a store. A refresh
//! reads the record, writes a claim and writes the new token. The file store performs each step on a blocking thread, and each
//! write syncs the new file and its folder, which is why its goals are missed. With Redis and PostgreSQL
//! each step is one round trip.
//!
//! # Waiting
//!
//! A request that has to wait takes the session's lock, and allocates its state and a timer. It holds no
//! readiness of the inner service meanwhile. When the refresh ends, each waiter is polled once, acquires
//! readiness and is sent.
//!
//! By default any number of callers may wait. If the token endpoint hangs, 100,000 of them hold about 100 MiB
//! until their wait timeouts expire (with their tasks, 125 MiB for requests through the layer, and 87 MiB for
//! calls of `Session::token`). Servers should set [`max_waiters`](crate::SessionBuilder::max_waiters).
//!
//! # Replays
//!
//! With [`CloneBody`](crate::replay::CloneBody), the default, and with [`Buffered`](crate::replay::Buffered),
//! each request is copied before it is sent, in case it has to be retried: its head in any case, and a clone
//! of the body or its frames up to the limit. [`NoReplay`](crate::replay::NoReplay) avoids the copy. Requests
//! are then never retried.
