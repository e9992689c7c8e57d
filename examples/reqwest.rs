//! Calls through a reqwest client, whose token is rejected by the server.
//!
//! ```sh
//! cargo run --features reqwest,oauth2 --example reqwest
//! ```
//!
//! It starts a server on loopback that accepts only refreshed tokens.
#![forbid(unsafe_code)]
#![allow(
    clippy::print_stdout,
    clippy::disallowed_methods,
    reason = "printing is the purpose of the example, and it runs on tokio"
)]

use std::{
    convert::Infallible,
    error::Error,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use http::{Request, Response, StatusCode, header};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use reqwest::Client;
use tokio::{net::TcpListener, task::JoinSet};
use tower_reauth::{
    Session, Token, oauth2,
    reqwest::{redirect_policy, token_transport},
};

type BoxError = Box<dyn Error + Send + Sync>;

const CALLERS: usize = 100;

#[derive(Default)]
struct Counts {
    refreshes: AtomicUsize,
    rejected: AtomicUsize,
}

#[tokio::main]
async fn main() -> Result<(), BoxError> {
    let counts = Arc::<Counts>::default();
    let address = start_server(Arc::clone(&counts)).await?;
    let url = format!("http://{address}/items");

    let transport = token_transport(Client::builder())?;
    let provider =
        oauth2::Client::try_with_transport(format!("http://{address}/token"), "my-app", transport)?;
    let stored = Token::builder("A1").refresh_token("R1").build()?;
    let session = Session::builder(provider.refresh_token_grant()).token(stored).build();

    let client = Client::builder().redirect(redirect_policy()).build()?;
    let auth =
        session.layer().restrict_to_origin(format!("http://{address}").parse()?).reqwest(client.clone());

    let mut calls = JoinSet::new();
    for _ in 0..CALLERS {
        let (auth, request) = (auth.clone(), client.get(&url));
        calls.spawn(async move { auth.send(request).await?.error_for_status().map_err(BoxError::from) });
    }
    let ok = calls.join_all().await.iter().filter(|result| result.is_ok()).count();
    println!(
        "reqwest: callers={CALLERS} rejected={} refreshes={} ok={ok} failed={}",
        counts.rejected.load(Ordering::Relaxed),
        counts.refreshes.load(Ordering::Relaxed),
        CALLERS - ok,
    );
    Ok(())
}

async fn start_server(counts: Arc<Counts>) -> Result<SocketAddr, BoxError> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let counts = Arc::clone(&counts);
            let service = service_fn(move |request| {
                let response = respond(&request, &counts);
                async move { Ok::<_, Infallible>(response) }
            });
            tokio::spawn(http1::Builder::new().serve_connection(TokioIo::new(stream), service));
        }
    });
    Ok(address)
}

fn respond(request: &Request<Incoming>, counts: &Counts) -> Response<String> {
    if request.uri().path() == "/token" {
        let refreshes = counts.refreshes.fetch_add(1, Ordering::Relaxed) + 1;
        let token = format!("refreshed-{refreshes}");
        return Response::new(format!(
            r#"{{"access_token":"{token}","token_type":"Bearer","expires_in":600}}"#
        ));
    }
    let token = request.headers().get(header::AUTHORIZATION);
    let is_accepted = token.is_some_and(|token| token.as_bytes().starts_with(b"Bearer refreshed-"));
    let mut response = Response::new("items".to_owned());
    if !is_accepted {
        counts.rejected.fetch_add(1, Ordering::Relaxed);
        *response.status_mut() = StatusCode::UNAUTHORIZED;
    }
    response
}
