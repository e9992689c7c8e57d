//! tonic: calls of all four kinds go on across an expiry and a revocation.
//!
//! ```sh
//! cargo run --example grpc --features grpc
//! ```
//!
//! The server's interceptor (`server.rs`) wants a current token of an authority (`tokens.rs`), whose tokens live for
//! a second and a half. The client is a generated one over a channel with the layer. The client's code in
//! `greeter.rs` was generated once, of `greeter.proto`.
#![forbid(unsafe_code)]
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "to print is what it is for")]
#![allow(
    clippy::disallowed_methods,
    reason = "a rule for the crate's sources: a program has the system's clock and tokio's tasks"
)]

mod calls;
mod greeter;
mod server;
mod tokens;

use std::{process::ExitCode, time::Instant};

use tonic::{Status, transport::Endpoint};
use tower::ServiceBuilder;
use tower_reauth::{AuthLayer, Session};

use crate::{
    calls::{Client, Tally, each_kind},
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

/// How many calls failed.
async fn run() -> Result<u32, BoxError> {
    let authority = Authority::default();
    let address = server::start(authority.clone()).await?;
    let channel = Endpoint::from_shared(format!("http://{address}"))?.connect().await?;

    let session = Session::builder(authority.clone())
        .token(authority.sign_in()?)
        // So that calls meet the expiry, and not the refresh that comes before it.
        .refresh_early(false)
        .build();
    let layer = AuthLayer::from_session(session.clone()).for_grpc();
    let client: Client = GreeterClient::new(ServiceBuilder::new().layer(layer).service(channel));
    let mut tally = Tally::default();

    println!("a fresh token");
    each_kind(&client, &mut tally).await;

    println!("a stream that outlives its token");
    let outlived = outlive(client.clone(), &authority).await;
    tally.note("server stream", outlived);

    println!("calls after the expiry: they wait for one refresh");
    each_kind(&client, &mut tally).await;

    println!("a stream in whose middle the token is revoked");
    let revoked = revoke_in_the_middle(client.clone(), &authority).await;
    tally.note("server stream", revoked);

    println!("calls with the revoked token: refused, and sent again after one refresh");
    each_kind(&client, &mut tally).await;

    let Tally { calls, failed } = tally;
    let (refreshes, refused) = (authority.refreshes(), authority.refused());
    println!("\ngrpc: calls={calls} refreshes={refreshes} refused={refused} failed={failed}");
    Ok(failed)
}

/// The server looks at a token when a call begins: what has begun goes on.
async fn outlive(mut client: Client, authority: &Authority) -> Result<String, Status> {
    let request = Name { name: "Fay".to_owned(), times: u32::MAX };
    let mut greetings = client.greet_often(request).await?.into_inner();
    let mut count = 0;
    while authority.end().is_some_and(|end| Instant::now() < end) {
        greetings.message().await?;
        count += 1;
    }
    Ok(format!("{count} greetings until the token ended"))
}

/// The token has been in use for a while by then: one that is refused as soon as it is there counts as useless, and
/// the next refresh has to wait.
async fn revoke_in_the_middle(mut client: Client, authority: &Authority) -> Result<String, Status> {
    let request = Name { name: "Gus".to_owned(), times: 20 };
    let mut greetings = client.greet_often(request).await?.into_inner();
    let mut count = 0;
    while greetings.message().await?.is_some() {
        count += 1;
        if count == 15 {
            authority.revoke();
        }
    }
    Ok(format!("{count} greetings, the token was revoked after 15"))
}
