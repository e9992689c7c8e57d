//! A refresh: look, wait, take the hold, claim.

use std::{error::Error as _, mem, sync::Arc};

use futures_util::future::select;

#[cfg(feature = "metrics")]
use crate::metrics::Recorder;
use crate::{
    panics::catch_panic,
    refresh::{RefreshContext, RefreshError, RefreshReason, Refresher},
    rt::{Nanos, Timestamp, duration, nanos},
    token::Token,
};

use super::{
    StoreError,
    document::{Claim, Document},
    error::shown,
    exchange::ClaimedRecord,
    known::OwnClaim,
    look::{Look, Looker, look, new_epoch, step},
    mutations::without,
    protocol::{Protocol, SwapOutcome, to_refresh_error},
    record::HoldKind,
    save::adopted,
    view::View,
};

/// The refresher of a shared session.
pub(super) struct SharedRefresher(pub(super) Arc<Protocol>);

/// One refresh of this handle. A later one takes over the hold of one that is no longer polled.
struct Run<'a> {
    protocol: &'a Protocol,
    number: u64,
    holding: Holding,
    waiting: Option<Waiting>,
    /// Whether the refresh fails if the store does: there is a refresh token, nobody is signed in, or the
    /// token endpoint was already called.
    needs_store: bool,
}

enum Holding {
    Untried,
    /// The store has nothing to hold.
    None,
    Held,
    Busy(String),
}

/// Waiting for another process.
struct Waiting {
    until: Nanos,
    poll: Nanos,
}

const FIRST_POLL: Nanos = 5_000_000;
const LAST_POLL: Nanos = 500_000_000;
const SECOND: Nanos = 1_000_000_000;

// === impl SharedRefresher ===

impl Refresher for SharedRefresher {
    async fn refresh(&self, cx: RefreshContext) -> Result<Token, RefreshError> {
        let mut run = Run::begin(&self.0, &cx);
        match run.refresh(&cx).await {
            // Without a refresh token, a second exchange does no harm.
            Err(error) if !run.needs_store && is_about_store(&error) => {
                let result = self.0.refresher.refresh(cx).await;
                // If the refresher needs a refresh token, the store may have one: report the store's error.
                result.map_err(|refused| if refused.is_grant_ended() { error } else { refused })
            }
            result => result,
        }
    }
}

/// Whether the store is unavailable, or another process is taking too long.
fn is_about_store(error: &RefreshError) -> bool {
    let error = error.source().and_then(|source| source.downcast_ref::<StoreError>());
    error.is_some_and(|error| error.is_unavailable() || error.is_busy())
}

// === impl Run ===

impl<'a> Run<'a> {
    fn begin(protocol: &'a Protocol, cx: &RefreshContext) -> Self {
        let mut known = protocol.known();
        known.run += 1;
        known.is_running = true;
        let holding = if known.hold.is_some() { Holding::Held } else { Holding::Untried };
        let tokens = [&known.token, &known.seed];
        let has_refresh_token = tokens.into_iter().flatten().any(|token| token.refresh.is_some());
        let may_be_signed_out = known.is_gone || known.epoch.is_some() && known.token.is_none();
        let needs_store = has_refresh_token || cx.refresh_token().is_some() || may_be_signed_out;
        Self { protocol, number: known.run, holding, waiting: None, needs_store }
    }

    async fn refresh(&mut self, cx: &RefreshContext) -> Result<Token, RefreshError> {
        let protocol = self.protocol;
        if !without("unsaved forgotten") {
            protocol.write_unsaved().await.map_err(to_refresh_error)?;
        }
        loop {
            if !cx.is_wanted() {
                return Err(RefreshError::transient("the session no longer waits for this refresh"));
            }
            let view = protocol.load().await.map_err(to_refresh_error)?;
            self.needs_store |= view.document().is_some_and(|document| document.refresh_token().is_some());
            if let Some(token) = self.step(view, cx).await? {
                return Ok(token);
            }
        }
    }

    /// Acts on a record. `None`: look again.
    async fn step(&mut self, view: View, cx: &RefreshContext) -> Result<Option<Token>, RefreshError> {
        let protocol = self.protocol;
        if view.is_outdated(&protocol.known()) {
            return Ok(None);
        }
        let action = self.look(&view, cx);
        if !matches!(action, Look::UseOwnClaim(_) | Look::Claim { .. } | Look::Wait { .. }) {
            self.remove_unused_claim(&view).await?;
        }
        match action {
            Look::Write(document) => {
                protocol.write_missing(&view, *document).await.map_err(to_refresh_error)?;
                Ok(None)
            }
            Look::Save(obtained) => {
                protocol.save(&obtained, Some(view)).await.map_err(to_refresh_error)?;
                Ok(None)
            }
            Look::Follow => {
                protocol.follow(view.document());
                Err(RefreshError::signed_out())
            }
            Look::SignedOut => {
                if let Some(document) = view.document() {
                    protocol.known().learn(document);
                }
                Err(RefreshError::signed_out())
            }
            Look::Adopt => Ok(self.adopt(&view)),
            Look::Ended => {
                let code = view.document().and_then(|document| document.ended.as_ref());
                let code = code.map(|ended| shown(&ended.code)).filter(|code| !code.is_empty());
                let message = match code {
                    Some(code) => {
                        format!("another process found that the grant has ended ({code}): sign in again")
                    }
                    None => "another process found that the grant has ended: sign in again".to_owned(),
                };
                self.learn(&view);
                Err(RefreshError::grant_ended(message))
            }
            Look::GiveUp => {
                self.learn(&view);
                Err(RefreshError::grant_ended(
                    "a refresh got no response, and `never_repeat` forbids a second attempt: sign in again",
                ))
            }
            Look::Pause(left) => {
                let error =
                    RefreshError::transient("the token endpoint sent `Retry-After`, which hasn't elapsed");
                Err(error.with_retry_after(duration(left)))
            }
            Look::Wait { lapses_in, holder } => {
                // From here on, a sign-in is another user's.
                if let Some(document) = view.document() {
                    protocol.learn_sign_in(document);
                }
                if self.acquire_hold().await? {
                    return Ok(None);
                }
                self.wait(lapses_in, &holder).await?;
                if without("no second look") {
                    return self.claim_and_present(view, cx, false).await;
                }
                Ok(None)
            }
            Look::UseOwnClaim(own) => {
                // Without the hold, another process may have replaced the claim since the look.
                if self.acquire_hold().await? || self.wait_if_busy().await? {
                    return Ok(None);
                }
                self.exchange(ClaimedRecord { number: own.number, since: own.since, view }, cx, false).await
            }
            Look::Claim { unknown } => {
                // If the record changes before the hold is acquired, writing the claim is a conflict.
                self.acquire_hold().await?;
                if self.wait_if_busy().await? {
                    return Ok(None);
                }
                self.claim_and_present(view, cx, unknown).await
            }
        }
    }

    fn look(&self, view: &View, cx: &RefreshContext) -> Look {
        let protocol = self.protocol;
        let rejected = cx.token().filter(|_| cx.reason() == RefreshReason::Rejected);
        let looker = Looker {
            has_hold: matches!(self.holding, Holding::Held),
            ..protocol.looker(rejected.map(Token::access_token), cx.was_reset())
        };
        look(view.document(), &protocol.known(), &looker)
    }

    /// Takes over the record's token.
    fn adopt(&self, view: &View) -> Option<Token> {
        let token = view.document().and_then(|document| adopted(document.token.as_ref()?));
        self.learn(view);
        token
    }

    fn learn(&self, view: &View) {
        if let Some(document) = view.document() {
            self.protocol.known().learn(document);
        }
    }

    async fn remove_unused_claim(&self, view: &View) -> Result<(), RefreshError> {
        let protocol = self.protocol;
        // Taken, so that no other refresh of this handle uses one in the meantime.
        let own = mem::take(&mut protocol.known().own_claims);
        let in_record = own
            .iter()
            .find(|own| view.document().is_some_and(|document| protocol.has_claim(document, own.number)));
        let Some(in_record) = in_record else { return Ok(()) };
        let removed = protocol.remove_claim(in_record.number).await;
        removed.map_err(|error| {
            protocol.known().own_claims.extend(own);
            to_refresh_error(error)
        })
    }

    /// Acquires the store's hold. Returns whether this process didn't have it before, so that the record must
    /// be read again.
    async fn acquire_hold(&mut self) -> Result<bool, RefreshError> {
        if matches!(self.holding, Holding::Held | Holding::None) {
            return Ok(false);
        }
        let protocol = self.protocol;
        if protocol.known().hold.is_some() {
            self.holding = Holding::Held;
            return Ok(true);
        }
        let hold = match protocol.timed(protocol.store.try_hold()).await {
            Ok(Ok(hold)) => hold,
            Ok(Err(error)) | Err(error) => return Err(to_refresh_error(error)),
        };
        self.holding = match hold.into_kind() {
            HoldKind::None => Holding::None,
            HoldKind::Busy(holder) => Holding::Busy(holder),
            HoldKind::Held(guard) => {
                let mut known = protocol.known();
                if known.run != self.number {
                    drop(known);
                    catch_panic(|| drop(guard));
                    return Err(RefreshError::transient("another refresh of this session has taken over"));
                }
                known.hold = Some(guard);
                Holding::Held
            }
        };
        Ok(matches!(self.holding, Holding::Held))
    }

    /// Waits a second if another process has the hold. Returns whether it did.
    async fn wait_if_busy(&mut self) -> Result<bool, RefreshError> {
        let Holding::Busy(holder) = &self.holding else { return Ok(false) };
        let holder = holder.clone();
        self.wait(SECOND, &holder).await?;
        Ok(true)
    }

    /// Waits until the record may have changed, but no longer than until the claim lapses.
    async fn wait(&mut self, lapses_in: Nanos, holder: &str) -> Result<(), RefreshError> {
        let protocol = self.protocol;
        let now = protocol.now().monotonic;
        let limit = protocol.settings.exchange_timeout + 5 * SECOND;
        #[cfg(feature = "metrics")]
        if self.waiting.is_none() {
            protocol.record(Recorder::store_busy);
        }
        let waiting =
            self.waiting.get_or_insert(Waiting { until: now.saturating_add(limit), poll: FIRST_POLL });
        let left = waiting.until.saturating_sub(now);
        if left <= 0 {
            let holder = match &self.holding {
                Holding::Busy(holder) => holder,
                _ => holder,
            };
            return Err(RefreshError::transient(StoreError::busy(holder)));
        }
        let poll = (waiting.poll as f64 * (0.7 + 0.6 * fastrand::f64())) as Nanos;
        waiting.poll = (waiting.poll * 8 / 5).min(LAST_POLL);
        let pause = protocol.sleep(poll.min(left).min(lapses_in.max(1))).map_err(to_refresh_error)?;
        select(protocol.store.changed(), pause).await;
        Ok(())
    }

    /// Calls the token endpoint. From here on the refresh token may be presented.
    async fn exchange(
        &mut self,
        claimed: ClaimedRecord,
        cx: &RefreshContext,
        unknown: bool,
    ) -> Result<Option<Token>, RefreshError> {
        self.needs_store = true;
        self.protocol.exchange(claimed, cx, unknown).await
    }

    async fn claim_and_present(
        &mut self,
        view: View,
        cx: &RefreshContext,
        unknown: bool,
    ) -> Result<Option<Token>, RefreshError> {
        let protocol = self.protocol;
        let timeout = protocol.settings.exchange_timeout;
        if cx.time_left().is_some_and(|left| nanos(left) < timeout + 3 * SECOND) {
            return Err(RefreshError::transient("not enough of the refresh timeout is left for an exchange"));
        }
        let document = match view.document() {
            Some(document) => document.clone(),
            None => Document { epoch: new_epoch(None), ..Document::default() },
        };
        let number = document.claims + step();
        if without("no claim") {
            let claimed = ClaimedRecord { number, since: protocol.now(), view };
            return self.exchange(claimed, cx, unknown).await;
        }
        let since = protocol.now();
        let claim = Claim {
            number,
            id: protocol.identity.id.clone(),
            length: timeout,
            at: since.wall,
            who: protocol.identity.who.clone(),
            host: protocol.identity.host.clone(),
        };
        let claimed =
            Document { claims: number, unknown: document.unknown || unknown, claim: Some(claim), ..document };
        // From here on the claim may be in the record, with nothing presented under it.
        protocol.known().own_claims.push(OwnClaim { number, since });
        match protocol.swap(&view, claimed).await {
            Ok(SwapOutcome::Written { view, since, is_looked_up }) => {
                self.take_note_of_claim(number, since, &view);
                // A newer token may have been written in the meantime.
                if is_looked_up && !without("look-up is no look") {
                    return Ok(None);
                }
                self.exchange(ClaimedRecord { number, since, view: *view }, cx, unknown).await
            }
            Ok(SwapOutcome::Conflict | SwapOutcome::Unknown) => {
                protocol.known().own_claims.retain(|own| own.number != number);
                Ok(None)
            }
            Err(error) => {
                if without("lost write is a failure") {
                    protocol.known().own_claims.clear();
                }
                Err(to_refresh_error(error))
            }
        }
    }

    fn take_note_of_claim(&self, number: u64, since: Timestamp, view: &View) {
        let mut known = self.protocol.known();
        known.own_claims = vec![OwnClaim { number, since }];
        known.sight(view.document().and_then(|document| document.claim.as_ref()), since);
    }
}

impl Drop for Run<'_> {
    fn drop(&mut self) {
        let mut known = self.protocol.known();
        if known.run == self.number {
            known.is_running = false;
            drop(known);
            self.protocol.release_hold();
        }
    }
}
