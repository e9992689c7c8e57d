//! A backend with rotating refresh tokens, whose access tokens outlast any test by its own clock.

use std::{
    collections::HashSet,
    sync::{Arc, Mutex},
    time::Duration,
};

use http::Request;
use http_body_util::BodyExt;
use hyper::body::Incoming;
use tokio::sync::watch;
use tower_reauth::Token;

use crate::loopback::{Acceptor, Reply, status};

pub(crate) struct Server {
    acceptor: Acceptor,
    shared: Arc<Shared>,
}

struct Shared {
    delayed: watch::Sender<bool>,
    records: Mutex<Records>,
}

#[derive(Default)]
struct Records {
    issued: u32,
    /// The one that isn't spent.
    refresh_token: String,
    access_tokens: HashSet<String>,
    counts: Counts,
}

#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Counts {
    pub(crate) refreshes: usize,
    pub(crate) refused_refreshes: usize,
    pub(crate) ok: usize,
    pub(crate) unauthorized: usize,
}

/// The lifetime that the token endpoint reports.
pub(crate) const LIFETIME: Duration = Duration::from_secs(600);

impl Server {
    pub(crate) async fn start() -> Self {
        let records = Records { refresh_token: "R0".to_owned(), ..Records::default() };
        let shared = Arc::new(Shared { delayed: watch::Sender::new(false), records: Mutex::new(records) });
        let responding = Arc::clone(&shared);
        let acceptor = Acceptor::serve(move |request| handle(Arc::clone(&responding), request)).await;
        Self { acceptor, shared }
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("{}{path}", self.acceptor.url)
    }

    /// An expired access token, with the first refresh token.
    pub(crate) fn first_token_expired(&self) -> Token {
        Token::builder("A0").refresh_token("R0").expires_in(Duration::ZERO).build().unwrap()
    }

    /// Delays the responses of the token endpoint, or sends them.
    pub(crate) fn delay_refreshes(&self, delay: bool) {
        self.shared.delayed.send_replace(delay);
    }

    pub(crate) fn counts(&self) -> Counts {
        self.shared.records.lock().unwrap().counts
    }
}

async fn handle(shared: Arc<Shared>, request: Request<Incoming>) -> Result<Reply, hyper::Error> {
    if request.uri().path() == "/token" {
        let body = request.into_body().collect().await?.to_bytes();
        let response = shared.exchange(&String::from_utf8_lossy(&body));
        let mut delayed = shared.delayed.subscribe();
        let _ = delayed.wait_for(|delayed| !delayed).await;
        return Ok(response.map_or(status(401), |response| Reply::new(response.into())));
    }
    Ok(if shared.accepts(&request) { Reply::new("items".into()) } else { status(401) })
}

impl Shared {
    fn exchange(&self, presented: &str) -> Option<String> {
        let mut records = self.records.lock().unwrap();
        if records.refresh_token != presented {
            records.counts.refused_refreshes += 1;
            return None;
        }
        records.counts.refreshes += 1;
        records.issued += 1;
        let (access, refresh) = (format!("A{}", records.issued), format!("R{}", records.issued));
        records.refresh_token.clone_from(&refresh);
        records.access_tokens.insert(access.clone());
        Some(format!("{access} {refresh} {}", LIFETIME.as_secs()))
    }

    fn accepts(&self, request: &Request<Incoming>) -> bool {
        let mut records = self.records.lock().unwrap();
        let header = request.headers().get("authorization").and_then(|value| value.to_str().ok());
        let token = header.and_then(|header| header.strip_prefix("Bearer "));
        let accepted = token.is_some_and(|token| records.access_tokens.contains(token));
        if accepted {
            records.counts.ok += 1;
        } else {
            records.counts.unauthorized += 1;
        }
        accepted
    }
}
