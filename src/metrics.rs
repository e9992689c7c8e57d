//! Counters, durations and gauges for the [`metrics`](https://docs.rs/metrics) crate.
//!
//! They are recorded by the recorder that the program installed. A request with a fresh token that isn't
//! rejected records nothing. The names and labels are part of the public API.
//!
//! | name | kind | labels | measures |
//! |---|---|---|---|
//! | `tower_reauth_refreshes_total` | counter | `reason`, `outcome` | completed refreshes, including those that failed or didn't call the refresher |
//! | `tower_reauth_refresh_duration_seconds` | histogram | `outcome` | the duration of a refresh, including the save |
//! | `tower_reauth_waiters` | gauge | | callers that wait for a token |
//! | `tower_reauth_wait_duration_seconds` | histogram | `outcome` | how long a caller waited |
//! | `tower_reauth_rejections_total` | counter | | responses that rejected a token |
//! | `tower_reauth_retries_total` | counter | `cause` | requests that were retried after a rejection |
//! | `tower_reauth_token_expiry_timestamp_seconds` | gauge | | when the token is treated as expired, in seconds since 1970; 0 without a token, or if its expiry is unknown. It is first set at the session's first refresh or change |
//! | `tower_reauth_store_conflicts_total` | counter | | store writes that failed because another process wrote first |
//! | `tower_reauth_store_busy_waits_total` | counter | | refreshes that waited for another process |
//!
//! - `session`: the session's name, on each metric, if the session has one. Sessions without a name share one
//!   gauge of the expiry, so name each. The sessions of a map have neither this label nor that gauge: with
//!   many users there would be too many labels.
//! - `reason`: why the session refreshed: `initial`, `stale`, `expired`, `rejected`, `requested`, or
//!   `repeated` if the refresh before it got no response.
//! - `outcome` of a refresh: `refreshed`; `adopted` (another process had refreshed); `ineffective` (the token
//!   doesn't help, see [`Ineffective`](crate::event::Ineffective)); `failed`; `grant_ended`; `discarded` (no
//!   longer needed, as when the user signed out). A shared session without a valid grant reads its store at
//!   each refresh; each such read counts as `grant_ended`.
//! - `outcome` of a wait: `token`, `error`, or `cancelled`.
//! - `cause` of a retry is what detected the rejection: `status` (the default: 401), `grpc` (a gRPC layer),
//!   or `rule` (a rejection rule of the program, or the verdict in `Session::send`).
//!
//! # Examples
//!
//! With any recorder, such as the one of
//! [metrics-exporter-prometheus](https://docs.rs/metrics-exporter-prometheus):
//!
//! ```
//! use metrics_util::debugging::DebuggingRecorder;
//! use tower_reauth::{RefreshContext, Session, Token, metrics, refresh_fn};
//!
//! # tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(async {
//! let recorder = DebuggingRecorder::new();
//! let snapshotter = recorder.snapshotter();
//! recorder.install()?;
//! metrics::describe();
//!
//! let refresher = refresh_fn(|_: RefreshContext| async { Ok(Token::try_new("A1")?) });
//! Session::builder(refresher).name("github").build().token().await?;
//! let recorded = snapshotter.snapshot().into_vec();
//! assert!(recorded.iter().any(|(key, ..)| key.key().name() == metrics::REFRESHES));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! # }).unwrap();
//! ```

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use metrics::{Label, Unit, counter, describe_counter, describe_gauge, describe_histogram, gauge, histogram};

use crate::{panics::catch_panic, refresh::RefreshReason};

/// The name of the counter of completed refreshes.
pub const REFRESHES: &str = "tower_reauth_refreshes_total";
/// The name of the histogram of the durations of refreshes, in seconds.
pub const REFRESH_DURATION: &str = "tower_reauth_refresh_duration_seconds";
/// The name of the gauge of callers that wait for a token.
pub const WAITERS: &str = "tower_reauth_waiters";
/// The name of the histogram of how long callers waited, in seconds.
pub const WAIT_DURATION: &str = "tower_reauth_wait_duration_seconds";
/// The name of the counter of responses that rejected a token.
pub const REJECTIONS: &str = "tower_reauth_rejections_total";
/// The name of the counter of requests that were retried after a rejection.
pub const RETRIES: &str = "tower_reauth_retries_total";
/// The name of the gauge of when the token expires, in seconds since 1970.
pub const TOKEN_EXPIRY: &str = "tower_reauth_token_expiry_timestamp_seconds";
/// The name of the counter of store writes that failed because another process wrote first.
pub const STORE_CONFLICTS: &str = "tower_reauth_store_conflicts_total";
/// The name of the counter of refreshes that waited for another process.
pub const STORE_BUSY_WAITS: &str = "tower_reauth_store_busy_waits_total";

/// Describes the metrics to the installed recorder. Call it once, after you install the recorder.
pub fn describe() {
    describe_counter!(REFRESHES, "Completed refreshes, by reason and outcome");
    describe_histogram!(REFRESH_DURATION, Unit::Seconds, "Duration of a refresh, including the save");
    describe_gauge!(WAITERS, "Callers that wait for a token");
    describe_histogram!(WAIT_DURATION, Unit::Seconds, "How long a caller waited for a token");
    describe_counter!(REJECTIONS, "Responses that rejected a token");
    describe_counter!(RETRIES, "Requests that were retried after a rejection, by cause");
    describe_gauge!(TOKEN_EXPIRY, Unit::Seconds, "When the token expires, in seconds since 1970");
    describe_counter!(STORE_CONFLICTS, "Store writes that failed because another process wrote first");
    describe_counter!(STORE_BUSY_WAITS, "Refreshes that waited for another process");
}

/// Records what happens to one session. The recorder is user code: never call this under a lock.
#[derive(Clone)]
pub(crate) struct Recorder {
    pub(crate) session: Option<Arc<str>>,
}

/// A completed refresh.
pub(crate) struct EndedRefresh {
    pub(crate) reason: RefreshReason,
    pub(crate) outcome: &'static str,
    pub(crate) elapsed: Duration,
}

// === impl Recorder ===

impl Recorder {
    pub(crate) fn refresh_ended(&self, refresh: &EndedRefresh) {
        let reason = match refresh.reason {
            RefreshReason::Initial => "initial",
            RefreshReason::Stale => "stale",
            RefreshReason::Expired => "expired",
            RefreshReason::Rejected => "rejected",
            RefreshReason::Requested => "requested",
            RefreshReason::Repeated => "repeated",
        };
        let outcome = ("outcome", refresh.outcome);
        catch_panic(|| {
            counter!(REFRESHES, self.labels(&[("reason", reason), outcome])).increment(1);
            histogram!(REFRESH_DURATION, self.labels(&[outcome])).record(refresh.elapsed);
        });
    }

    pub(crate) fn wait_began(&self) {
        catch_panic(|| gauge!(WAITERS, self.labels(&[])).increment(1.0));
    }

    pub(crate) fn wait_ended(&self, outcome: &'static str, elapsed: Duration) {
        catch_panic(|| {
            gauge!(WAITERS, self.labels(&[])).decrement(1.0);
            histogram!(WAIT_DURATION, self.labels(&[("outcome", outcome)])).record(elapsed);
        });
    }

    pub(crate) fn rejected(&self) {
        catch_panic(|| counter!(REJECTIONS, self.labels(&[])).increment(1));
    }

    pub(crate) fn retried(&self, cause: &'static str) {
        catch_panic(|| counter!(RETRIES, self.labels(&[("cause", cause)])).increment(1));
    }

    pub(crate) fn expires_at(&self, expires_at: Option<SystemTime>) {
        let since_1970 = expires_at.and_then(|at| at.duration_since(SystemTime::UNIX_EPOCH).ok());
        let seconds = since_1970.map_or(0.0, |duration| duration.as_secs_f64());
        catch_panic(|| gauge!(TOKEN_EXPIRY, self.labels(&[])).set(seconds));
    }

    #[cfg(feature = "store")]
    pub(crate) fn store_conflict(&self) {
        catch_panic(|| counter!(STORE_CONFLICTS, self.labels(&[])).increment(1));
    }

    #[cfg(feature = "store")]
    pub(crate) fn store_busy(&self) {
        catch_panic(|| counter!(STORE_BUSY_WAITS, self.labels(&[])).increment(1));
    }

    fn labels(&self, others: &[(&'static str, &'static str)]) -> Vec<Label> {
        let session = self.session.iter().map(|name| Label::new("session", Arc::clone(name)));
        session.chain(others.iter().map(|(name, value)| Label::new(*name, *value))).collect()
    }
}
