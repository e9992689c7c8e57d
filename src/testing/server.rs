//! [`LoopbackServer`].

use std::{fmt, io, net::SocketAddr, time::Duration};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use tokio::{net::TcpListener, task::JoinSet};
use tower_service::Service;

use super::body::ResponseBody;
use crate::{
    error::BoxError,
    rt::{Clock, SystemClock},
};

/// An HTTP/1 server for an [`Issuer`](super::Issuer) or a [`Resource`](super::Resource), on a free loopback
/// port. Dropping it stops the server.
#[must_use = "the server stops when this is dropped"]
pub struct LoopbackServer {
    address: SocketAddr,
    _accepting: JoinSet<()>,
}

// === impl LoopbackServer ===

impl LoopbackServer {
    pub(super) async fn start<S>(service: S) -> io::Result<Self>
    where
        S: Service<Request<Full<Bytes>>, Response = Response<ResponseBody>, Error = BoxError>,
        S: Clone + Send + 'static,
        S::Future: Send,
    {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        let address = listener.local_addr()?;
        let mut accepting = JoinSet::new();
        accepting.spawn(accept(listener, service));
        Ok(Self { address, _accepting: accepting })
    }

    /// The server's URL, without a path: `http://127.0.0.1:34567`.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }
}

impl fmt::Debug for LoopbackServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LoopbackServer").field("url", &self.url()).finish()
    }
}

/// Accepts connections. Dropping the future closes all of them.
async fn accept<S>(listener: TcpListener, service: S)
where
    S: Service<Request<Full<Bytes>>, Response = Response<ResponseBody>, Error = BoxError>,
    S: Clone + Send + 'static,
    S::Future: Send,
{
    let mut connections = JoinSet::new();
    loop {
        let Ok((stream, _)) = listener.accept().await else {
            // The client may have disconnected, or the process may have too many open files.
            if let Ok(pause) = SystemClock.sleep(Duration::from_millis(10)) {
                pause.await;
            }
            continue;
        };
        while connections.try_join_next().is_some() {}
        let service = service.clone();
        connections.spawn(async move {
            let service = service_fn(move |request| respond(service.clone(), request));
            // The real clock's date would be wrong beside a `TestClock`.
            let mut server = http1::Builder::new();
            // An error closes the connection, as a lost response should.
            let _ = server.auto_date_header(false).serve_connection(TokioIo::new(stream), service).await;
        });
    }
}

async fn respond<S>(mut service: S, request: Request<Incoming>) -> Result<Response<ResponseBody>, BoxError>
where
    S: Service<Request<Full<Bytes>>, Response = Response<ResponseBody>, Error = BoxError>,
{
    let (head, body) = request.into_parts();
    // Read to its end, or hyper closes the connection while the client sends its next request over it.
    let body = body.collect().await?.to_bytes();
    // An issuer and a resource are always ready.
    service.call(Request::from_parts(head, Full::new(body))).await
}
