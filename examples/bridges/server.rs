//! A loopback server for the examples: an API that rejects the first token, and its token endpoint.

use std::{
    collections::HashMap,
    net::{Ipv4Addr, SocketAddr},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
};

use axum::{
    Router,
    body::{Body, to_bytes},
    extract::{Path, Request, State},
    middleware::{Next, from_fn},
    response::{IntoResponse, Response},
    routing::{get, post, put},
    serve,
};
use bytes::Bytes;
use futures::SinkExt;
use http::{HeaderName, HeaderValue, StatusCode, header};
use hyper::upgrade;
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::{TokioExecutor, TokioIo},
};
use tokio::net::TcpListener;
use tokio_tungstenite::{
    WebSocketStream,
    tungstenite::{Message, handshake::derive_accept_key, protocol::Role},
};
use tower_reauth::{Session, Token, oauth2};

/// The error of an example.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

type Objects = Arc<Mutex<HashMap<String, Bytes>>>;

/// The client of Google Cloud Storage needs them.
const OBJECT_HEADERS: [(HeaderName, &str); 2] =
    [(header::ETAG, r#""1""#), (header::LAST_MODIFIED, "Thu, 01 Jan 2026 00:00:00 GMT")];

/// A running server.
pub struct Server {
    address: SocketAddr,
    refreshes: Arc<AtomicUsize>,
}

/// A client without TLS, for loopback only.
pub type HttpClient<B> = Client<HttpConnector, B>;

/// Creates a client.
pub fn http_client<B>() -> HttpClient<B>
where
    B: hyper::body::Body + Send,
    B::Data: Send,
{
    Client::builder(TokioExecutor::new()).build_http()
}

/// Serves a router on loopback.
pub async fn spawn(router: Router) -> std::io::Result<SocketAddr> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
    let address = listener.local_addr()?;
    tokio::spawn(async move { serve(listener, router).await });
    Ok(address)
}

// === impl Server ===

impl Server {
    pub async fn start() -> std::io::Result<Self> {
        let refreshes = Arc::<AtomicUsize>::default();
        let api = Router::new()
            .route("/echo", post(echo))
            .route("/events", get(events))
            .route("/objects/{key}", put(put_object).get(get_object))
            .with_state(Objects::default())
            .route("/api/v1/namespaces/default/configmaps", post(echo))
            .layer(from_fn(check_token));
        let token = Router::new().route("/token", post(refresh)).with_state(Arc::clone(&refreshes));
        Ok(Self { address: spawn(api.merge(token)).await?, refreshes })
    }

    /// The URL of a path; with scheme `http` or `ws`.
    pub fn url(&self, scheme: &str, path: &str) -> String {
        format!("{scheme}://{}{path}", self.address)
    }

    /// A session with a token that the server rejects.
    pub fn session(&self, client_id: &str) -> Result<Session, BoxError> {
        let client =
            oauth2::Client::try_with_transport(self.url("http", "/token"), client_id, http_client())?;
        let stored = Token::builder("stored").refresh_token("R1").build()?;
        Ok(Session::builder(client.refresh_token_grant()).token(stored).build())
    }

    /// How often a token was refreshed.
    pub fn refreshes(&self) -> usize {
        self.refreshes.load(Ordering::Relaxed)
    }
}

/// Its tokens are `refreshed-1-my-app`: a number, and the client.
async fn refresh(State(refreshes): State<Arc<AtomicUsize>>, form: String) -> impl IntoResponse {
    let number = refreshes.fetch_add(1, Ordering::Relaxed) + 1;
    let client_id = form_urlencoded::parse(form.as_bytes()).find(|(name, _)| name == "client_id");
    let client_id = client_id.map(|(_, value)| value.into_owned()).unwrap_or_default();
    let token = format!("refreshed-{number}-{client_id}");
    let body = format!(r#"{{"access_token":"{token}","token_type":"Bearer","expires_in":600}}"#);
    ([(header::CONTENT_TYPE, "application/json")], body)
}

/// Adds the client that the token belongs to: header `from`.
async fn check_token(request: Request, next: Next) -> Response {
    let token = request.headers().get(header::AUTHORIZATION).and_then(|token| token.to_str().ok());
    let token = token.and_then(|token| token.strip_prefix("Bearer refreshed-"));
    let Some((_, client_id)) = token.and_then(|token| token.split_once('-')) else {
        // Read first: if an HTTP/1 connection is closed with unread data, the client may miss the response.
        let _ = to_bytes(request.into_body(), usize::MAX).await;
        return StatusCode::UNAUTHORIZED.into_response();
    };
    let client_id = HeaderValue::from_str(client_id);
    let mut response = next.run(request).await;
    if let Ok(client_id) = client_id {
        response.headers_mut().insert(header::FROM, client_id);
    }
    response
}

async fn echo(body: Body) -> Response {
    Response::new(body)
}

async fn put_object(
    State(objects): State<Objects>,
    Path(key): Path<String>,
    object: Bytes,
) -> impl IntoResponse {
    objects.lock().unwrap_or_else(PoisonError::into_inner).insert(key, object);
    OBJECT_HEADERS
}

async fn get_object(
    State(objects): State<Objects>,
    Path(key): Path<String>,
) -> Result<impl IntoResponse, StatusCode> {
    let objects = objects.lock().unwrap_or_else(PoisonError::into_inner);
    let object = objects.get(&key).cloned().ok_or(StatusCode::NOT_FOUND)?;
    Ok((OBJECT_HEADERS, object))
}

/// A WebSocket that is closed after one message.
async fn events(mut request: Request) -> Result<impl IntoResponse, StatusCode> {
    let key = request.headers().get(header::SEC_WEBSOCKET_KEY).ok_or(StatusCode::BAD_REQUEST)?;
    let accept = derive_accept_key(key.as_bytes());
    let upgrade = upgrade::on(&mut request);
    tokio::spawn(async move {
        let stream = TokioIo::new(upgrade.await?);
        let mut socket = WebSocketStream::from_raw_socket(stream, Role::Server, None).await;
        socket.send(Message::text("event")).await?;
        socket.close(None).await?;
        Ok::<(), BoxError>(())
    });
    let headers = [
        (header::CONNECTION, "Upgrade".to_owned()),
        (header::UPGRADE, "websocket".to_owned()),
        (header::SEC_WEBSOCKET_ACCEPT, accept),
    ];
    Ok((StatusCode::SWITCHING_PROTOCOLS, headers))
}
