//! A refresh: look, claim, ask the token endpoint, save or release.

use std::{error::Error as _, sync::Arc};

use futures_util::future::{Either, select};

use crate::{
    refresh::{FailureKind, RefreshContext, RefreshError, RefreshReason, Refresher},
    rt::{Nanos, Timestamp, duration, nanos},
    token::Token,
};

use super::{
    StoreError,
    document::{Claim, Document, Ended},
    known::{Obtained, OwnClaim},
    look::{LONGEST_PAUSE, Look, Looker, look, new_epoch, step},
    mutations::without,
    protocol::{Edit, Protocol, Swapped, View, to_refresh_error},
    record::HoldKind,
    save::{Saved, adopted},
    stored_token::StoredToken,
};

/// The refresher of a shared session.
pub(super) struct SharedRefresher(pub(super) Arc<Protocol>);

/// One refresh of this handle. A later one takes the hold over from one that nobody drives any more.
struct Run<'a> {
    protocol: &'a Protocol,
    number: u64,
    holding: Holding,
    waiting: Option<Waiting>,
    /// There is a refresh token, nobody is signed in, or the token endpoint was asked already.
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

/// A claim of this process, in the record.
struct Claimed {
    number: u64,
    since: Timestamp,
    view: View,
}

const FIRST_POLL: Nanos = 5_000_000;
const LAST_POLL: Nanos = 500_000_000;
const SECOND: Nanos = 1_000_000_000;

// === impl SharedRefresher ===

impl Refresher for SharedRefresher {
    async fn refresh(&self, cx: RefreshContext) -> Result<Token, RefreshError> {
        let mut run = Run::begin(&self.0, &cx);
        match run.refresh(&cx).await {
            // What doesn't rotate can be asked for twice.
            Err(error) if !run.needs_store && is_about_store(&error) => {
                let result = self.0.refresher.refresh(cx).await;
                // It needs a refresh token, and the store may have one.
                result.map_err(|refused| if refused.is_grant_ended() { error } else { refused })
            }
            result => result,
        }
    }
}

/// Whether the store is unavailable, or another process took too long.
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
            if let Some(result) = self.step(view, cx).await? {
                return result;
            }
        }
    }

    /// Acts on a record. `None`: look again.
    async fn step(
        &mut self,
        view: View,
        cx: &RefreshContext,
    ) -> Result<Option<Result<Token, RefreshError>>, RefreshError> {
        let protocol = self.protocol;
        let action = self.look(&view, cx);
        if !matches!(action, Look::UseOwnClaim | Look::Claim { .. } | Look::Wait { .. }) {
            self.remove_unused_claim(&view).await?;
        }
        match action {
            Look::Write(document) => {
                // A conflict is looked at, too.
                protocol.swap(&view, *document).await.map_err(to_refresh_error)?;
                protocol.known().seed = None;
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
            Look::Adopt => Ok(self.adopt(&view).map(Ok)),
            Look::Ended => {
                let code = view.document().and_then(|document| document.ended.as_ref());
                let code = code.map(|ended| ended.code.as_str()).filter(|code| !code.is_empty());
                let message = match code {
                    Some(code) => {
                        format!(
                            "the token endpoint has ended the grant, as another process reported ({code}): sign in again"
                        )
                    }
                    None => {
                        "the token endpoint has ended the grant, as another process reported: sign in again"
                            .to_owned()
                    }
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
                // Whoever signs in meanwhile is another user.
                if let Some(document) = view.document().filter(|document| document.token.is_some()) {
                    self.learn_sign_in(document);
                }
                if self.take_hold().await? {
                    return Ok(None);
                }
                self.wait(lapses_in, &holder).await?;
                if without("no second look") {
                    return self.claim_and_present(view, cx, false).await;
                }
                Ok(None)
            }
            Look::UseOwnClaim => {
                let own = protocol.known().own_claim;
                let Some(own) = own else { return Ok(None) };
                self.present(Claimed { number: own.number, since: own.since, view }, cx, false).await
            }
            Look::Claim { unknown } => {
                if self.take_hold().await? {
                    return Ok(None);
                }
                if let Holding::Busy(holder) = &self.holding {
                    let holder = holder.clone();
                    self.wait(SECOND, &holder).await?;
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
        let own = self.protocol.known().own_claim.take();
        let Some(own) = own else { return Ok(()) };
        if view.document().is_some_and(|document| self.protocol.has_claim(document, own.number)) {
            self.protocol.remove_claim(own.number, None).await.map_err(to_refresh_error)?;
        }
        Ok(())
    }

    /// Takes the store's hold. Returns whether that is new, so that the record has to be read again.
    async fn take_hold(&mut self) -> Result<bool, RefreshError> {
        if matches!(self.holding, Holding::Held | Holding::None) {
            return Ok(false);
        }
        let protocol = self.protocol;
        let hold = match protocol.timed(protocol.store.try_hold()).await {
            Ok(Ok(hold)) => hold,
            Ok(Err(error)) | Err(error) => return Err(to_refresh_error(error)),
        };
        self.holding = match hold.into_kind() {
            HoldKind::None => Holding::None,
            HoldKind::Busy(holder) => Holding::Busy(holder),
            HoldKind::Held(guard) => {
                protocol.known().hold = Some(guard);
                Holding::Held
            }
        };
        Ok(matches!(self.holding, Holding::Held))
    }

    /// Waits until the record may have changed, at most until the claim lapses.
    async fn wait(&mut self, lapses_in: Nanos, holder: &str) -> Result<(), RefreshError> {
        let protocol = self.protocol;
        let now = protocol.now().monotonic;
        let limit = protocol.settings.exchange_timeout + 5 * SECOND;
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

    async fn claim_and_present(
        &mut self,
        view: View,
        cx: &RefreshContext,
        unknown: bool,
    ) -> Result<Option<Result<Token, RefreshError>>, RefreshError> {
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
            let claimed = Claimed { number, since: protocol.now(), view };
            return self.present(claimed, cx, unknown).await;
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
        // From here on it may be in the record, with nothing presented under it.
        let before = protocol.known().own_claim.replace(OwnClaim { number, since });
        match protocol.swap(&view, claimed).await {
            Ok(Swapped::Written { view, since, is_looked_up }) => {
                self.take_note_of_claim(number, since, &view);
                // A newer token may have come in the meantime.
                if is_looked_up && !without("look-up is no look") {
                    return Ok(None);
                }
                self.present(Claimed { number, since, view: *view }, cx, unknown).await
            }
            Ok(Swapped::Conflict) => {
                protocol.known().own_claim = before;
                Ok(None)
            }
            Err(error) => {
                if without("lost write is a failure") {
                    protocol.known().own_claim = None;
                }
                Err(to_refresh_error(error))
            }
        }
    }

    fn take_note_of_claim(&self, number: u64, since: Timestamp, view: &View) {
        let mut known = self.protocol.known();
        known.own_claim = Some(OwnClaim { number, since });
        known.sight(view.document().and_then(|document| document.claim.as_ref()), since);
    }

    /// Asks the token endpoint, under a claim that is in the record.
    async fn present(
        &mut self,
        claimed: Claimed,
        cx: &RefreshContext,
        unknown: bool,
    ) -> Result<Option<Result<Token, RefreshError>>, RefreshError> {
        let protocol = self.protocol;
        let Claimed { number, since, view } = claimed;
        let Some(document) = view.document() else { return Ok(None) };
        let timeout = protocol.settings.exchange_timeout;
        let left = timeout.saturating_sub(protocol.now().since(since));
        // The last look: from here on something may be presented.
        if !cx.is_wanted() || left < timeout / 2 {
            return Ok(None);
        }
        self.needs_store = true;
        protocol.known().own_claim = None;
        self.learn_sign_in(document);
        let is_repeat = document.unknown || unknown;
        let reason = if is_repeat { RefreshReason::Repeated } else { cx.reason() };
        let presented = document.refresh_token().cloned();
        let stored = document.token.as_ref();
        let clock = Arc::clone(&protocol.clock);
        let wanted = cx.clone();
        let is_wanted =
            Arc::new(move || wanted.is_wanted() && clock.precise_now().since(since) <= timeout / 2);
        let deadline = since.monotonic.saturating_add(timeout);
        let token = stored.and_then(StoredToken::to_token);
        let exchange = cx.for_exchange(token, presented.clone(), reason, deadline, is_wanted);
        let called = protocol.now();
        let cut = protocol.sleep(left).map_err(to_refresh_error)?;
        let result = match select(Box::pin(protocol.refresher.refresh(exchange)), cut).await {
            Either::Left((result, _)) => result,
            Either::Right(_) => Err(RefreshError::outcome_unknown("no response within the exchange timeout")),
        };
        let obtained = |mut token: Token| {
            token.inherit_refresh_token(presented.as_ref());
            token.resolve_times(called);
            let others = stored.map(|stored| stored.others.clone()).unwrap_or_default();
            let (epoch, by) = (document.epoch, document.by);
            let stored = StoredToken::new(&token, others);
            (token, Obtained { number, epoch, by, presented: presented.clone(), token: stored })
        };
        match result {
            Ok(token) => {
                let (token, obtained) = obtained(token);
                Ok(Some(Ok(self.save(token, obtained, view).await)))
            }
            Err(error) => self.release(error, number, view).await,
        }
    }

    /// Knows the sign-in of the record, which has no newer token.
    fn learn_sign_in(&self, document: &Document) {
        let mut known = self.protocol.known();
        if known.epoch.is_none() || known.is_cache() {
            known.learn(document);
        }
    }

    /// Saves a response, and returns what the session gets.
    async fn save(&self, token: Token, obtained: Obtained, view: View) -> Token {
        let protocol = self.protocol;
        let (saved, is_late) = match protocol.save(&obtained, Some(view)).await {
            Ok(Saved::Written { token: stored, is_late, .. }) => {
                let is_the_same = stored.access == obtained.token.access;
                (if is_the_same { None } else { stored.to_token() }, is_late)
            }
            Ok(Saved::Overtaken { document, is_late }) => {
                let other = document.token.as_ref().and_then(adopted);
                (other, is_late)
            }
            // The session revokes it.
            Ok(Saved::OtherSignIn) => {
                protocol.follow_other_sign_in().await;
                (None, false)
            }
            Err(_) => {
                protocol.keep_unsaved(obtained);
                (None, false)
            }
        };
        if is_late {
            if let Some(session) = protocol.session() {
                session.emit_claim_lost();
            }
        }
        // Its refresh token is the record's; without one, it doesn't get the one that the session had.
        saved.unwrap_or(token).standing_alone()
    }

    /// Ends a claim whose exchange brought no token.
    async fn release(
        &self,
        mut error: RefreshError,
        number: u64,
        view: View,
    ) -> Result<Option<Result<Token, RefreshError>>, RefreshError> {
        let protocol = self.protocol;
        let Some(document) = view.document().cloned() else { return Err(error) };
        let presented = document.refresh_token().cloned();
        let successor = error.successor().filter(|successor| Some(*successor) != presented.as_ref()).cloned();
        if let Some(successor) = successor {
            let token =
                StoredToken { refresh_expires_at: None, ..document.token.clone().unwrap_or_default() };
            let token = StoredToken { refresh: Some(successor), ..token };
            let obtained = Obtained { number, epoch: document.epoch, by: document.by, presented, token };
            if protocol.save(&obtained, Some(view)).await.is_err() {
                protocol.keep_unsaved(obtained);
            }
            return Err(error);
        }
        let is_cache = presented.is_none();
        match error.kind() {
            FailureKind::GrantEnded | FailureKind::Misconfigured | FailureKind::Unexplained => {
                let verdict = self.verdict(&error, number, &document, view).await;
                match verdict.map_err(to_refresh_error)? {
                    Verdict::Stands => {}
                    Verdict::LookAgain => return Ok(None),
                }
                if is_cache && error.is_grant_ended() && document.token.is_none() {
                    protocol.known().refused = Some((document.epoch, document.by));
                    error = RefreshError::signed_out();
                }
                Err(error)
            }
            kind => {
                let unknown =
                    kind == FailureKind::OutcomeUnknown && !is_cache && !without("unknown forgotten");
                let pause = error
                    .retry_after()
                    .map(|wait| protocol.now().wall.saturating_add(nanos(wait).clamp(0, LONGEST_PAUSE)));
                let change = |document: Option<&Document>, _: &super::known::Known| match document {
                    Some(document) if protocol.has_claim(document, number) => {
                        let released = Document {
                            claim: None,
                            unknown: document.unknown || unknown,
                            pause: pause.or(document.pause),
                            ..document.clone()
                        };
                        Edit::Write(Box::new(released), ())
                    }
                    _ => Edit::Leave(()),
                };
                // If it fails, the claim stands until it lapses.
                let _ = protocol.edit(Some(view), change).await;
                Err(error)
            }
        }
    }

    /// What `invalid_grant` and the like say is of the token that was presented. Another process may have brought
    /// another one in the meantime.
    async fn verdict(
        &self,
        error: &RefreshError,
        number: u64,
        presented_from: &Document,
        view: View,
    ) -> Result<Verdict, StoreError> {
        let protocol = self.protocol;
        if without("verdict at once") {
            return Ok(Verdict::Stands);
        }
        let ends = error.is_grant_ended() && presented_from.refresh_token().is_some();
        let code = error.log_message().unwrap_or_default().to_owned();
        let change = |document: Option<&Document>, _: &super::known::Known| {
            let Some(document) = document else { return Edit::Leave(Verdict::LookAgain) };
            let is_other = document.epoch != presented_from.epoch
                || document.refresh_token() != presented_from.refresh_token();
            if is_other && !without("verdict erases") {
                return Edit::Leave(Verdict::LookAgain);
            }
            let is_own = protocol.has_claim(document, number);
            if !ends && !is_own {
                return Edit::Leave(Verdict::Stands);
            }
            let ended = ends.then(|| Ended { by: document.by, code: code.clone() });
            let updated = Document {
                claim: document.claim.clone().filter(|_| !is_own),
                ended: ended.or_else(|| document.ended.clone()),
                ..document.clone()
            };
            Edit::Write(Box::new(updated), Verdict::Stands)
        };
        // Written over what was there at the claim: if another process has written since, this looks again.
        protocol.edit(Some(view), change).await
    }
}

/// What a refusal means.
enum Verdict {
    Stands,
    LookAgain,
}

impl Drop for Run<'_> {
    fn drop(&mut self) {
        let mut known = self.protocol.known();
        if known.run == self.number {
            known.is_running = false;
            known.release_hold();
        }
    }
}
