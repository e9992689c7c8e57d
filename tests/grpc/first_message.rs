//! Rejections in trailers before the first message, with `retry_before_first_message`.

use std::convert::Infallible;

use bytes::Bytes;
use futures::FutureExt;
use http::{HeaderMap, Request, Response};
use http_body_util::{BodyExt, StreamBody};
use hyper::body::Frame;
use tokio::{sync::mpsc, time::timeout};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Code, Status, body::Body};
use tower::{Layer, ServiceExt, service_fn};
use tower_reauth::{
    Session,
    future::AuthReport,
    grpc::{self, GrpcLayer},
    replay::NotReplayed,
};

use crate::{
    greeter::greeter_client::GreeterClient,
    server::CheckedBy,
    setup::{Client, KINDS, Kind, LONG, Setup, name},
    streams::{cut_after, read_to_the_end},
    support::{Endpoint, endpoint, token},
};

fn layer(session: &Session) -> GrpcLayer {
    session.layer().for_grpc().retry_before_first_message(true)
}

fn client(setup: &Setup, layer: &GrpcLayer) -> Client {
    GreeterClient::new(layer.layer(setup.channel.clone()))
}

async fn late_proxy() -> Setup {
    Setup::with("A1 R1 600", CheckedBy::LateProxy, |session| session).await
}

#[tokio::test]
async fn d39_each_kind_of_call_rejected_before_its_first_message_is_retried() {
    for kind in KINDS {
        let mut setup = late_proxy().await;
        let call = kind.call(client(&setup, &layer(&setup.session)));
        let (outcome, ()) =
            timeout(LONG, async { tokio::join!(call, setup.refresh_with("A2 R2 600")) }).await.unwrap();
        outcome.unwrap();
        assert_eq!(setup.state().tokens(), ["A1", "A2"], "{kind:?}");
    }
}

#[tokio::test]
async fn d39_without_the_setting_each_kind_of_call_returns_its_status_and_marks_the_token() {
    for kind in KINDS {
        let setup = late_proxy().await;
        let status = kind.call(setup.client.clone()).await.unwrap_err();
        assert_eq!((status.code(), status.message()), (Code::Unauthenticated, "too late"), "{kind:?}");
        assert_eq!((setup.state().tokens(), setup.endpoint.call_count()), (vec!["A1".to_owned()], 0));
        assert!(!setup.session.status().is_fresh());
    }
}

#[tokio::test]
async fn d39_each_kind_of_call_is_retried_only_once() {
    for kind in KINDS {
        let mut setup = late_proxy().await;
        let call = kind.call(client(&setup, &layer(&setup.session)));
        // The server accepts neither A1 nor A2.
        let response = async { setup.endpoint.next_call().await.succeed("A2 R2 600") };
        let (outcome, ()) = timeout(LONG, async { tokio::join!(call, response) }).await.unwrap();
        let status = outcome.unwrap_err();
        assert_eq!((status.code(), status.message()), (Code::Unauthenticated, "too late"), "{kind:?}");
        assert_eq!(grpc::not_replayed(&status), None);
        assert_eq!(setup.state().tokens(), ["A1", "A2"]);
    }
}

#[tokio::test]
async fn d39_d31_a_call_that_cannot_be_replayed_gets_the_servers_status_with_a_mark() {
    for kind in KINDS {
        let setup = late_proxy().await;
        let status =
            kind.call(client(&setup, &layer(&setup.session).with_buffer_limit(0))).await.unwrap_err();
        assert_eq!((status.code(), status.message()), (Code::Unauthenticated, "too late"), "{kind:?}");
        let metadata = status.metadata();
        let sent = ["x-reason", "x-served-by"].map(|name| metadata.get(name).unwrap().to_str().unwrap());
        assert_eq!(sent, ["revoked", "proxy"]);
        assert_eq!(grpc::not_replayed(&status), Some(NotReplayed::TooLarge));
        assert_eq!((setup.state().tokens(), setup.endpoint.call_count()), (vec!["A1".to_owned()], 0));
        assert!(!setup.session.status().is_fresh());
    }
}

#[tokio::test]
async fn d39_a_call_rejected_after_a_message_is_not_retried() {
    let setup = Setup::new("A1 R1 600").await;
    setup.state().accept("A1");
    let mut client = client(&setup, &layer(&setup.session));
    let greetings = client.greet_often(cut_after(1)).await.unwrap().into_inner();
    let (count, status) = read_to_the_end(greetings).await;
    assert_eq!((count, status.code()), (1, Code::Unauthenticated));
    assert_eq!((setup.state().tokens(), setup.endpoint.call_count()), (vec!["A1".to_owned()], 0));
    assert!(!setup.session.status().is_fresh());
}

#[tokio::test]
async fn d39_another_status_before_the_first_message_is_passed_on() {
    let setup = Setup::new("A1 R1 600").await;
    setup.state().accept("A1");
    let mut client = client(&setup, &layer(&setup.session));
    let mut greetings = client.greet_often(name("fail")).await.unwrap().into_inner();
    assert_eq!(greetings.message().await.unwrap_err().code(), Code::PermissionDenied);
    assert!(setup.session.status().is_fresh());
    Kind::ServerStream.call(client).await.unwrap();
    assert_eq!(setup.state().tokens(), ["A1", "A1"]);
}

type Sender = mpsc::Sender<Result<Frame<Bytes>, Status>>;

/// A call through the layer to a server whose frames the test sends.
struct Call {
    session: Session,
    endpoint: Endpoint,
    frames: Sender,
    response: tokio_test::task::Spawn<futures::future::BoxFuture<'static, Response<Body>>>,
}

impl Call {
    fn new() -> Self {
        let (refresher, endpoint) = endpoint();
        let session = Session::builder(refresher).token(token("A1 R1 600")).jitter(false).build();
        let (frames, receiver) = mpsc::channel(8);
        let mut body = Some(Body::new(StreamBody::new(ReceiverStream::new(receiver))));
        let body = std::sync::Arc::new(std::sync::Mutex::new(move || body.take().unwrap()));
        let server = service_fn(move |_: Request<Body>| {
            let response = Response::builder().header("x-served-by", "test").body(body.lock().unwrap()());
            async { Ok::<_, Infallible>(response.unwrap()) }
        });
        let call = layer(&session).layer(server).oneshot(Request::new(Body::empty()));
        let response = tokio_test::task::spawn(call.map(Result::unwrap).boxed());
        Self { session, endpoint, frames, response }
    }

    fn send(&self, frame: Result<Frame<Bytes>, Status>) {
        self.frames.try_send(frame).unwrap();
    }

    fn end(&mut self) {
        (self.frames, _) = mpsc::channel(1);
    }

    /// The response, which is there by now.
    fn response(&mut self) -> Response<Body> {
        match self.response.poll() {
            std::task::Poll::Ready(response) => response,
            std::task::Poll::Pending => panic!("the head is still held back"),
        }
    }
}

fn data(text: &'static str) -> Result<Frame<Bytes>, Status> {
    Ok(Frame::data(Bytes::from_static(text.as_bytes())))
}

fn trailers(pairs: &[(&'static str, &'static str)]) -> Result<Frame<Bytes>, Status> {
    let pairs = pairs.iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap()));
    Ok(Frame::trailers(pairs.collect()))
}

/// The frames of a body, as text.
async fn read(mut body: Body) -> Vec<String> {
    let mut frames = Vec::new();
    while let Some(frame) = body.frame().await {
        frames.push(match frame {
            Ok(frame) => match frame.into_data() {
                Ok(data) => String::from_utf8(data.into()).unwrap(),
                Err(frame) => status_of(frame.trailers_ref().unwrap()),
            },
            Err(status) => status.message().to_owned(),
        });
    }
    frames
}

fn status_of(metadata: &HeaderMap) -> String {
    format!("status {}", metadata["grpc-status"].to_str().unwrap())
}

#[tokio::test]
async fn d39_the_head_is_held_back_until_the_first_frame_and_no_frame_is_lost_or_repeated() {
    let ok = || trailers(&[("grpc-status", "0")]);
    let unauthenticated = || trailers(&[("grpc-status", "16")]);
    let cases: [(&str, Vec<_>, &[&str]); 6] = [
        ("one message", vec![data("a"), ok()], &["a", "status 0"]),
        (
            "several, the last one rejected",
            vec![data("a"), data("b"), unauthenticated()],
            &["a", "b", "status 16"],
        ),
        ("no message", vec![ok()], &["status 0"]),
        ("another status", vec![trailers(&[("grpc-status", "7")])], &["status 7"]),
        ("an error", vec![Err(Status::internal("reset"))], &["reset"]),
        ("nothing at all", vec![], &[]),
    ];
    for (case, frames, expected) in cases {
        let mut call = Call::new();
        assert!(call.response.poll().is_pending(), "{case}");
        // An empty frame is no part of a message.
        call.send(data(""));
        assert!(call.response.poll().is_pending(), "{case}");
        for frame in frames {
            call.send(frame);
        }
        call.end();
        assert!(call.response.is_woken(), "{case}");
        let response = call.response();
        assert_eq!(response.headers()["x-served-by"], "test");
        assert!(response.extensions().get::<AuthReport>().is_none());
        assert_eq!(read(response.into_body()).await, expected, "{case}");
        assert_eq!(call.session.status().is_fresh(), !expected.contains(&"status 16"), "{case}");
        assert_eq!(call.endpoint.call_count(), 0);
    }
}

#[tokio::test]
async fn d39_a_call_dropped_while_its_head_is_held_back_drops_the_servers_response() {
    let Call { session, endpoint, frames, mut response } = Call::new();
    assert!(response.poll().is_pending());
    assert!(!frames.is_closed());
    drop(response);
    assert!(frames.is_closed());
    assert!(session.status().is_fresh());
    assert_eq!((session.status().waiters(), endpoint.call_count()), (0, 0));
}

#[tokio::test]
async fn d39_a_call_dropped_while_it_waits_for_the_retrys_token_leaves_the_refresh_running() {
    let Call { session, mut endpoint, frames, mut response } = Call::new();
    assert!(response.poll().is_pending());
    frames.try_send(trailers(&[("grpc-status", "16")])).unwrap();
    assert!(response.poll().is_pending());
    assert_eq!(session.status().waiters(), 1);
    drop(response);
    endpoint.next_call().await.succeed("A2 R2 600");
    session.token().await.unwrap();
    assert_eq!((session.status().generation(), endpoint.call_count()), (2, 1));
}

#[tokio::test]
async fn d39_d46_step_up_in_the_trailers_rejects_no_token() {
    let mut call = Call::new();
    assert!(call.response.poll().is_pending());
    let challenge = ("www-authenticate", r#"Bearer error="insufficient_scope""#);
    call.send(trailers(&[("grpc-status", "16"), challenge]));
    call.end();
    assert_eq!(read(call.response().into_body()).await, ["status 16"]);
    assert!(call.session.status().is_fresh());
}
