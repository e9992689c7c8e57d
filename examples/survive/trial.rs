//! One client's life: expiry after expiry, until it is signed out.

use std::{fmt, sync::Arc, time::Duration};

use tokio::{
    task::JoinSet,
    time::{sleep, timeout},
};

use crate::{
    client::{Client, takes},
    servers::{Kind, Server},
};

pub(crate) struct Survival {
    client: &'static str,
    expiries: u32,
    pub(crate) survived: u32,
    /// The expiry after which the server took nothing of what the client held.
    pub(crate) signed_out_at: Option<u32>,
}

const CALLERS: u64 = 10;
/// How long the server holds its answer to a refresh back, as a network would: else nobody has the time to give up.
pub(crate) const ANSWER_DELAY_MS: u64 = 20;
/// How long those wait who give up, at most.
const MOST_PATIENCE_MS: u64 = 2 * ANSWER_DELAY_MS;
/// Access tokens live for two seconds. One that is refused within the first tenth of that counts as one that never was
/// good, and the layer doesn't ask for the next at once.
pub(crate) const LIFETIME: &str = "2";
const GOOD_FOR: Duration = Duration::from_millis(250);

/// Makes one client live through expiries, until it has lost its sign-in.
pub(crate) async fn run<C: Client>(server: &Arc<Server>, expiries: u32) -> Survival {
    println!("\n{}: {CALLERS} calls at each of {expiries} expiries", C::NAME);
    let client = Arc::new(C::new(Arc::clone(server), server.sign_in().await));
    let mut survival = Survival { client: C::NAME, expiries, survived: 0, signed_out_at: None };
    for expiry in 1..=expiries {
        if let Some(access) = client.access().await {
            end(server, &access).await;
        }
        make_calls(&client, expiry).await;
        let is_signed_in = match client.access().await {
            Some(access) => takes(server, &access).await,
            None => false,
        };
        if !is_signed_in {
            println!("{}: SIGNED OUT at expiry {expiry}", C::NAME);
            survival.signed_out_at = Some(expiry);
            break;
        }
        survival.survived = expiry;
        if expiry % expiries.div_ceil(10) == 0 {
            println!("{}: signed in after {expiry} of {expiries} expiries", C::NAME);
        }
    }
    survival
}

/// Returns when the server takes an access token no more.
async fn end(server: &Server, access: &str) {
    if server.kind != Kind::SimpleJwt {
        sleep(GOOD_FOR).await;
        return server.expire(access).await;
    }
    while takes(server, access).await {
        sleep(GOOD_FOR / 10).await;
    }
}

/// All calls at once. A third of the callers wait for a moment only, which is as long for each client.
async fn make_calls<C: Client>(client: &Arc<C>, expiry: u32) {
    let mut random = fastrand::Rng::with_seed(expiry.into());
    let mut calls = JoinSet::new();
    for caller in 0..CALLERS {
        let patience = Duration::from_millis(random.u64(1..=MOST_PATIENCE_MS));
        let client = Arc::clone(client);
        calls.spawn(async move {
            if caller % 3 == 0 {
                drop(timeout(patience, client.call()).await);
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
