//! hyper servers and clients on loopback, over HTTP/2.

use std::{convert::Infallible, future::Future, net::SocketAddr};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use hyper::{
    body::{Body, Incoming},
    server::conn::http2,
    service::service_fn,
};
use hyper_util::{
    client::legacy::{self, connect::HttpConnector},
    rt::{TokioExecutor, TokioIo},
};
use tokio::net::TcpListener;

use crate::BoxError;

pub(crate) type Client<B> = legacy::Client<HttpConnector, B>;

/// A client with one connection.
pub(crate) fn client<B>() -> Client<B>
where
    B: Body<Data: Send> + Send + Unpin,
{
    let mut connector = HttpConnector::new();
    connector.set_nodelay(true);
    legacy::Client::builder(TokioExecutor::new()).http2_only(true).build(connector)
}

/// Starts a server. It stops with the runtime.
pub(crate) async fn serve<F, Fut>(respond: F) -> Result<SocketAddr, BoxError>
where
    F: Fn(Request<Incoming>) -> Fut + Clone + Send + 'static,
    Fut: Future<Output = Response<Full<Bytes>>> + Send + 'static,
{
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            // Otherwise the kernel may delay small responses.
            let _ = stream.set_nodelay(true);
            let respond = respond.clone();
            let service = service_fn(move |request| {
                let response = respond(request);
                async { Ok::<_, Infallible>(response.await) }
            });
            let connection = http2::Builder::new(TokioExecutor::new());
            tokio::spawn(connection.serve_connection(TokioIo::new(stream), service));
        }
    });
    Ok(address)
}
