//! Whether a request was sent is known, and what was told as not sent never is.

use std::{
    future::pending,
    io,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use http::Request;
use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{Notify, watch},
};
use tower::{ServiceBuilder, service_fn};
use tower_reauth::{
    RefreshContext, RefreshError, Refresher, Token,
    endpoint::RequestBody,
    oauth2::{Client, RefreshTokenGrant},
};

use crate::fixed::{Answer, URL, answer, r1};

/// What a transport that works in tasks of its own sent, in the end.
#[derive(Clone, Default)]
struct Wire(Arc<Mutex<Vec<Bytes>>>);

impl Wire {
    /// Sends after a while, also when nobody waits for the answer any more.
    fn late(
        self,
        after: Duration,
    ) -> impl tower::Service<
        Request<RequestBody>,
        Response = Answer,
        Error = io::Error,
        Future = impl Future<Output = Result<Answer, io::Error>> + Send,
    > + Clone
    + Send
    + 'static {
        let wire = self;
        service_fn(move |request: Request<RequestBody>| {
            let wire = wire.clone();
            let task = tokio::spawn(async move {
                tokio::time::sleep(after).await;
                let body = request.into_body().collect().await.map_err(io::Error::other)?.to_bytes();
                wire.0.lock().unwrap().push(body);
                pending().await
            });
            async move { task.await.map_err(io::Error::other)? }
        })
    }

    fn sent(&self) -> usize {
        self.0.lock().unwrap().len()
    }
}

#[tokio::test(start_paused = true)]
async fn p18_what_was_told_as_not_sent_isnt_sent_afterwards() {
    let wire = Wire::default();
    let client = Client::try_with_transport(URL, "web", wire.clone().late(Duration::from_secs(11))).unwrap();
    let error = client.refresh_token_grant().refresh(r1()).await.unwrap_err();
    assert!(error.is_transient(), "{error:?}");
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert_eq!(wire.sent(), 0);
}

#[tokio::test(start_paused = true)]
async fn p18_what_a_timeout_in_the_transport_gave_up_isnt_sent_afterwards() {
    let wire = Wire::default();
    let transport = ServiceBuilder::new()
        .timeout(Duration::from_secs(2))
        .service(wire.clone().late(Duration::from_secs(3)));
    let client = Client::try_with_transport(URL, "web", transport).unwrap();
    let error = client.refresh_token_grant().refresh(r1()).await.unwrap_err();
    assert!(error.is_transient(), "{error:?}");
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert_eq!(wire.sent(), 0);
}

#[tokio::test(start_paused = true)]
async fn p02_a_request_that_was_tried_again_isnt_sent_twice() {
    let wire = Wire::default();
    let calls = Arc::<AtomicUsize>::default();
    let transport = {
        let (wire, calls) = (wire.clone(), Arc::clone(&calls));
        service_fn(move |request: Request<RequestBody>| {
            let (wire, first) = (wire.clone(), calls.fetch_add(1, Ordering::SeqCst) == 0);
            async move {
                if first {
                    // Its connection died, it says, and tries another one behind our back.
                    tokio::spawn(async move {
                        tokio::time::sleep(Duration::from_secs(1)).await;
                        let body = request.into_body().collect().await.map_err(io::Error::other)?.to_bytes();
                        wire.0.lock().unwrap().push(body);
                        Ok::<_, io::Error>(())
                    });
                    return Err(io::Error::from(io::ErrorKind::BrokenPipe));
                }
                wire.0.lock().unwrap().push(request.into_body().into_bytes());
                Ok(answer(200, r#"{"access_token":"A2","token_type":"Bearer","refresh_token":"R2"}"#))
            }
        })
    };
    let client = Client::try_with_transport(URL, "web", transport).unwrap();
    client.refresh_token_grant().refresh(r1()).await.unwrap();
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert_eq!(wire.sent(), 1);
}

/// A server that notes the refresh tokens that reach it.
struct Noting {
    url: String,
    seen: Arc<Mutex<Vec<String>>>,
    /// How many connections are open.
    open: watch::Receiver<usize>,
    http2: bool,
}

/// When a connection ends.
#[derive(Clone, Copy, PartialEq)]
enum Ends {
    WithTheClient,
    /// After its first answer, without a word on it before.
    Early,
}

impl Noting {
    async fn start(http2: bool, ends: Ends) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/token", listener.local_addr().unwrap());
        let seen = Arc::<Mutex<Vec<String>>>::default();
        let noted = Arc::clone(&seen);
        let (count, open) = watch::channel(0);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (noted, count) = (Arc::clone(&noted), count.clone());
                count.send_modify(|open| *open += 1);
                tokio::spawn(async move {
                    serve(TokioIo::new(stream), noted, http2, ends).await;
                    count.send_modify(|open| *open -= 1);
                });
            }
        });
        Self { url, seen, open, http2 }
    }

    fn client(&self) -> Client {
        let mut http = hyper_util::client::legacy::Client::builder(TokioExecutor::new());
        http.http2_only(self.http2);
        Client::try_with_transport(&self.url, "web", http.build_http::<RequestBody>()).unwrap()
    }

    /// All that reached it, once nothing can any more: connections are accepted in their order, so that one more is the
    /// last.
    async fn all(mut self) -> Vec<String> {
        let last = "the last".to_owned();
        let _ = refresh(&self.client().refresh_token_grant(), &last).await;
        assert!(self.seen.lock().unwrap().contains(&last));
        self.open.wait_for(|open| *open == 0).await.unwrap();
        std::mem::take(&mut self.seen.lock().unwrap())
    }
}

async fn serve(stream: TokioIo<TcpStream>, noted: Arc<Mutex<Vec<String>>>, http2: bool, ends: Ends) {
    let answered = Arc::<Notify>::default();
    let tell = Arc::clone(&answered);
    let service = hyper::service::service_fn(move |request: Request<Incoming>| {
        let (noted, tell) = (Arc::clone(&noted), Arc::clone(&tell));
        async move {
            let body = request.into_body().collect().await?.to_bytes();
            let pairs = form_urlencoded::parse(&body).into_owned();
            let tokens = pairs.filter(|(name, _)| name == "refresh_token").map(|(_, token)| token);
            noted.lock().unwrap().extend(tokens);
            tell.notify_one();
            let body = r#"{"access_token":"A2","token_type":"Bearer"}"#;
            Ok::<_, hyper::Error>(answer(200, body))
        }
    });
    let end = async {
        match ends {
            Ends::WithTheClient => pending().await,
            Ends::Early => answered.notified().await,
        }
    };
    if http2 {
        let builder = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
        let mut connection = std::pin::pin!(builder.serve_connection(stream, service));
        tokio::select! {
            _ = &mut connection => return,
            () = end => connection.as_mut().graceful_shutdown(),
        }
        let _ = connection.await;
    } else {
        let mut connection =
            std::pin::pin!(hyper::server::conn::http1::Builder::new().serve_connection(stream, service));
        tokio::select! {
            _ = &mut connection => return,
            () = end => tokio::task::yield_now().await,
        }
        let _ = tokio::time::timeout(Duration::from_micros(1), &mut connection).await;
    }
}

async fn refresh(grant: &RefreshTokenGrant, token: &str) -> Result<Token, RefreshError> {
    grant.refresh(RefreshContext::builder().refresh_token(token).build()).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn p18_what_reached_the_server_was_never_told_as_not_sent() {
    for http2 in [false, true] {
        let server = Noting::start(http2, Ends::WithTheClient).await;
        let client = server.client();
        let mut unsent = Vec::new();
        for round in 0..100 {
            // Limits about as long as it takes a request to leave.
            let limit = Duration::from_micros(20 * (round % 40));
            let grant = client.clone().timeout(limit).refresh_token_grant();
            let token = format!("R{round}");
            if refresh(&grant, &token).await.is_err_and(|error| error.is_transient()) {
                unsent.push(token);
            }
        }
        drop(client);
        let seen = server.all().await;
        let told_wrongly: Vec<_> = unsent.iter().filter(|token| seen.contains(token)).collect();
        assert!(told_wrongly.is_empty(), "{told_wrongly:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn p02_connections_that_die_present_no_refresh_token_twice() {
    for http2 in [false, true] {
        let server = Noting::start(http2, Ends::Early).await;
        let grant = server.client().refresh_token_grant();
        let mut told = Vec::new();
        for round in 0..100 {
            let token = format!("R{round}");
            let result = refresh(&grant, &token).await;
            told.push((token, result.map(drop)));
        }
        drop(grant);
        let seen = server.all().await;
        for (token, result) in told {
            let times = seen.iter().filter(|seen| **seen == token).count();
            assert!(times <= 1, "{token} {times} {result:?}");
            assert!(times == 0 || !result.is_err_and(|error| error.is_transient()), "{token}");
        }
    }
}
