//! A greeter that checks tokens and records its calls.

use std::{
    collections::HashSet,
    convert::Infallible,
    sync::{Arc, Mutex},
    task::{Context, Poll},
};

use futures::{
    StreamExt,
    future::{BoxFuture, Either, ready},
    stream::{self, BoxStream},
};
use http::header::AUTHORIZATION;
use http_body_util::StreamBody;
use hyper::body::Frame;
use tokio::{net::TcpListener, sync::Barrier, task::JoinHandle};
use tonic::{
    Request, Response, Status, Streaming,
    body::Body,
    metadata::MetadataMap,
    service::interceptor::InterceptedService,
    transport::{Channel, Endpoint, Server as Transport, server::TcpIncoming},
};
use tower::{Service, layer::layer_fn};

use crate::greeter::{
    Greeting, Name,
    greeter_server::{Greeter, GreeterServer},
};

/// A running server.
pub(crate) struct Server {
    pub(crate) state: State,
    pub(crate) url: String,
    task: JoinHandle<()>,
}

/// The tokens that it accepts, and its calls so far.
#[derive(Clone, Default)]
pub(crate) struct State {
    shared: Arc<Mutex<Inner>>,
}

#[derive(Default)]
struct Inner {
    accepted: HashSet<String>,
    calls: Vec<Call>,
    /// The token of a client stream is checked after so many messages, instead of at the start.
    check_after: Option<usize>,
    /// Where rejected calls wait for one another before the server responds.
    together: Option<Arc<Barrier>>,
}

/// A call as the server saw it.
#[derive(Clone)]
pub(crate) struct Call {
    pub(crate) token: Option<String>,
    pub(crate) metadata: MetadataMap,
}

/// What checks the token.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum CheckedBy {
    /// An interceptor in the server. It rejects with status 16 before the call starts.
    Interceptor,
    /// A proxy in front of it. It rejects with HTTP 401.
    Proxy,
    /// A proxy that has sent its headers by then. It rejects with status 16 in trailers, without a message.
    LateProxy,
}

struct GreeterService {
    state: State,
}

#[derive(Clone)]
struct Proxy<S> {
    inner: S,
    state: State,
    checked_by: CheckedBy,
}

// === impl Server ===

impl Server {
    pub(crate) async fn start(checked_by: CheckedBy) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let state = State::default();
        let (proxy_state, interceptor_state) = (state.clone(), state.clone());
        let interceptor = move |request: Request<()>| match checked_by {
            CheckedBy::Interceptor => interceptor_state.check_at_start(request),
            CheckedBy::Proxy | CheckedBy::LateProxy => Ok(request),
        };
        let greeter = GreeterServer::new(GreeterService { state: state.clone() });
        let serving = Transport::builder()
            .layer(layer_fn(move |inner| Proxy { inner, state: proxy_state.clone(), checked_by }))
            .add_service(InterceptedService::new(greeter, interceptor))
            .serve_with_incoming(TcpIncoming::from(listener));
        let task = tokio::spawn(async move { serving.await.unwrap() });
        Self { state, url, task }
    }

    pub(crate) async fn channel(&self) -> Channel {
        Endpoint::from_shared(self.url.clone()).unwrap().connect().await.unwrap()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

// === impl State ===

impl State {
    pub(crate) fn accept(&self, token: &str) {
        self.shared.lock().unwrap().accepted.insert(token.to_owned());
    }

    pub(crate) fn revoke(&self, token: &str) {
        self.shared.lock().unwrap().accepted.remove(token);
    }

    /// Checks the token of a client stream after so many messages.
    pub(crate) fn check_after(&self, messages: usize) {
        self.shared.lock().unwrap().check_after = Some(messages);
    }

    /// Responds to rejected calls once there are so many.
    pub(crate) fn respond_to_rejected_together(&self, calls: usize) {
        self.shared.lock().unwrap().together = Some(Arc::new(Barrier::new(calls)));
    }

    pub(crate) fn calls(&self) -> Vec<Call> {
        self.shared.lock().unwrap().calls.clone()
    }

    /// The tokens of all calls, in order; `-` for none.
    pub(crate) fn tokens(&self) -> Vec<String> {
        self.calls().into_iter().map(|call| call.token.unwrap_or_else(|| "-".to_owned())).collect()
    }

    fn check_at_start(&self, request: Request<()>) -> Result<Request<()>, Status> {
        self.record(request.metadata());
        if self.shared.lock().unwrap().check_after.is_none() {
            self.check(request.metadata())?;
        }
        Ok(request)
    }

    fn record(&self, metadata: &MetadataMap) {
        let call = Call { token: token_of(metadata), metadata: metadata.clone() };
        self.shared.lock().unwrap().calls.push(call);
    }

    fn check(&self, metadata: &MetadataMap) -> Result<(), Status> {
        let token = token_of(metadata).unwrap_or_default();
        let accepted = self.shared.lock().unwrap().accepted.contains(&token);
        if accepted { Ok(()) } else { Err(Status::unauthenticated("this token isn't accepted")) }
    }

    /// Reads a client stream, and checks its token on the way if it was deadlines to.
    async fn read(&self, request: Request<Streaming<Name>>) -> Result<Vec<String>, Status> {
        let check_after = self.shared.lock().unwrap().check_after;
        let (metadata, _, mut names) = request.into_parts();
        let mut read = Vec::new();
        loop {
            if check_after == Some(read.len()) {
                self.check(&metadata)?;
            }
            match names.message().await? {
                Some(name) => read.push(name.name),
                None => return Ok(read),
            }
        }
    }
}

fn token_of(metadata: &MetadataMap) -> Option<String> {
    let value = metadata.get(AUTHORIZATION.as_str())?.to_str().ok()?;
    Some(value.strip_prefix("Bearer ").unwrap_or(value).to_owned())
}

// === impl GreeterService ===

fn greeting(name: &str) -> Greeting {
    Greeting { text: format!("hello {name}") }
}

#[tonic::async_trait]
impl Greeter for GreeterService {
    type GreetOftenStream = BoxStream<'static, Result<Greeting, Status>>;
    type GreetEachStream = BoxStream<'static, Result<Greeting, Status>>;

    /// "fail" fails before the response, for another reason than its token.
    async fn greet(&self, request: Request<Name>) -> Result<Response<Greeting>, Status> {
        match request.get_ref().name.as_str() {
            "fail" => Err(Status::permission_denied("not you")),
            name => Ok(Response::new(greeting(name))),
        }
    }

    /// "cut" has its token rejected in trailers, after the greetings. "fail" fails there for another reason.
    async fn greet_often(&self, request: Request<Name>) -> Result<Response<Self::GreetOftenStream>, Status> {
        let Name { name, times } = request.into_inner();
        let end = match name.as_str() {
            "cut" => Some(Err(Status::unauthenticated("revoked meanwhile"))),
            "fail" => Some(Err(Status::permission_denied("not you"))),
            _ => None,
        };
        let times = if name == "fail" { 0 } else { times };
        let greetings = (0..times).map(move |_| Ok(greeting(&name)));
        Ok(Response::new(stream::iter(greetings.chain(end)).boxed()))
    }

    async fn greet_all(&self, request: Request<Streaming<Name>>) -> Result<Response<Greeting>, Status> {
        let names = self.state.read(request).await?;
        Ok(Response::new(greeting(&names.join(", "))))
    }

    async fn greet_each(
        &self,
        request: Request<Streaming<Name>>,
    ) -> Result<Response<Self::GreetEachStream>, Status> {
        if self.state.shared.lock().unwrap().check_after.is_some() {
            let names = self.state.read(request).await?;
            let greetings = names.into_iter().map(|name| Ok(greeting(&name)));
            return Ok(Response::new(stream::iter(greetings).boxed()));
        }
        let greetings = request.into_inner().map(|name| name.map(|name| greeting(&name.name)));
        Ok(Response::new(greetings.boxed()))
    }
}

// === impl Proxy ===

fn unauthorized() -> http::Response<Body> {
    http::Response::builder()
        .status(http::StatusCode::UNAUTHORIZED)
        .header("www-authenticate", r#"Bearer error="invalid_token""#)
        .body(Body::empty())
        .unwrap()
}

fn rejected_in_trailers() -> http::Response<Body> {
    let trailers = [("grpc-status", "16"), ("grpc-message", "too late"), ("x-reason", "revoked")];
    let trailers = trailers.map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap()));
    let end = Ok::<_, Status>(Frame::trailers(trailers.into_iter().collect()));
    http::Response::builder()
        .header("content-type", "application/grpc")
        .header("x-served-by", "proxy")
        .body(Body::new(StreamBody::new(stream::iter([end]))))
        .unwrap()
}

impl<S> Service<http::Request<Body>> for Proxy<S>
where
    S: Service<http::Request<Body>, Response = http::Response<Body>, Error = Infallible>,
    S::Future: Send + 'static,
{
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<http::Response<Body>, Infallible>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let metadata = MetadataMap::from_headers(request.headers().clone());
        let rejected = self.state.check(&metadata).is_err();
        let together = self.state.shared.lock().unwrap().together.clone().filter(|_| rejected);
        if self.checked_by != CheckedBy::Interceptor {
            self.state.record(&metadata);
        }
        let response = match self.checked_by {
            CheckedBy::Proxy if rejected => Either::Left(ready(Ok(unauthorized()))),
            CheckedBy::LateProxy if rejected => Either::Left(ready(Ok(rejected_in_trailers()))),
            _ => Either::Right(self.inner.call(request)),
        };
        Box::pin(async {
            if let Some(together) = together {
                together.wait().await;
            }
            response.await
        })
    }
}
