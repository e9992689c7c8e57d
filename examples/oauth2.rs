//! Obtains a token from an OAuth 2.0 provider, and makes a call with it.
//!
//! ```sh
//! cargo run --features https-ring,oauth2 --example oauth2 -- \
//!     --token-url https://id.example.com/token --client-id my-client --client-secret my-secret \
//!     --call https://api.example.com/items
//! ```
//!
//! With `--refresh-token R` it uses the refresh token grant, otherwise it uses the client credentials grant.
#![forbid(unsafe_code)]
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "printing is the purpose of the example")]

use std::{env, process::ExitCode};

use bytes::Bytes;
use http::{Request, Uri};
use http_body_util::{BodyExt, Empty};
use tower::{ServiceBuilder, ServiceExt};
use tower_reauth::{
    Session,
    endpoint::EndpointError,
    event::{Event, EventKind},
    https::HttpsConnector,
    oauth2,
};

type BoxError = Box<dyn std::error::Error + Send + Sync>;

#[derive(Default)]
struct Options {
    token_url: String,
    client_id: String,
    client_secret: Option<String>,
    refresh_token: Option<String>,
    scopes: Vec<String>,
    call: Option<String>,
}

const USAGE: &str =
    "usage: oauth2 --token-url URL --client-id ID [--client-secret SECRET] [--refresh-token TOKEN]
              [--scope SCOPE]... [--call URL]";

#[tokio::main]
async fn main() -> ExitCode {
    let options = match Options::parse(env::args().skip(1)) {
        Ok(options) => options,
        Err(error) => {
            eprintln!("error: {error}\n{USAGE}");
            return ExitCode::from(2);
        }
    };
    match run(options).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            explain(&*error);
            ExitCode::FAILURE
        }
    }
}

async fn run(options: Options) -> Result<(), BoxError> {
    let mut client = oauth2::Client::try_new(options.token_url, options.client_id)?.scopes(options.scopes);
    if let Some(secret) = options.client_secret {
        client = client.client_secret_basic(secret);
    }
    let session = match options.refresh_token {
        Some(refresh_token) => Session::builder(client.refresh_token_grant()).refresh_token(refresh_token),
        None => Session::builder(client.client_credentials_grant()),
    };
    let session = session.on_event(log).build();

    let token = session.token().await?;
    println!("token: generation {}, {} characters", token.generation(), token.secret().len());
    if let Some(url) = options.call {
        call(&session, url.parse()?).await?;
    }
    Ok(())
}

/// Makes a call through the layer.
async fn call(session: &Session, url: Uri) -> Result<(), BoxError> {
    let origin = format!(
        "{}://{}",
        url.scheme_str().unwrap_or("https"),
        url.authority().ok_or("--call requires an absolute URL")?
    );
    let client = ServiceBuilder::new()
        .layer(session.layer().restrict_to_origin(origin.parse()?))
        .service(HttpsConnector::try_new()?.into_client());
    let response = client.oneshot(Request::get(url).body(Empty::<Bytes>::new())?).await?;
    let status = response.status();
    let body = response.into_body().collect().await?.to_bytes();
    println!("call: {status}, {} bytes", body.len());
    Ok(())
}

fn log(event: &Event) {
    match &event.kind {
        EventKind::Refreshed { elapsed, .. } => println!("refreshed after {elapsed:.0?}"),
        EventKind::Warning { warning, .. } => println!("warning: {warning}"),
        _ => {}
    }
}

fn explain(error: &(dyn std::error::Error + 'static)) {
    let mut next = Some(error);
    while let Some(error) = next {
        eprintln!("{error}");
        next = error.source();
    }
    if let Some(code) = EndpointError::find(error).and_then(EndpointError::code) {
        eprintln!("error code of the provider: {code}");
    }
}

// === impl Options ===

impl Options {
    fn parse(mut args: impl Iterator<Item = String>) -> Result<Self, String> {
        let mut options = Self::default();
        while let Some(name) = args.next() {
            let value = args.next().ok_or(format!("{name} requires a value"))?;
            match name.as_str() {
                "--token-url" => options.token_url = value,
                "--client-id" => options.client_id = value,
                "--client-secret" => options.client_secret = Some(value),
                "--refresh-token" => options.refresh_token = Some(value),
                "--scope" => options.scopes.push(value),
                "--call" => options.call = Some(value),
                _ => return Err(format!("unknown option {name}")),
            }
        }
        if options.token_url.is_empty() || options.client_id.is_empty() {
            return Err("--token-url and --client-id are required".into());
        }
        Ok(options)
    }
}
