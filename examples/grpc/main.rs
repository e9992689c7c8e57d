//! All four kinds of tonic calls, across an expiry and a revocation.
//!
//! ```sh
//! cargo run --example grpc --features grpc
//! ```
//!
//! The server's interceptor (`server.rs`) requires a valid token. The authority (`tokens.rs`) issues tokens
//! with a lifetime of 1.5 s. The client is a generated one on a channel with the layer; its code in
//! `greeter.rs` is generated from `greeter.proto`.
#![forbid(unsafe_code)]
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "printing is the purpose of the example")]
#![allow(
    clippy::disallowed_methods,
    reason = "the rule is for the crate: a program uses the system's clock and tokio's tasks"
)]

mod calls;
mod greeter;
mod server;
mod tokens;

use std::{process::ExitCode, time::Instant};

use tonic::{Status, transport::Endpoint};
use tower_reauth::Session;

use crate::{
    calls::{Client, Totals, each_kind},
    greeter::{Name, greeter_client::GreeterClient},
    tokens::Authority,
};

type BoxError = Box<dyn std::error::Error + Send + Sync>;

#[tokio::main]
async fn main() -> ExitCode {
    match run().await {
        Ok(0) => ExitCode::SUCCESS,
        Ok(_) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Returns the number of calls that failed.
async fn run() -> Result<u32, BoxError> {
    let authority = Authority::default();
    let address = server::start(authority.clone()).await?;
    let channel = Endpoint::from_shared(format!("http://{address}"))?.connect().await?;

    let session = Session::builder(authority.clone())
        .token(authority.sign_in()?)
        // Otherwise the token would be refreshed before it expires.
        .refresh_early(false)
        .build();
    let client: Client = GreeterClient::new(session.layer().grpc(channel));
    let mut totals = Totals::default();

    println!("calls with a fresh token");
    each_kind(&client, &mut totals).await;

    println!("a stream that outlives its token");
    let outlived = outlive_token(client.clone(), &authority).await;
    totals.add("server stream", outlived);

    println!("calls after the expiry: all wait for one refresh");
    each_kind(&client, &mut totals).await;

    println!("a stream during which the token is revoked");
    let revoked = revoke_mid_stream(client.clone(), &authority).await;
    totals.add("server stream", revoked);

    println!("calls with the revoked token: rejected, and retried after one refresh");
    each_kind(&client, &mut totals).await;

    let Totals { calls, failed } = totals;
    let (refreshes, rejected) = (authority.refreshes(), authority.rejected());
    println!("\ngrpc: calls={calls} refreshes={refreshes} rejected={rejected} failed={failed}");
    Ok(failed)
}

/// The server checks a token when a call begins, so a stream isn't interrupted by the expiry.
async fn outlive_token(mut client: Client, authority: &Authority) -> Result<String, Status> {
    let request = Name { name: "Fay".to_owned(), times: u32::MAX };
    let mut greetings = client.greet_often(request).await?.into_inner();
    let mut count = 0;
    while authority.expires_at().is_some_and(|expires_at| Instant::now() < expires_at) {
        greetings.message().await?;
        count += 1;
    }
    Ok(format!("{count} greetings until the token expired"))
}

/// Revokes the token after it has been in use for a while: if a new token is rejected at once, the refresh
/// counts as ineffective, and the next one has to wait for the backoff.
async fn revoke_mid_stream(mut client: Client, authority: &Authority) -> Result<String, Status> {
    let request = Name { name: "Gus".to_owned(), times: 20 };
    let mut greetings = client.greet_often(request).await?.into_inner();
    let mut count = 0;
    while greetings.message().await?.is_some() {
        count += 1;
        if count == 15 {
            authority.revoke();
        }
    }
    Ok(format!("{count} greetings; the token was revoked after 15"))
}
