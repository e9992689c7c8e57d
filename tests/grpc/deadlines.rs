//! `grpc-timeout` bounds the whole call.

use std::{
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use tokio::time::timeout;
use tonic::{Code, Request, Status};
use tower::{Layer, ServiceBuilder, ServiceExt, service_fn};
use tower_reauth::{AuthLayer, Error, Session, WaitTimeout, rt::TestClock};

use crate::{
    greeter::{Greeting, Name},
    server::CheckedBy,
    setup::{Client, LONG, Setup, layer, name},
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

/// A precise clock, as the system's coarse one may stand still during a test.
fn precise() -> TestClock {
    TestClock::new(std::time::SystemTime::now())
}

#[tokio::test]
async fn p16_a_retry_carries_the_remaining_deadline() {
    let mut setup =
        Setup::with("A1 R1 600", CheckedBy::Interceptor, |session| session.clock(precise())).await;
    let client = setup.client.clone();
    let call = greet_within(&client, LONG);
    let (outcome, ()) = tokio::join!(call, setup.refresh_with("A2 R2 600"));
    outcome.unwrap();
    let deadlines = deadlines(&setup);
    assert_eq!((deadlines.len(), deadlines[0]), (2, u64::try_from(LONG.as_nanos()).unwrap()));
    assert!(deadlines[1] < deadlines[0] && deadlines[1] > deadlines[0] / 2, "{deadlines:?}");
}

#[tokio::test]
async fn p16_a_call_that_waited_for_its_token_carries_the_remaining_deadline() {
    let mut setup = Setup::with("A1 R1 0", CheckedBy::Interceptor, |session| session.clock(precise())).await;
    let client = setup.client.clone();
    let call = greet_within(&client, LONG);
    let (outcome, ()) = tokio::join!(call, setup.refresh_with("A2 R2 600"));
    outcome.unwrap();
    let (deadlines, all) = (deadlines(&setup), u64::try_from(LONG.as_nanos()).unwrap());
    assert!(deadlines.len() == 1 && deadlines[0] < all && deadlines[0] > all / 2, "{deadlines:?}");
}

#[tokio::test]
async fn b89_a_token_that_never_arrives_is_deadline_exceeded() {
    let setup = Setup::new("A1 R1 0").await;
    // Many calls, as the system's coarse clock and its timers differ by some milliseconds.
    let calls = (1..=32_u64).map(|at| {
        let client = setup.client.clone();
        async move {
            let (begin, limit) = (Instant::now(), Duration::from_millis(20 + 3 * at));
            let status = greet_within(&client, limit).await.unwrap_err();
            (status, begin.elapsed(), limit)
        }
    });
    for (status, elapsed, limit) in timeout(LONG, futures::future::join_all(calls)).await.unwrap() {
        assert_eq!(status.code(), Code::DeadlineExceeded, "{limit:?}: {status:?}");
        assert!(Error::find(&status).unwrap().is_deadline_exceeded());
        assert!(elapsed < limit + Duration::from_secs(5), "{elapsed:?} of {limit:?}");
    }
    assert_eq!((setup.state().calls().len(), setup.endpoint.call_count()), (0, 1));
    // The refresh goes on.
    assert!(setup.session.status().is_refreshing());
}

#[tokio::test]
async fn b89_a_rejected_call_that_gets_no_new_token_in_time_is_deadline_exceeded() {
    let setup = Setup::new("A1 R1 600").await;
    let call = greet_within(&setup.client, Duration::from_millis(60));
    let status = timeout(LONG, call).await.unwrap().unwrap_err();
    assert_eq!(status.code(), Code::DeadlineExceeded, "{status:?}");
    assert_eq!(setup.state().tokens(), ["A1"]);
}

#[tokio::test]
async fn b89_a_wait_timeout_before_the_deadline_is_unavailable() {
    let setup = Setup::new("A1 R1 0").await;
    let mut request = Request::new(name("Ada"));
    request.set_timeout(LONG);
    request.extensions_mut().insert(WaitTimeout::new(Duration::from_millis(20)));
    let status = timeout(LONG / 2, setup.client.clone().greet(request)).await.unwrap().unwrap_err();
    assert_eq!(status.code(), Code::Unavailable);
    assert!(Error::find(&status).unwrap().is_timeout());

    let impatient = layer(&setup.session).wait_timeout(Duration::from_millis(20));
    let client = crate::greeter::greeter_client::GreeterClient::new(impatient.layer(setup.channel.clone()));
    let status = greet_within(&client, LONG).await.unwrap_err();
    assert_eq!(status.code(), Code::Unavailable);
    assert_eq!(setup.state().calls().len(), 0);
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
