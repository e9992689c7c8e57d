//! Shared setup.

use std::time::{Duration, SystemTime};

use tokio::time::sleep;

use crate::{
    BoxError,
    api::{Api, CALLS, Counts, Pair},
    counts::Totals,
    options::Options,
    response_order::RespondAfter,
    server::Server,
    timeline::Timeline,
};

/// The backend of all runs.
pub(crate) struct Setup {
    pub(crate) api: Api,
    /// The built-in server; `None` with `--server`.
    server: Option<Server>,
}

// === impl Setup ===

impl Setup {
    pub(crate) async fn start(options: &Options) -> Result<Self, BoxError> {
        if let Some(server) = &options.server {
            println!("Backend: {server}");
            return Ok(Self { api: Api::new(server)?, server: None });
        }
        let server = Server::start(options.revoke_grant_on_reuse).await?;
        let address = server.address();
        println!(
            "Backend: http://{address}. It accepts each refresh token once, and responds with 401 after that."
        );
        if options.revoke_grant_on_reuse {
            println!(
                "If a used refresh token is presented again, it revokes the whole grant (RFC 9700, 4.14.2)."
            );
        }
        Ok(Self { api: Api::new(&format!("http://{address}").parse()?)?, server: Some(server) })
    }

    pub(crate) fn is_built_in(&self) -> bool {
        self.server.is_some()
    }

    /// The caption if the built-in server is used: only that one delays responses.
    pub(crate) fn caption(&self, built_in: &'static str) -> &'static str {
        if self.is_built_in() { built_in } else { "" }
    }

    pub(crate) async fn sign_in(&self, timeline: &Timeline) -> Result<Pair, BoxError> {
        let pair = self.api.sign_in().await?;
        timeline.note(&format!("signed in with {}", timeline.names().pair(&pair)));
        Ok(pair)
    }

    /// Signs in and refreshes once: the access token of a refresh is valid for minutes.
    pub(crate) async fn sign_in_for_minutes(&self, timeline: &Timeline) -> Result<Pair, BoxError> {
        if let Some(server) = &self.server {
            server.end_run();
        }
        let first = self.api.sign_in().await?;
        let pair = self.api.refresh(&first.refresh).await?;
        timeline.note(&format!("signed in with {}, valid for minutes", timeline.names().pair(&pair)));
        Ok(pair)
    }

    /// Waits until the access token has expired, and starts the run. Returns the counts so far.
    pub(crate) async fn begin(
        &self,
        timeline: &Timeline,
        pair: &Pair,
        respond_after: RespondAfter,
    ) -> Result<Counts, BoxError> {
        if let Some(server) = &self.server {
            server.begin_run(timeline.clone(), respond_after);
        }
        let before = self.api.counts().await?;
        let expires_at = pair.expires_at()?;
        let left = || expires_at.duration_since(SystemTime::now()).unwrap_or(Duration::ZERO);
        let access = timeline.names().access(&pair.access);
        timeline.note(&format!("waiting {:.1} s for {access} to expire", left().as_secs_f64()));
        // `exp` is by the wall clock, the timer by the monotonic one.
        while !left().is_zero() {
            sleep(left()).await;
        }
        timeline.start();
        Ok(before)
    }

    /// Starts a run in which the server revokes the token after this many calls. Returns the counts so far.
    pub(crate) async fn begin_revocation(
        &self,
        timeline: &Timeline,
        pair: &Pair,
        after: usize,
    ) -> Result<Counts, BoxError> {
        let server = self.server.as_ref().ok_or("--revoke-mid-traffic needs the built-in server")?;
        server.begin_run(timeline.clone(), RespondAfter::Refreshes(1));
        server.revoke_after(&pair.access, after);
        let before = self.api.counts().await?;
        timeline.start();
        Ok(before)
    }

    /// The totals since `before`. `client_ok` is the number of calls that the client saw succeed, for servers
    /// that don't count them (simplejwt_server.py).
    pub(crate) async fn totals(
        &self,
        client: &'static str,
        callers: usize,
        before: &Counts,
        client_ok: usize,
    ) -> Result<Totals, BoxError> {
        let after = self.api.counts().await?;
        let ok = after.ok.zip(before.ok).map_or(client_ok, |(after, before)| after - before);
        Ok(Totals {
            client,
            callers,
            refreshes: after.refreshes() - before.refreshes(),
            refused: after.refused() - before.refused(),
            ok,
            signed_in: false,
        })
    }

    /// Whether the server accepts the token that the client holds after the run.
    pub(crate) async fn accepts(&self, access: Option<&str>) -> Result<bool, BoxError> {
        match access {
            Some(access) => Ok(self.api.send(&CALLS[2], access).await?.is_success()),
            None => Ok(false),
        }
    }
}
