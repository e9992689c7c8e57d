//! Runs one client through expiries until it is signed out.

use std::{fmt, sync::Arc, time::Duration};

use futures::FutureExt;
use tokio::task::JoinHandle;

use crate::{
    client::{Client, accepts},
    servers::Server,
};

pub(crate) struct Survival {
    client: &'static str,
    expiries: u32,
    pub(crate) survived: u32,
    /// The expiry after which the server no longer accepted the client's token.
    pub(crate) signed_out_at: Option<u32>,
}

const CALLERS: u32 = 10;
/// How long each token is used, by the client's clock. The layer would wait for the backoff if a token were
/// rejected within its trial, which takes half a minute.
const USED_FOR: Duration = Duration::from_secs(60);

/// Runs one client until it is signed out or has survived all expiries.
pub(crate) async fn run<C: Client>(server: &Arc<Server>, expiries: u32) -> Survival {
    println!("\n{}: {CALLERS} calls at each of {expiries} expiries", C::NAME);
    let client = Arc::new(C::new(Arc::clone(server), server.sign_in().await));
    let mut survival = Survival { client: C::NAME, expiries, survived: 0, signed_out_at: None };
    for expiry in 1..=expiries {
        if let Some(access) = client.access().await {
            client.advance_clock(USED_FOR);
            server.expire(&access).await;
        }
        make_calls(server, &client, expiry).await;
        let is_signed_in = match client.access().await {
            Some(access) => accepts(server, &access).await,
            None => false,
        };
        if !is_signed_in {
            println!("{}: SIGNED OUT at expiry {expiry}", C::NAME);
            survival.signed_out_at = Some(expiry);
            break;
        }
        survival.survived = expiry;
        if expiry % expiries.div_ceil(10) == 0 {
            println!("{}: still signed in after {expiry} of {expiries} expiries", C::NAME);
        }
    }
    survival
}

/// Makes all calls, and cancels a third of them while they wait: each call is cancelled at one expiry in
/// three.
///
/// All steps are events, so the result doesn't depend on the speed of client and server.
async fn make_calls<C: Client>(server: &Server, client: &Arc<C>, expiry: u32) {
    let (granted, _) = server.refreshes().await;
    server.hold_next().await;
    // The first call refreshes the token. The others begin before it gets the response.
    let mut calls = vec![begin(client).await];
    server.granted(granted + 1).await;
    for _ in 1..CALLERS {
        calls.push(begin(client).await);
    }
    let mut remaining = Vec::new();
    for (call, number) in calls.into_iter().zip(expiry..) {
        if number % 3 == 0 {
            call.abort();
            // Returns once the call has been dropped.
            let _ = call.await;
        } else {
            remaining.push(call);
        }
    }
    server.release().await;
    for call in remaining {
        call.await.expect("a call doesn't panic");
    }
}

/// Starts a call. When this returns, the call has looked at the client's token.
async fn begin<C: Client>(client: &Arc<C>) -> JoinHandle<bool> {
    let client = Arc::clone(client);
    let mut call = Box::pin(async move { client.call().await }.fuse());
    let _ = futures::poll!(&mut call);
    tokio::spawn(call)
}

// === impl Survival ===

impl fmt::Display for Survival {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { client, expiries, survived, signed_out_at } = self;
        write!(f, "survive: client={client} expiries={expiries} survived={survived} signed_out_at=")?;
        match signed_out_at {
            Some(expiry) => write!(f, "{expiry}"),
            None => f.write_str("never"),
        }
    }
}
