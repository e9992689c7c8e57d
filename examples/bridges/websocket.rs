//! A WebSocket that is connected again whenever it is closed, each time with a valid token.

use futures::StreamExt;
use http::{Uri, header};
use server::{BoxError, Server};
use tokio::net::TcpStream;
use tokio_tungstenite::{
    MaybeTlsStream, WebSocketStream, connect_async,
    tungstenite::{self, client::IntoClientRequest},
};
use tower_reauth::{AccessToken, AuthLayer, Session, rejection::Verdict};

/// Of connections, each of which the server closes.
const COUNT: usize = 5;

/// Connects with a token, and once more if the server rejects it.
async fn connect(
    session: &Session,
    layer: &AuthLayer,
    uri: &Uri,
) -> Result<WebSocketStream<MaybeTlsStream<TcpStream>>, BoxError> {
    if !layer.allows(uri)? {
        return Err("no token is sent to this server".into());
    }
    let handshake = async |token: AccessToken| {
        let mut request = uri.into_client_request()?;
        request.headers_mut().insert(header::AUTHORIZATION, token.header_value().clone());
        connect_async(request).await
    };
    let judge = |result: &Result<_, tungstenite::Error>| match result {
        Err(tungstenite::Error::Http(response)) => Verdict::of_status(response.status(), response.headers()),
        _ => Verdict::Accept,
    };
    let (socket, _) = session.send(handshake, judge).await??;
    Ok(socket)
}

#[tokio::main]
async fn main() -> Result<(), BoxError> {
    let server = Server::start().await?;
    let session = server.session("my-app")?;
    let layer = session.layer().restrict_to_origin(server.url("http", "").parse()?);
    let uri = server.url("ws", "/events").parse()?;

    // An open connection makes no calls: without this, the next one would wait for a refresh.
    tokio::spawn(session.keep_fresh());

    let mut messages = 0;
    for _ in 0..COUNT {
        // In a program: if this fails, wait before the next try.
        let mut socket = connect(&session, &layer, &uri).await?;
        while let Some(message) = socket.next().await {
            messages += usize::from(message?.is_text());
        }
    }
    println!("websocket: connections={COUNT} refreshes={} messages={messages}", server.refreshes());
    Ok(())
}
