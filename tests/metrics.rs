//! What the recorder of the `metrics` crate gets.
#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "tests fail by panics, and have tokio's tasks and timers"
)]

mod support;

use std::{
    collections::BTreeSet,
    convert::Infallible,
    future::ready,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use http::{Request, Response, StatusCode};
use metrics_util::{
    MetricKind,
    debugging::{DebugValue, DebuggingRecorder, Snapshotter},
};
use tokio::{sync::Barrier, time::advance};
use tower::{Layer, ServiceExt, service_fn};
use tower_reauth::{
    RefreshError, Session,
    metrics::{
        REFRESH_DURATION, REFRESHES, REJECTIONS, RETRIES, STORE_BUSY_WAITS, STORE_CONFLICTS, TOKEN_EXPIRY,
        WAIT_DURATION, WAITERS, describe,
    },
    rejection::{Verdict, rejection_fn},
    sessions::Sessions,
    store::{Loaded, MemoryStore, Record, StoreError, Swap, TokenStore, Version},
};

use support::{
    BoxError, clock, endpoint, expired, get, run_pending_tasks, spawn_refresh, spawn_token, token,
};

const ALL: [&str; 9] = [
    REFRESHES,
    REFRESH_DURATION,
    WAITERS,
    WAIT_DURATION,
    REJECTIONS,
    RETRIES,
    TOKEN_EXPIRY,
    STORE_CONFLICTS,
    STORE_BUSY_WAITS,
];

/// A store that two processes read before either writes, if they are to meet.
#[derive(Clone)]
struct Meeting {
    store: MemoryStore,
    /// How many loads are to wait for each other.
    to_meet: Arc<AtomicUsize>,
    both_have_read: Arc<Barrier>,
}

/// What this thread records, which is all of its test.
struct Recorded {
    snapshotter: Snapshotter,
    _recorder: metrics::LocalRecorderGuard<'static>,
}

// === impl Recorded ===

impl Recorded {
    fn start() -> Self {
        let recorder = Box::leak(Box::new(DebuggingRecorder::new()));
        let snapshotter = recorder.snapshotter();
        Self { snapshotter, _recorder: metrics::set_default_local_recorder(recorder) }
    }

    /// What changed since the last call, written `name{label=value} value`, without the prefix of the crate; a duration
    /// has its number of values, and their sum in seconds.
    fn take(&self) -> BTreeSet<String> {
        let series = self.snapshotter.snapshot().into_vec().into_iter().map(|(key, _, _, value)| {
            let labels: Vec<_> =
                key.key().labels().map(|label| format!("{}={}", label.key(), label.value())).collect();
            let value = match value {
                DebugValue::Counter(count) => count.to_string(),
                DebugValue::Gauge(value) => value.to_string(),
                DebugValue::Histogram(values) => {
                    let sum: f64 = values.iter().map(|value| value.into_inner()).sum();
                    format!("{} of {sum}", values.len())
                }
            };
            let name = key.key().name().trim_start_matches("tower_reauth_").to_owned();
            format!("{name}{{{}}} {value}", labels.join(","))
        });
        series.collect()
    }

    /// The series of one metric.
    fn take_of(&self, name: &str) -> Vec<String> {
        let prefix = format!("{}{{", name.trim_start_matches("tower_reauth_"));
        self.take()
            .iter()
            .filter_map(|line| line.strip_prefix(&prefix).map(|line| format!("{{{line}")))
            .collect()
    }
}

// === impl Meeting ===

impl Default for Meeting {
    fn default() -> Self {
        Self { store: MemoryStore::new(), to_meet: Arc::default(), both_have_read: Arc::new(Barrier::new(2)) }
    }
}

impl TokenStore for Meeting {
    async fn load(&self) -> Result<Option<Loaded>, StoreError> {
        let loaded = self.store.load().await;
        let left = |left: usize| left.checked_sub(1);
        if self.to_meet.fetch_update(Ordering::SeqCst, Ordering::SeqCst, left).is_ok() {
            self.both_have_read.wait().await;
        }
        loaded
    }

    async fn swap(&self, expected: Option<&Version>, record: &Record) -> Result<Swap, StoreError> {
        self.store.swap(expected, record).await
    }
}

async fn refused(_: Request<()>) -> Result<Response<()>, Infallible> {
    let mut response = Response::new(());
    *response.status_mut() = StatusCode::UNAUTHORIZED;
    Ok(response)
}

#[tokio::test(start_paused = true)]
async fn a_refresh_is_counted_and_timed_and_so_are_its_callers() {
    let recorded = Recorded::start();
    let (refresher, mut endpoint) = endpoint();
    let session = expired(refresher).name("github").build();
    let waiting = [spawn_token(&session), spawn_token(&session), spawn_token(&session)];
    run_pending_tasks().await;
    assert_eq!(recorded.take_of(WAITERS), ["{session=github} 3"]);
    waiting[2].abort();
    advance(Duration::from_secs(2)).await;
    endpoint.next_call().await.succeed("A2 R2 600");
    run_pending_tasks().await;
    let expected = [
        "refresh_duration_seconds{session=github,outcome=refreshed} 1 of 2",
        "refreshes_total{session=github,reason=expired,outcome=refreshed} 1",
        "token_expiry_timestamp_seconds{session=github} 1000570",
        "wait_duration_seconds{session=github,outcome=cancelled} 1 of 2",
        "wait_duration_seconds{session=github,outcome=token} 2 of 4",
        "waiters{session=github} -3",
    ];
    assert_eq!(Vec::from_iter(recorded.take()), expected);
}

/// Each refresh is counted once, whatever becomes of it.
#[tokio::test(start_paused = true)]
async fn each_outcome_of_a_refresh_is_counted_once() {
    let recorded = Recorded::start();
    let (refresher, mut endpoint) = endpoint();
    let session = Session::builder(refresher).jitter(false).clock(clock()).build();
    let refresh = || spawn_refresh(&session);
    let first = spawn_token(&session);
    endpoint.next_call().await.succeed("A1 R1 600");
    first.await.unwrap().unwrap();
    assert_eq!(recorded.take_of(REFRESHES), ["{reason=initial,outcome=refreshed} 1"]);

    for (result, expected) in [
        (Ok("A1 R1 600"), "{reason=requested,outcome=ineffective} 1"),
        (Ok("A2 R2 600"), "{reason=requested,outcome=refreshed} 1"),
        (Ok("A3 R3 0.1"), "{reason=requested,outcome=ineffective} 1"),
        (Err(RefreshError::transient("down")), "{reason=requested,outcome=failed} 1"),
        (Err(RefreshError::grant_ended("revoked")), "{reason=requested,outcome=grant_ended} 1"),
    ] {
        session.reset_backoff();
        let refresh = refresh();
        let call = endpoint.next_call().await;
        match result {
            Ok(token) => call.succeed(token),
            Err(error) => call.fail(error),
        }
        let _ = refresh.await.unwrap();
        let counted = recorded.take_of(REFRESHES);
        assert!(counted.contains(&expected.to_owned()), "{expected}: {counted:?}");
        assert_eq!(counted.iter().filter(|line| !line.ends_with(" 0")).count(), 1, "{counted:?}");
    }

    session.set_token(token("B1 Q1 600")).unwrap();
    let refresh = refresh();
    let call = endpoint.next_call().await;
    session.sign_in(token("C1 S1 600"));
    call.succeed("B2 Q2 600");
    refresh.await.unwrap().unwrap_err();
    run_pending_tasks().await;
    let counted = recorded.take_of(REFRESHES);
    assert!(counted.contains(&"{reason=requested,outcome=discarded} 1".to_owned()), "{counted:?}");
}

#[tokio::test(start_paused = true)]
async fn rejections_and_retries_are_counted_by_cause() {
    let recorded = Recorded::start();
    let open = || {
        let (refresher, mut endpoint) = endpoint();
        tokio::spawn(async move { endpoint.next_call().await.succeed("A2 R2 600") });
        Session::builder(refresher).token(token("A1 R1 600")).clock(clock()).build()
    };

    let session = open();
    let response = session.layer().layer(service_fn(refused)).oneshot(get()).await.unwrap();
    assert_eq!(response.status(), 401);
    let counted = recorded.take();
    assert!(counted.contains("rejections_total{} 2"), "{counted:?}");
    assert!(counted.contains("retries_total{cause=status} 1"), "{counted:?}");

    let session = open();
    let rule = rejection_fn(|head| match head.status() {
        StatusCode::UNAUTHORIZED => Verdict::reject(),
        _ => Verdict::Accept,
    });
    let layer = session.layer().rejection_rule(rule);
    let _ = layer.layer(service_fn(refused)).oneshot(get()).await.unwrap();
    assert!(recorded.take().contains("retries_total{cause=rule} 1"));

    let session = open();
    let unauthenticated = service_fn(|_: Request<tonic::body::Body>| {
        ready(Ok::<_, Infallible>(tonic::Status::unauthenticated("expired").into_http::<tonic::body::Body>()))
    });
    let request = Request::post("https://api.example.com/").body(tonic::body::Body::empty()).unwrap();
    let _ = session.layer().grpc(unauthenticated).oneshot(request).await;
    assert!(recorded.take().contains("retries_total{cause=grpc} 1"));

    let session = open();
    let judge = |accepted: &bool| if *accepted { Verdict::Accept } else { Verdict::reject() };
    session.send(|_| ready(false), judge).await.unwrap();
    let counted = recorded.take();
    assert!(counted.contains("retries_total{cause=rule} 1"), "{counted:?}");
    assert!(counted.contains("rejections_total{} 2"), "{counted:?}");

    session.mark_rejected(&session.token().await.unwrap());
    assert!(recorded.take().contains("rejections_total{} 1"));
}

#[tokio::test(start_paused = true)]
async fn processes_that_meet_in_a_store_are_counted() {
    let recorded = Recorded::start();
    let (clock, store) = (clock(), Meeting::default());
    let open = |name: &str| {
        let (refresher, endpoint) = endpoint();
        let session = Session::builder(refresher).jitter(false).clock(clock.clone()).name(name);
        (session.build_shared(store.clone()), endpoint)
    };
    let ((first, _first_endpoint), (second, mut endpoint)) = (open("first"), open("second"));
    first.sign_in(token("A1 R1 600")).await.unwrap();
    second.load().await.unwrap();
    recorded.take();

    advance(Duration::from_secs(600)).await;
    store.to_meet.store(2, Ordering::SeqCst);
    let refreshes = [spawn_token(first.session()), spawn_token(second.session())];
    // The last to have read is the first to write.
    let call = endpoint.next_call().await;
    run_pending_tasks().await;
    call.succeed("A2 R2 600");
    for refresh in refreshes {
        assert_eq!(refresh.await.unwrap().unwrap().secret(), "A2");
    }
    let counted = recorded.take();
    for expected in [
        "refreshes_total{session=second,reason=expired,outcome=refreshed} 1",
        "refreshes_total{session=first,reason=expired,outcome=adopted} 1",
        "store_busy_waits_total{session=first} 1",
        "store_conflicts_total{session=first} 1",
    ] {
        assert!(counted.contains(expected), "{expected}: {counted:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn the_expiry_is_zero_without_a_token() {
    let recorded = Recorded::start();
    let (refresher, _endpoint) = endpoint();
    let session = Session::builder(refresher).clock(clock()).build();
    session.sign_in(token("A1 R1 600"));
    assert_eq!(recorded.take_of(TOKEN_EXPIRY), ["{} 1000570"]);
    let _ = session.sign_out();
    assert_eq!(recorded.take_of(TOKEN_EXPIRY), ["{} 0"]);
}

/// Otherwise each of many users would have series of its own.
#[tokio::test(start_paused = true)]
async fn sessions_of_a_map_share_their_metrics() {
    let recorded = Recorded::start();
    let (refresher, mut endpoint) = endpoint();
    let builder = Session::builder(refresher).clock(clock());
    let load = move |user: u32| {
        let session = builder.clone().name(format!("user {user}")).token(token("A1 R1 0")).build();
        async move { Ok::<_, BoxError>(session) }
    };
    let sessions = Sessions::builder(load).clock(clock()).build();
    for user in [1, 2] {
        let session = sessions.get(&user).await.unwrap();
        let refresh = spawn_token(&session);
        endpoint.next_call().await.succeed("A2 R2 600");
        refresh.await.unwrap().unwrap();
    }
    let counted = recorded.take();
    assert!(counted.contains("refreshes_total{reason=expired,outcome=refreshed} 2"), "{counted:?}");
    assert!(counted.iter().all(|line| !line.contains("session=") && !line.contains("expiry")), "{counted:?}");
}

/// What a wait adds to a gauge it takes away from the same one.
#[tokio::test(start_paused = true)]
async fn a_wait_that_began_before_its_session_was_in_a_map_is_counted_under_one_label() {
    let recorded = Recorded::start();
    let (refresher, mut endpoint) = endpoint();
    let session = expired(refresher).name("github").build();
    let waiting = spawn_token(&session);
    let call = endpoint.next_call().await;
    let load = move |_: u32| {
        let session = session.clone();
        async move { Ok::<_, BoxError>(session) }
    };
    let sessions = Sessions::builder(load).clock(clock()).build();
    let _session = sessions.get(&1).await.unwrap();
    call.succeed("A2 R2 600");
    waiting.await.unwrap().unwrap();
    assert_eq!(recorded.take_of(WAITERS), ["{session=github} 0"]);
}

#[tokio::test(start_paused = true)]
async fn a_request_with_a_fresh_token_records_nothing() {
    let recorded = Recorded::start();
    let (refresher, _endpoint) = endpoint();
    let session = Session::builder(refresher).token(token("A1 R1 600")).clock(clock()).build();
    let client = session.layer().layer(service_fn(|_| ready(Ok::<_, Infallible>(Response::new(())))));
    client.clone().oneshot(get()).await.unwrap();
    recorded.take();
    for _ in 0..100 {
        client.clone().oneshot(get()).await.unwrap();
        session.token().await.unwrap();
    }
    let counted = recorded.take();
    let is_unchanged =
        |line: &String| line.ends_with(" 0") && (!line.contains(" of ") || line.ends_with(" 0 of 0"));
    assert!(counted.iter().all(is_unchanged), "{counted:?}");
}

/// Nobody waits for the token.
#[tokio::test(start_paused = true)]
async fn keeping_fresh_records_no_wait() {
    let recorded = Recorded::start();
    let (refresher, mut endpoint) = endpoint();
    let session = expired(refresher).build();
    let kept = tokio::spawn(session.keep_fresh());
    endpoint.next_call().await.succeed("A2 R2 600");
    run_pending_tasks().await;
    assert_eq!(recorded.take_of(WAIT_DURATION), [""; 0]);
    kept.abort();
}

#[test]
fn a_recorder_that_panics_does_no_harm() {
    struct Panicking;

    impl metrics::Recorder for Panicking {
        fn describe_counter(&self, _: metrics::KeyName, _: Option<metrics::Unit>, _: metrics::SharedString) {}
        fn describe_gauge(&self, _: metrics::KeyName, _: Option<metrics::Unit>, _: metrics::SharedString) {}
        fn describe_histogram(
            &self,
            _: metrics::KeyName,
            _: Option<metrics::Unit>,
            _: metrics::SharedString,
        ) {
        }

        fn register_counter(&self, _: &metrics::Key, _: &metrics::Metadata<'_>) -> metrics::Counter {
            panic!("counter")
        }

        fn register_gauge(&self, _: &metrics::Key, _: &metrics::Metadata<'_>) -> metrics::Gauge {
            panic!("gauge")
        }

        fn register_histogram(&self, _: &metrics::Key, _: &metrics::Metadata<'_>) -> metrics::Histogram {
            panic!("histogram")
        }
    }

    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    metrics::with_local_recorder(&Panicking, || {
        runtime.block_on(async {
            let (refresher, mut endpoint) = endpoint();
            let session = expired(refresher).build();
            let refresh = spawn_token(&session);
            endpoint.next_call().await.succeed("A2 R2 600");
            let token = refresh.await.unwrap().unwrap();
            assert_eq!(token.secret(), "A2");
            session.mark_rejected(&token);
        });
    });
}

#[test]
fn each_metric_has_a_description_and_a_row_in_the_docs() {
    let recorded = Recorded::start();
    describe();
    let kind = |name: &str| match name {
        _ if name.ends_with("_total") => (MetricKind::Counter, "counter"),
        REFRESH_DURATION | WAIT_DURATION => (MetricKind::Histogram, "histogram"),
        _ => (MetricKind::Gauge, "gauge"),
    };
    // A snapshot lists what was recorded, with its description.
    for name in ALL {
        match kind(name).0 {
            MetricKind::Counter => metrics::counter!(name).increment(1),
            MetricKind::Gauge => metrics::gauge!(name).set(1.0),
            MetricKind::Histogram => metrics::histogram!(name).record(1.0),
        }
    }
    let docs = include_str!("../src/metrics.rs");
    let described = recorded.snapshotter.snapshot().into_vec();
    assert_eq!(described.len(), ALL.len());
    for (key, _, description, _) in described {
        let (name, (metric_kind, kind)) = (key.key().name(), kind(key.key().name()));
        assert_eq!(key.kind(), metric_kind, "{name}");
        assert!(description.is_some_and(|description| !description.is_empty()), "{name}");
        assert!(docs.contains(&format!("//! | `{name}` | {kind} | ")), "{name}");
    }
    assert_eq!(docs.matches("//! | `tower_reauth_").count(), ALL.len());
    let names: BTreeSet<_> = ALL.into_iter().collect();
    assert_eq!(docs.matches("pub const ").count(), names.len());
}
