//! tonic's interceptors around a layered channel, and inside the layer.

use std::sync::{Arc, Mutex};

use tonic::{Code, Request, Status, service::interceptor::InterceptedService};

use crate::{
    greeter::greeter_client::GreeterClient,
    server::CheckedBy,
    setup::{Setup, join, name},
    streams::{cut_after, read_to_the_end},
};

type Seen = Arc<Mutex<Vec<String>>>;

/// Records the `authorization` of each request that it sees; `-` for none.
fn recording(seen: &Seen) -> impl FnMut(Request<()>) -> Result<Request<()>, Status> + Clone + use<> {
    let seen = Arc::clone(seen);
    move |request| {
        let value = request.metadata().get("authorization");
        seen.lock().unwrap().push(value.map_or("-", |value| value.to_str().unwrap()).to_owned());
        Ok(request)
    }
}

#[tokio::test]
async fn d40_interceptors_run_per_call_outside_the_layer_and_per_attempt_inside() {
    for checked_by in [CheckedBy::Interceptor, CheckedBy::LateProxy] {
        let mut setup = Setup::with("A1 R1 600", checked_by, |session| session).await;
        let (outside, inside) = (Seen::default(), Seen::default());
        let layer = setup.session.layer().for_grpc().retry_before_first_message(true);
        let channel = InterceptedService::new(setup.channel.clone(), recording(&inside));
        let service = tower::Layer::layer(&layer, channel);
        let mut client = GreeterClient::with_interceptor(service, recording(&outside));
        let (outcome, ()) = tokio::join!(client.greet_often(name("Ada")), setup.refresh_with("A2 R2 600"));
        assert_eq!(join(outcome.unwrap().into_inner()).await.unwrap(), "hello Ada; hello Ada; hello Ada");
        assert_eq!(*outside.lock().unwrap(), ["-"]);
        assert_eq!(*inside.lock().unwrap(), ["Bearer A1", "Bearer A2"]);
    }
}

#[tokio::test]
async fn d40_trailers_are_watched_between_two_interceptors() {
    let setup = Setup::new("A1 R1 600").await;
    setup.state().accept("A1");
    let seen = Seen::default();
    let channel = InterceptedService::new(setup.channel.clone(), recording(&seen));
    let mut client = GreeterClient::with_interceptor(setup.session.layer().grpc(channel), recording(&seen));
    let greetings = client.greet_often(cut_after(1)).await.unwrap().into_inner();
    let (count, status) = read_to_the_end(greetings).await;
    assert_eq!((count, status.code()), (1, Code::Unauthenticated));
    assert!(!setup.session.status().is_fresh());
}
