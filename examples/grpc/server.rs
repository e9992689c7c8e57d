//! A greeter on loopback, behind an interceptor that requires a valid token.

use std::{net::SocketAddr, pin::Pin, time::Duration};

use tokio::{net::TcpListener, time::interval};
use tokio_stream::{Stream, StreamExt};
use tonic::{
    Request, Response, Status, Streaming,
    service::interceptor::InterceptedService,
    transport::{Server, server::TcpIncoming},
};

use crate::{
    BoxError,
    greeter::{
        Greeting, Name,
        greeter_server::{Greeter, GreeterServer},
    },
    tokens::Authority,
};

struct GreeterService;

/// The time between two greetings of a stream.
const PAUSE: Duration = Duration::from_millis(20);

/// Starts the server. It stops with the runtime.
pub(crate) async fn start(authority: Authority) -> Result<SocketAddr, BoxError> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    let interceptor = move |call: Request<()>| {
        let authorization = call.metadata().get("authorization").and_then(|value| value.to_str().ok());
        if authority.accepts(authorization) {
            Ok(call)
        } else {
            Err(Status::unauthenticated("invalid token"))
        }
    };
    let service = InterceptedService::new(GreeterServer::new(GreeterService), interceptor);
    let server = Server::builder().add_service(service).serve_with_incoming(TcpIncoming::from(listener));
    tokio::spawn(async move {
        if let Err(error) = server.await {
            eprintln!("the server failed: {error}");
        }
    });
    Ok(address)
}

// === impl GreeterService ===

#[tonic::async_trait]
impl Greeter for GreeterService {
    type GreetOftenStream = Pin<Box<dyn Stream<Item = Result<Greeting, Status>> + Send>>;
    type GreetEachStream = Pin<Box<dyn Stream<Item = Result<Greeting, Status>> + Send>>;

    async fn greet(&self, name: Request<Name>) -> Result<Response<Greeting>, Status> {
        Ok(Response::new(greeting(&name.get_ref().name)))
    }

    async fn greet_often(&self, name: Request<Name>) -> Result<Response<Self::GreetOftenStream>, Status> {
        let Name { name, times } = name.into_inner();
        let mut ticks = interval(PAUSE);
        let (sender, greetings) = tokio::sync::mpsc::channel(1);
        tokio::spawn(async move {
            for _ in 0..times {
                ticks.tick().await;
                if sender.send(Ok(greeting(&name))).await.is_err() {
                    // The client cancelled the call.
                    return;
                }
            }
        });
        let greetings = tokio_stream::wrappers::ReceiverStream::new(greetings);
        Ok(Response::new(Box::pin(greetings)))
    }

    async fn greet_all(&self, names: Request<Streaming<Name>>) -> Result<Response<Greeting>, Status> {
        let mut names = names.into_inner();
        let mut all = Vec::new();
        while let Some(name) = names.message().await? {
            all.push(name.name);
        }
        Ok(Response::new(greeting(&all.join(", "))))
    }

    async fn greet_each(
        &self,
        names: Request<Streaming<Name>>,
    ) -> Result<Response<Self::GreetEachStream>, Status> {
        let greetings = names.into_inner().map(|name| name.map(|name| greeting(&name.name)));
        Ok(Response::new(Box::pin(greetings)))
    }
}

fn greeting(name: &str) -> Greeting {
    Greeting { text: format!("Hello, {name}!") }
}
