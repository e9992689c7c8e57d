//! `grpc-timeout` bounds the whole call.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use tonic::{Code, Request, Status};
use tower::{ServiceBuilder, ServiceExt, service_fn};
use tower_reauth::{AuthLayer, Error, Session, WaitTimeout};

use crate::{
    greeter::{Greeting, Name, greeter_client::GreeterClient},
    server::CheckedBy,
    setup::{Client, Setup, name},
    stopped_time::StoppedTime,
    support::{clock, endpoint, token},
};

async fn greet_within(client: &Client, limit: Duration) -> Result<tonic::Response<Greeting>, Status> {
    let mut request: Request<Name> = Request::new(name("Ada"));
    request.set_timeout(limit);
    client.clone().greet(request).await
}

/// The `grpc-timeout` of each call that reached the server, in nanoseconds.
fn deadlines(setup: &Setup) -> Vec<u64> {
    let calls = setup.state().calls();
    calls.iter().map(|call| nanos(call.metadata.get("grpc-timeout").unwrap().to_str().unwrap())).collect()
}

fn nanos(text: &str) -> u64 {
    let (digits, unit) = text.split_at(text.len() - 1);
    let unit = match unit {
        "n" => 1,
        "u" => 1_000,
        "m" => 1_000_000,
        "S" => 1_000_000_000,
        other => panic!("an unexpected unit: {other}"),
    };
    digits.parse::<u64>().unwrap() * unit
}

/// How long the calls may take.
const LIMIT: Duration = Duration::from_secs(20);

/// The deadlines of a call that waits for five seconds for a token.
async fn deadlines_around_a_wait(first: &str) -> Vec<u64> {
    let _stopped = StoppedTime::new();
    let mut setup = Setup::with(first, CheckedBy::Interceptor, |session| session.clock(clock())).await;
    let client = setup.client.clone();
    let refresh = async {
        setup.waiting(1).await;
        tokio::time::advance(Duration::from_secs(5)).await;
        setup.refresh_with("A2 R2 600").await;
    };
    let (outcome, ()) = tokio::join!(greet_within(&client, LIMIT), refresh);
    outcome.unwrap();
    deadlines(&setup)
}

#[tokio::test]
async fn p16_a_retry_carries_the_remaining_deadline() {
    let deadlines = deadlines_around_a_wait("A1 R1 600").await;
    assert_eq!(deadlines, [20_000_000_000, 15_000_000_000]);
}

#[tokio::test]
async fn p16_a_call_that_waited_for_its_token_carries_the_remaining_deadline() {
    assert_eq!(deadlines_around_a_wait("A1 R1 0").await, [15_000_000_000]);
}

/// The status of a call whose token never arrives, once `limit` has passed.
async fn status_after(
    setup: &Setup,
    time: &StoppedTime,
    limit: Duration,
    call: impl Future<Output = Result<tonic::Response<Greeting>, Status>>,
) -> Status {
    let passes = async {
        setup.waiting(1).await;
        time.advance(limit).await;
    };
    let (outcome, ()) = tokio::join!(call, passes);
    outcome.unwrap_err()
}

#[tokio::test]
async fn b89_a_token_that_never_arrives_is_deadline_exceeded() {
    let time = StoppedTime::new();
    let setup = Setup::with("A1 R1 0", CheckedBy::Interceptor, |session| session.clock(clock())).await;
    let status = status_after(&setup, &time, LIMIT, greet_within(&setup.client, LIMIT)).await;
    assert_eq!(status.code(), Code::DeadlineExceeded, "{status:?}");
    assert!(Error::find(&status).unwrap().is_deadline_exceeded());
    assert_eq!((setup.state().calls().len(), setup.endpoint.call_count()), (0, 1));
    // The refresh goes on.
    assert!(setup.session.status().is_refreshing());
}

/// The system's coarse clock and its timers differ by some milliseconds.
#[tokio::test]
async fn b89_a_token_that_never_arrives_is_deadline_exceeded_by_the_system_clock() {
    let setup = Setup::new("A1 R1 0").await;
    let calls = (1..=32).map(|at| greet_within(&setup.client, Duration::from_millis(20 + 3 * at)));
    for outcome in futures::future::join_all(calls).await {
        let status = outcome.unwrap_err();
        assert_eq!(status.code(), Code::DeadlineExceeded, "{status:?}");
        assert!(Error::find(&status).unwrap().is_deadline_exceeded());
    }
}

#[tokio::test]
async fn b89_a_rejected_call_that_gets_no_new_token_in_time_is_deadline_exceeded() {
    let time = StoppedTime::new();
    let setup = Setup::with("A1 R1 600", CheckedBy::Interceptor, |session| session.clock(clock())).await;
    let status = status_after(&setup, &time, LIMIT, greet_within(&setup.client, LIMIT)).await;
    assert_eq!(status.code(), Code::DeadlineExceeded, "{status:?}");
    assert_eq!(setup.state().tokens(), ["A1"]);
}

#[tokio::test]
async fn b89_a_wait_timeout_before_the_deadline_is_unavailable() {
    let (time, wait) = (StoppedTime::new(), Duration::from_secs(1));
    let setup = Setup::with("A1 R1 0", CheckedBy::Interceptor, |session| session.clock(clock())).await;
    let mut request = Request::new(name("Ada"));
    request.set_timeout(LIMIT);
    request.extensions_mut().insert(WaitTimeout::new(wait));
    let mut client = setup.client.clone();
    let status = status_after(&setup, &time, wait, client.greet(request)).await;
    assert_eq!(status.code(), Code::Unavailable);
    assert!(Error::find(&status).unwrap().is_timeout());

    let impatient = setup.session.layer().wait_timeout(wait);
    let client = GreeterClient::new(impatient.grpc(setup.channel.clone()));
    let status = status_after(&setup, &time, wait, greet_within(&client, LIMIT)).await;
    assert_eq!(status.code(), Code::Unavailable);
    assert_eq!(setup.state().calls().len(), 0);
}

#[tokio::test]
async fn d41_the_channels_timeout_does_not_bound_the_wait_for_a_token() {
    let time = StoppedTime::new();
    let mut setup = Setup::with("A1 R1 0", CheckedBy::Interceptor, |session| session.clock(clock())).await;
    let channel = tonic::transport::Endpoint::from_shared(setup.server.url.clone()).unwrap();
    let channel = channel.timeout(Duration::from_secs(1)).connect().await.unwrap();
    let client = GreeterClient::new(setup.session.layer().grpc(channel));

    // A call with a deadline of its own gives up.
    let limit = Duration::from_secs(2);
    let status = status_after(&setup, &time, limit, greet_within(&client, limit)).await;
    assert_eq!(status.code(), Code::DeadlineExceeded);
    assert!(Error::find(&status).unwrap().is_deadline_exceeded());

    // A call without one waits for longer than the channel's timeout.
    let mut patient = client.clone();
    let refresh = async {
        setup.waiting(1).await;
        time.advance(limit).await;
        setup.refresh_with("A2 R2 600").await;
    };
    let (outcome, ()) = tokio::join!(patient.greet(name("Ada")), refresh);
    outcome.unwrap();
    assert_eq!(setup.state().tokens(), ["A2"]);
}

/// Two calls over an inner service with one permit, and the deadline that each of them carries.
#[tokio::test(start_paused = true)]
async fn p16_time_spent_waiting_for_readiness_is_deducted() {
    let (refresher, mut endpoint) = endpoint();
    let session = Session::builder(refresher).token(token("A1 R1 0")).jitter(false).clock(clock()).build();
    let deadlines = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&deadlines);
    let inner = service_fn(move |request: http::Request<tonic::body::Body>| {
        seen.lock().unwrap().push(nanos(request.headers()["grpc-timeout"].to_str().unwrap()));
        async {
            tokio::time::sleep(Duration::from_secs(5)).await;
            Ok::<_, Status>(http::Response::new(tonic::body::Body::empty()))
        }
    });
    let layer = AuthLayer::from_session(session).for_grpc();
    let service = ServiceBuilder::new().layer(layer).concurrency_limit(1).service(inner);
    let request = || {
        let request = http::Request::post("/greeter.Greeter/Greet").header("grpc-timeout", "20S");
        request.body(tonic::body::Body::empty()).unwrap()
    };
    let calls = [service.clone().oneshot(request()), service.oneshot(request())];
    let response = async { endpoint.next_call().await.succeed("A2 R2 600") };
    let (outcomes, ()) = tokio::join!(futures::future::join_all(calls), response);
    assert!(outcomes.iter().all(Result::is_ok));
    assert_eq!(*deadlines.lock().unwrap(), [20_000_000_000, 15_000_000_000]);
}
