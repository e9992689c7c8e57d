//! Sign-ins, sign-outs and tokens that are set: here, and in other processes.

use crate::{
    event::HookError,
    session::{Change, ChangeKind, SaveOrder},
    token::{RevocableTokens, Secret, Token},
};

use super::{
    StoreError,
    document::{Document, EPOCHS},
    known::{Known, OwnEpoch},
    look::{new_epoch, step, write_again},
    mutations::without,
    protocol::{Edit, Protocol, SwapOutcome, WriteGuard},
    save::{SaveOutcome, adopted},
    stored_token::StoredToken,
};

/// The outcome of writing a change.
enum WriteOutcome {
    Done(Box<Document>),
    /// An earlier attempt had written it. The next look adopts its token.
    Found(Box<Document>),
    /// A later write has replaced this one.
    Replaced,
    /// Another process has signed in or out in the meantime.
    OtherSignIn(Option<Box<Document>>),
}

// === impl Protocol ===

impl Protocol {
    /// The store's part of a save.
    pub(super) async fn save_order(&self, order: &SaveOrder) -> Result<(), HookError> {
        let saved = self.write_unsaved_with(order).await;
        saved.map_err(|error| HookError::failed(error.into()))
    }

    async fn write_unsaved_with(&self, order: &SaveOrder) -> Result<(), StoreError> {
        let guard = self.lock_writes().await?;
        self.save_unsaved().await?;
        match &order.change {
            Some(change) => self.write_change(&guard, change, order.token.clone()).await,
            None => Ok(()),
        }
    }

    /// Writes what this process has and the record lacks. Nothing is presented before that.
    pub(super) async fn write_unsaved(&self) -> Result<(), StoreError> {
        let guard = self.lock_writes().await?;
        self.write_pending(&guard).await
    }

    async fn write_pending(&self, guard: &WriteGuard) -> Result<(), StoreError> {
        self.save_unsaved().await?;
        match self.session().and_then(|session| session.unsaved_change()) {
            Some((change, token)) => self.write_change(guard, &change, token).await,
            None => Ok(()),
        }
    }

    async fn save_unsaved(&self) -> Result<(), StoreError> {
        let unsaved = self.known().unsaved.clone();
        let Some(unsaved) = unsaved.filter(|_| !without("unsaved not retried")) else { return Ok(()) };
        let changes = self.session().map_or(0, |session| session.changes());
        match self.save(&unsaved, None).await? {
            SaveOutcome::Written { .. } => {}
            SaveOutcome::Overtaken { document, .. } => {
                let token = document.token.as_ref().and_then(adopted);
                if let (Some(session), Some(token)) = (self.session(), token) {
                    if !session.adopt(token, changes) {
                        // The next look adopts it.
                        self.known().forget_adoption();
                    }
                }
            }
            SaveOutcome::OtherSignIn => {
                if let (Some(session), Some(token)) = (self.session(), unsaved.token.to_token()) {
                    session.revoke(token);
                }
            }
        }
        Ok(())
    }

    async fn write_change(
        &self,
        guard: &WriteGuard,
        change: &Change,
        token: Option<Token>,
    ) -> Result<(), StoreError> {
        let number = change.number;
        if self.known().written_change >= number {
            return Ok(());
        }
        let written = match (&change.kind, token) {
            (ChangeKind::SignedOut, _) => self.write_sign_in(guard, None, Some(number)).await?.0,
            (ChangeKind::SignedIn, Some(token)) => {
                self.write_sign_in(guard, Some(&token), Some(number)).await?.0
            }
            (ChangeKind::Set { refresh_token }, Some(token)) => {
                self.write_set_token(guard, &token, refresh_token.as_ref()).await?
            }
            (ChangeKind::SignedIn | ChangeKind::Set { .. }, None) => return Ok(()),
        };
        let mut known = self.known();
        if let WriteOutcome::Replaced = written {
            return Err(replaced());
        }
        known.written_change = known.written_change.max(number);
        match written {
            WriteOutcome::Done(document) => known.learn(&document),
            WriteOutcome::Found(document) => {
                known.learn(&document);
                known.forget_adoption();
            }
            WriteOutcome::Replaced => {}
            WriteOutcome::OtherSignIn(document) => {
                drop(known);
                self.follow(document.as_deref());
            }
        }
        Ok(())
    }

    /// Writes a sign-in, or a sign-out if `token` is `None`. `change`: the number of the session's change,
    /// which must not overwrite a sign-in that this process didn't know at that time.
    async fn write_sign_in(
        &self,
        guard: &WriteGuard,
        token: Option<&Token>,
        change: Option<u64>,
    ) -> Result<(WriteOutcome, RevocableTokens), StoreError> {
        let own_epoch = self.own_epoch(change, token.and_then(Token::refresh_secret));
        let edit = |document: Option<&Document>, known: &Known| {
            let before = document.map(|document| document.epoch);
            if self.is_replaced(guard) {
                return Edit::Leave((WriteOutcome::Replaced, RevocableTokens::default()));
            }
            if let Some(written) = document.filter(|document| document.epoch == own_epoch) {
                let written = WriteOutcome::Found(Box::new(written.clone()));
                return Edit::Leave((written, RevocableTokens::default()));
            }
            let is_unknown = |before| {
                known.epoch.is_some_and(|epoch| epoch != before)
                    && !known.came_after(before)
                    && !known.is_own_epoch(before)
            };
            let is_written = document.is_some_and(|document| document.was.contains(&own_epoch));
            let is_other = is_written || change.is_some() && before.is_some_and(is_unknown);
            if is_other {
                let other = document.cloned().map(Box::new);
                return Edit::Leave((WriteOutcome::OtherSignIn(other), RevocableTokens::default()));
            }
            let epoch = match before {
                Some(before) if without("epoch counted") => new_epoch(Some(before)),
                Some(before) if without("no epoch") => before,
                _ => own_epoch,
            };
            let claims = document.map_or(0, |document| document.claims).max(known.by) + step();
            let written = Box::new(Document {
                epoch,
                was: known.epochs_before_next(document),
                by: claims,
                claims,
                client: document.and_then(|document| document.client.clone()),
                signed_out: token.is_none(),
                token: token.map(|token| StoredToken::new(token, Default::default())),
                ..Document::default()
            });
            let revocable = document.map(Document::revocable_tokens).unwrap_or_default();
            Edit::Write(written.clone(), (WriteOutcome::Done(written), revocable))
        };
        self.edit(None, edit).await
    }

    /// Writes a token that the session has set. If the record's token has changed since an earlier attempt,
    /// that attempt may have succeeded and the refresh token may be spent, so it isn't written again.
    async fn write_set_token(
        &self,
        guard: &WriteGuard,
        token: &Token,
        refresh_token: Option<&Secret>,
    ) -> Result<WriteOutcome, StoreError> {
        let Some(set) = refresh_token else { return self.write_token(guard, token, None).await };
        let view = self.load().await?;
        let by = view.document().map_or(0, |document| document.by);
        {
            let mut known = self.known();
            match (&known.set, view.document()) {
                (Some((earlier, before)), document) if earlier == set => {
                    let same = document.filter(|document| known.epoch == Some(document.epoch));
                    if let Some(document) = same.filter(|document| document.by != *before) {
                        return Ok(WriteOutcome::Found(Box::new(document.clone())));
                    }
                }
                // From here on it may be in the record.
                _ => known.set = Some((set.clone(), by)),
            }
        }
        self.write_token(guard, token, refresh_token).await
    }

    /// The epoch of a sign-in or sign-out. It is the same for each attempt to write a change, even if an
    /// access token was set in between.
    fn own_epoch(&self, change: Option<u64>, refresh_token: Option<&Secret>) -> u64 {
        let mut known = self.known();
        let is_same = |own: &&OwnEpoch| {
            let is_unwritten = own.change > Some(known.written_change);
            let has_same_token = refresh_token.is_some() && own.refresh_token.as_ref() == refresh_token;
            own.change == change || is_unwritten && has_same_token
        };
        let earlier = known.own_epochs.iter().filter(|own| own.change.is_some() && change.is_some());
        if let Some(own) = earlier.rev().find(is_same) {
            return own.epoch;
        }
        let epoch = new_epoch(None);
        known.own_epochs.push(OwnEpoch { epoch, change, refresh_token: refresh_token.cloned() });
        let surplus = known.own_epochs.len().saturating_sub(EPOCHS);
        known.own_epochs.drain(..surplus);
        epoch
    }

    /// Writes a token of the same sign-in that was obtained elsewhere. `refresh_token`: its own refresh
    /// token, if it has one.
    async fn write_token(
        &self,
        guard: &WriteGuard,
        token: &Token,
        refresh_token: Option<&Secret>,
    ) -> Result<WriteOutcome, StoreError> {
        let change = |document: Option<&Document>, known: &Known| {
            if self.is_replaced(guard) {
                return Edit::Leave(WriteOutcome::Replaced);
            }
            let Some(document) = document else {
                // Deleted in the meantime, or nobody has signed in yet.
                if known.epoch.is_some() {
                    return Edit::Leave(WriteOutcome::OtherSignIn(None));
                }
                let by = step();
                let written = Box::new(Document {
                    epoch: new_epoch(None),
                    by,
                    claims: by,
                    token: Some(StoredToken::new(token, Default::default())),
                    ..Document::default()
                });
                return Edit::Write(written.clone(), WriteOutcome::Done(written));
            };
            let is_other = known.epoch.map_or(known.is_gone, |epoch| epoch != document.epoch);
            if is_other && !known.came_after(document.epoch) || document.signed_out {
                return Edit::Leave(WriteOutcome::OtherSignIn(Some(Box::new(document.clone()))));
            }
            let mut document = document.clone();
            let is_behind = !is_other && document.by < known.by;
            match known.epoch {
                Some(epoch) if is_other || is_behind => document = write_again(&document, known, epoch),
                _ => {}
            }
            let others = document.token.as_ref().map(|token| token.others.clone()).unwrap_or_default();
            let mut stored = StoredToken::new(token, others);
            let other = refresh_token.filter(|other| Some(*other) != document.refresh_token());
            let fences = other.is_some() || without("set fences");
            if let (None, Some(current)) = (other, &document.token) {
                stored.refresh.clone_from(&current.refresh);
                stored.refresh_expires_at = current.refresh_expires_at;
            }
            let by = if fences { document.claims + step() } else { document.by + 1 };
            let clears = other.is_some() || without("set clears unknown");
            let written = Box::new(Document {
                by,
                claims: document.claims.max(by),
                unknown: document.unknown && !clears,
                token: Some(stored),
                claim: document.claim.clone().filter(|_| !without("set clears claim")),
                ended: None,
                pause: None,
                ..document
            });
            Edit::Write(written.clone(), WriteOutcome::Done(written))
        };
        loop {
            let view = self.load().await?;
            let edit = change(view.document(), &self.known());
            let (document, written) = match edit {
                Edit::Write(document, written) => (*document, written),
                Edit::Leave(written) => return Ok(written),
            };
            match self.swap(&view, document).await? {
                SwapOutcome::Written { .. } => return Ok(written),
                // If it was written, another process may have used the refresh token already.
                SwapOutcome::Unknown if refresh_token.is_some() => {
                    return Err(StoreError::unavailable("the response to a write was lost").into_unknown());
                }
                SwapOutcome::Conflict | SwapOutcome::Unknown => {}
            }
        }
    }

    /// Signs in, in the record first.
    pub(super) async fn sign_in(&self, token: Token) -> Result<(), StoreError> {
        let sign_ins = self.session().map_or(0, |session| session.sign_ins());
        let guard = self.lock_writes().await?;
        let mut token = token;
        token.resolve_times(self.now());
        let (written, _) = self.write_sign_in(&guard, Some(&token), None).await?;
        self.follow_own(written, sign_ins)
    }

    /// Signs out, in the record first. Returns what the record had.
    pub(super) async fn sign_out(&self) -> Result<RevocableTokens, StoreError> {
        let sign_ins = self.session().map_or(0, |session| session.sign_ins());
        let guard = self.lock_writes().await?;
        let (written, revocable) = self.write_sign_in(&guard, None, None).await?;
        self.follow_own(written, sign_ins)?;
        Ok(revocable)
    }

    /// Sets a token, in the record first.
    pub(super) async fn set_token(&self, mut token: Token) -> Result<(), StoreError> {
        let sign_ins = self.known().sign_ins;
        let guard = self.lock_writes().await?;
        // It is a token of the sign-in that the session has.
        self.write_pending(&guard).await?;
        if self.known().sign_ins != sign_ins {
            return Err(StoreError::signed_out());
        }
        token.resolve_times(self.now());
        match self.write_token(&guard, &token, token.refresh_secret()).await? {
            WriteOutcome::Done(document) => {
                self.known().learn(&document);
                let token = document.token.as_ref().and_then(StoredToken::to_token);
                if let (Some(session), Some(token)) = (self.session(), token) {
                    if !session.set(token) {
                        self.follow(Some(&document));
                    }
                }
                Ok(())
            }
            WriteOutcome::Found(_) => Ok(()),
            WriteOutcome::Replaced => Err(replaced()),
            WriteOutcome::OtherSignIn(document) => {
                self.follow(document.as_deref());
                Err(StoreError::signed_out())
            }
        }
    }

    /// Takes over a sign-in or sign-out that this process has just written, unless the user has made another one
    /// since the call.
    fn follow_own(&self, written: WriteOutcome, sign_ins: u64) -> Result<(), StoreError> {
        let document = match written {
            WriteOutcome::Done(document) | WriteOutcome::Found(document) => document,
            WriteOutcome::Replaced => return Err(replaced()),
            WriteOutcome::OtherSignIn(_) => return Ok(()),
        };
        match self.session() {
            Some(session) if session.sign_ins() == sign_ins => {
                self.follow(Some(&document));
                if document.signed_out {
                    session.stay_signed_out();
                }
            }
            _ => self.known().learn(&document),
        }
        Ok(())
    }
}

fn replaced() -> StoreError {
    StoreError::unavailable("the write took too long, and a later one replaced it; try again")
}

#[cfg(test)]
mod tests;
