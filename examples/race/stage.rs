//! What all parts need: a backend, a token that has expired, and the server's counts.

use std::time::{Duration, SystemTime};

use tokio::time::sleep;

use crate::{
    BoxError,
    api::{Api, CALLS, Counts, Pair},
    hold::Hold,
    options::Options,
    server::Server,
    tally::Tally,
    timeline::Timeline,
};

/// Where the parts are played.
pub(crate) struct Stage {
    pub(crate) api: Api,
    /// The built-in server; none if another backend is asked.
    server: Option<Server>,
}

// === impl Stage ===

impl Stage {
    pub(crate) async fn set(options: &Options) -> Result<Self, BoxError> {
        if let Some(server) = &options.server {
            println!("The backend: {server}");
            return Ok(Self { api: Api::new(server)?, server: None });
        }
        let server = Server::start(options.revoke_family).await?;
        let address = server.address();
        println!(
            "A backend on http://{address}: it takes each refresh token once, and answers 401 to a spent one."
        );
        if options.revoke_family {
            println!("If one is presented again, it revokes all that came of it (RFC 9700, section 4.14.2).");
        }
        Ok(Self { api: Api::new(&format!("http://{address}").parse()?)?, server: Some(server) })
    }

    pub(crate) fn is_built_in(&self) -> bool {
        self.server.is_some()
    }

    /// What the built-in server does to the times; another backend knows nothing of it.
    pub(crate) fn caption(&self, built_in: &'static str) -> &'static str {
        if self.is_built_in() { built_in } else { "" }
    }

    pub(crate) async fn sign_in(&self, timeline: &Timeline) -> Result<Pair, BoxError> {
        let pair = self.api.sign_in().await?;
        timeline.note(&format!("signed in with {}", timeline.names().pair(&pair)));
        Ok(pair)
    }

    /// As [`sign_in`](Self::sign_in), but with an access token that is good for minutes: one that a refresh brought.
    pub(crate) async fn sign_in_for_long(&self, timeline: &Timeline) -> Result<Pair, BoxError> {
        if let Some(server) = &self.server {
            server.end_round();
        }
        let first = self.api.sign_in().await?;
        let pair = self.api.refresh(&first.refresh).await?;
        timeline.note(&format!("signed in with {}, good for minutes", timeline.names().pair(&pair)));
        Ok(pair)
    }

    /// Waits until the access token has expired, and makes all ready for the calls. Gives what was counted before.
    pub(crate) async fn begin(
        &self,
        timeline: &Timeline,
        pair: &Pair,
        hold: Hold,
    ) -> Result<Counts, BoxError> {
        if let Some(server) = &self.server {
            server.begin(timeline.clone(), hold);
        }
        let before = self.api.counts().await?;
        let end = pair.expires_at()?;
        let left = || end.duration_since(SystemTime::now()).unwrap_or(Duration::ZERO);
        let access = timeline.names().access(&pair.access);
        timeline.note(&format!("waiting {:.1} s until {access} has expired", left().as_secs_f64()));
        // By the wall clock, as `exp` is; the timer runs by another one.
        while !left().is_zero() {
            sleep(left()).await;
        }
        timeline.start();
        Ok(before)
    }

    /// Makes all ready for calls of which, after so many, the server revokes the token.
    pub(crate) async fn begin_revocation(
        &self,
        timeline: &Timeline,
        pair: &Pair,
        after: usize,
    ) -> Result<Counts, BoxError> {
        let server = self.server.as_ref().ok_or("--revoke is for the built-in server")?;
        // No other refresh is expected.
        server.begin(timeline.clone(), Hold::Refreshes(1));
        server.revoke_after(&pair.access, after);
        let before = self.api.counts().await?;
        timeline.start();
        Ok(before)
    }

    /// What was counted since `before`. `seen_ok` is what the client saw succeed: simplejwt_server.py doesn't count that.
    pub(crate) async fn tally(
        &self,
        client: &'static str,
        callers: usize,
        before: &Counts,
        seen_ok: usize,
    ) -> Result<Tally, BoxError> {
        let after = self.api.counts().await?;
        let ok = after.ok.zip(before.ok).map_or(seen_ok, |(after, before)| after - before);
        Ok(Tally {
            client,
            callers,
            refreshes: after.refreshes() - before.refreshes(),
            refused: after.refused() - before.refused(),
            ok,
            signed_in: false,
        })
    }

    /// Whether the server accepts what the client holds at the end.
    pub(crate) async fn accepts(&self, access: Option<&str>) -> Result<bool, BoxError> {
        match access {
            Some(access) => Ok(self.api.send(&CALLS[2], access).await?.is_success()),
            None => Ok(false),
        }
    }
}
