//! Runs one client through expiries until it is signed out.

use std::{fmt, sync::Arc, time::Duration};

use tokio::{
    task::JoinSet,
    time::{sleep, timeout},
};

use crate::{
    client::{Client, accepts},
    servers::{Kind, Server},
};

pub(crate) struct Survival {
    client: &'static str,
    expiries: u32,
    pub(crate) survived: u32,
    /// The expiry after which the server no longer accepted the client's token.
    pub(crate) signed_out_at: Option<u32>,
}

const CALLERS: u64 = 10;
/// The server delays its response to a refresh, as a network would. Otherwise no caller could be cancelled in
/// the meantime.
pub(crate) const RESPONSE_DELAY_MS: u64 = 20;
/// The latest time at which a call is cancelled.
const MAX_CANCEL_MS: u64 = 2 * RESPONSE_DELAY_MS;
/// The access tokens' lifetime in seconds.
pub(crate) const LIFETIME: &str = "2";
/// Longer than a token's trial, a tenth of its lifetime: after a rejection within it, the layer would wait
/// for the backoff.
const USED_FOR: Duration = Duration::from_millis(250);

/// Runs one client until it is signed out or has survived all expiries.
pub(crate) async fn run<C: Client>(server: &Arc<Server>, expiries: u32) -> Survival {
    println!("\n{}: {CALLERS} calls at each of {expiries} expiries", C::NAME);
    let client = Arc::new(C::new(Arc::clone(server), server.sign_in().await));
    let mut survival = Survival { client: C::NAME, expiries, survived: 0, signed_out_at: None };
    for expiry in 1..=expiries {
        if let Some(access) = client.access().await {
            expire(server, &access).await;
        }
        make_calls(&client, expiry).await;
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

/// Returns once the server no longer accepts an access token.
async fn expire(server: &Server, access: &str) {
    if server.kind != Kind::SimpleJwt {
        sleep(USED_FOR).await;
        return server.expire(access).await;
    }
    while accepts(server, access).await {
        sleep(USED_FOR / 10).await;
    }
}

/// Makes all calls at once and cancels a third of them, after the same times for each client.
async fn make_calls<C: Client>(client: &Arc<C>, expiry: u32) {
    let mut random = fastrand::Rng::with_seed(expiry.into());
    let mut calls = JoinSet::new();
    for caller in 0..CALLERS {
        let cancel_after = Duration::from_millis(random.u64(1..=MAX_CANCEL_MS));
        let client = Arc::clone(client);
        calls.spawn(async move {
            if caller % 3 == 0 {
                drop(timeout(cancel_after, client.call()).await);
            } else {
                client.call().await;
            }
        });
    }
    calls.join_all().await;
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
