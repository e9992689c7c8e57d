//! An exchange, under a claim that is in the record: call the token endpoint, then save its response or release the
//! claim.

use std::sync::Arc;

use futures_util::future::{Either, select};

use crate::{
    refresh::{FailureKind, RefreshContext, RefreshError, RefreshReason, Refresher},
    rt::{Timestamp, nanos},
    token::Token,
};

use super::{
    StoreError,
    document::{Document, Ended},
    known::{Known, UnsavedToken},
    look::LONGEST_PAUSE,
    mutations::without,
    protocol::{Edit, Protocol, to_refresh_error},
    save::{SaveOutcome, adopted},
    stored_token::StoredToken,
    view::View,
};

/// A record with a claim of this process in it.
pub(super) struct ClaimedRecord {
    pub(super) number: u64,
    pub(super) since: Timestamp,
    pub(super) view: View,
}

/// What follows from a refusal by the token endpoint.
enum Refusal {
    Stands,
    LookAgain,
}

// === impl Protocol ===

impl Protocol {
    /// Calls the token endpoint, under a claim that is in the record.
    pub(super) async fn exchange(
        &self,
        claimed: ClaimedRecord,
        cx: &RefreshContext,
        unknown: bool,
    ) -> Result<Option<Token>, RefreshError> {
        let ClaimedRecord { number, since, view } = claimed;
        let Some(document) = view.document() else { return Ok(None) };
        let timeout = self.settings.exchange_timeout;
        let left = timeout.saturating_sub(self.now().since(since));
        // The last check: from here on the refresh token may be presented.
        if !cx.is_wanted() || left < timeout / 2 {
            return Ok(None);
        }
        self.known().own_claims.clear();
        self.learn_sign_in(document);
        let is_repeat = document.unknown || unknown;
        let reason = match cx.reason() {
            _ if is_repeat => RefreshReason::Repeated,
            // The flight that got no response had presented nothing, or another refresh token.
            RefreshReason::Repeated => RefreshReason::Expired,
            reason => reason,
        };
        let presented = document.refresh_token().cloned();
        let stored = document.token.as_ref();
        let clock = Arc::clone(&self.clock);
        let wanted = cx.clone();
        let is_wanted =
            Arc::new(move || wanted.is_wanted() && clock.precise_now().since(since) <= timeout / 2);
        let deadline = since.monotonic.saturating_add(timeout);
        let token = stored.and_then(StoredToken::to_token);
        let exchange = cx.for_exchange(token, presented.clone(), reason, deadline, is_wanted);
        let called = self.now();
        let cut = self.sleep(left).map_err(to_refresh_error)?;
        let result = match select(Box::pin(self.refresher.refresh(exchange)), cut).await {
            Either::Left((result, _)) => result,
            Either::Right(_) => Err(RefreshError::outcome_unknown("no response within the exchange timeout")),
        };
        let obtained = |mut token: Token| {
            token.inherit_refresh_token(presented.as_ref());
            token.resolve_times(called);
            let others = stored.map(|stored| stored.others.clone()).unwrap_or_default();
            let (epoch, by) = (document.epoch, document.by);
            let stored = StoredToken::new(&token, others);
            (token, UnsavedToken { number, epoch, by, presented: presented.clone(), token: stored })
        };
        match result {
            Ok(token) => {
                let (token, obtained) = obtained(token);
                Ok(Some(self.finish(token, obtained, view).await))
            }
            Err(error) => self.release(error, number, view).await,
        }
    }

    /// Takes over the record's sign-in, if it has one. Its token isn't newer than the session's.
    pub(super) fn learn_sign_in(&self, document: &Document) {
        let mut known = self.known();
        if document.token.is_none() && !document.signed_out {
            if known.is_cache() {
                // The cache was deleted, and is being filled again.
                (known.epoch, known.by) = (Some(document.epoch), document.by);
                known.was.clone_from(&document.was);
            }
            return;
        }
        if known.epoch.is_none() || known.is_cache() {
            known.learn(document);
        }
    }

    /// Saves a response, and returns the token that the session uses.
    async fn finish(&self, token: Token, obtained: UnsavedToken, view: View) -> Token {
        // This future may be dropped while it saves.
        self.keep_unsaved(obtained.clone());
        let (saved, is_late) = match self.save(&obtained, Some(view)).await {
            Ok(SaveOutcome::Written { token: stored, is_late, .. }) => {
                let is_the_same = stored.access == obtained.token.access;
                (if is_the_same { None } else { stored.to_token() }, is_late)
            }
            Ok(SaveOutcome::Overtaken { document, is_late }) => {
                let other = document.token.as_ref().and_then(adopted);
                (other, is_late)
            }
            // The session revokes it.
            Ok(SaveOutcome::OtherSignIn) => (None, false),
            Err(_) => (None, false),
        };
        if is_late {
            if let Some(session) = self.session() {
                session.emit_claim_lost();
            }
        }
        // Its refresh token is the record's. If it has none, it must not inherit the session's.
        saved.unwrap_or(token).standing_alone()
    }

    /// Releases a claim whose exchange returned no token.
    async fn release(
        &self,
        mut error: RefreshError,
        number: u64,
        view: View,
    ) -> Result<Option<Token>, RefreshError> {
        let Some(document) = view.document().cloned() else { return Err(error) };
        let presented = document.refresh_token().cloned();
        let successor = error.successor().filter(|successor| Some(*successor) != presented.as_ref()).cloned();
        if let Some(successor) = successor {
            let token =
                StoredToken { refresh_expires_at: None, ..document.token.clone().unwrap_or_default() };
            let token = StoredToken { refresh: Some(successor), ..token };
            let obtained = UnsavedToken { number, epoch: document.epoch, by: document.by, presented, token };
            self.keep_unsaved(obtained.clone());
            // If this fails, it stays unsaved.
            let _ = self.save(&obtained, Some(view)).await;
            return Err(error);
        }
        let is_cache = presented.is_none();
        match error.kind() {
            FailureKind::GrantEnded | FailureKind::Misconfigured | FailureKind::Unexplained => {
                let verdict = self.judge_refusal(&error, number, &document, view).await;
                match verdict.map_err(to_refresh_error)? {
                    Refusal::Stands => {}
                    Refusal::LookAgain => return Ok(None),
                }
                if is_cache && error.is_grant_ended() && document.token.is_none() {
                    self.known().refused = Some((document.epoch, document.by));
                    error = RefreshError::signed_out();
                }
                Err(error)
            }
            kind => {
                let unknown =
                    kind == FailureKind::OutcomeUnknown && !is_cache && !without("unknown forgotten");
                let pause = error
                    .retry_after()
                    .map(|wait| self.now().wall.saturating_add(nanos(wait).clamp(0, LONGEST_PAUSE)));
                let change = |document: Option<&Document>, _: &Known| match document {
                    Some(document) if self.has_claim(document, number) => {
                        // Another refresh token may have been set in the meantime.
                        let unknown = unknown && document.refresh_token() == presented.as_ref();
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
                // If this fails, the claim stays until it lapses.
                let _ = self.edit(Some(view), change).await;
                Err(error)
            }
        }
    }

    /// Decides whether a refusal stands. It is about the token that was presented, and another process may have
    /// replaced that one in the meantime.
    async fn judge_refusal(
        &self,
        error: &RefreshError,
        number: u64,
        presented_from: &Document,
        view: View,
    ) -> Result<Refusal, StoreError> {
        if without("verdict at once") {
            return Ok(Refusal::Stands);
        }
        let ends = error.is_grant_ended() && presented_from.refresh_token().is_some();
        let code = error.log_message().unwrap_or_default().to_owned();
        let change = |document: Option<&Document>, _: &Known| {
            let Some(document) = document else { return Edit::Leave(Refusal::LookAgain) };
            let is_other = document.epoch != presented_from.epoch
                || document.refresh_token() != presented_from.refresh_token();
            let is_own = self.has_claim(document, number);
            if is_other && !without("verdict erases") {
                return match is_own {
                    true => Edit::Write(Box::new(document.without_claim()), Refusal::LookAgain),
                    false => Edit::Leave(Refusal::LookAgain),
                };
            }
            if !ends && !is_own {
                return Edit::Leave(Refusal::Stands);
            }
            let ended = ends.then(|| Ended { by: document.by, code: code.clone() });
            let updated = Document {
                claim: document.claim.clone().filter(|_| !is_own),
                ended: ended.or_else(|| document.ended.clone()),
                ..document.clone()
            };
            Edit::Write(Box::new(updated), Refusal::Stands)
        };
        // Replaces the record as it was at the claim: if another process has written since, `change` decides again.
        self.edit(Some(view), change).await
    }
}
