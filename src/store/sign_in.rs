//! Sign-ins, sign-outs and tokens that are set: here, and in other processes.

use crate::{
    event::HookError,
    session::{ChangeKind, SaveOrder},
    token::{RevocableTokens, Secret, Token},
};

use super::{
    StoreError,
    document::{Document, EPOCHS},
    known::Known,
    look::{new_epoch, step, write_again},
    mutations::without,
    protocol::{Edit, Protocol},
    save::{Saved, adopted},
    stored_token::StoredToken,
};

/// What became of a change.
enum Written {
    Done(Box<Document>),
    /// The record has a later token, which the next look adopts.
    Overtaken,
    /// Another process signed in or out meanwhile.
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
        let _write = self.begin_write().await?;
        self.save_unsaved().await?;
        match &order.change {
            Some(change) => self.write_change(change.number, &change.kind, order.token.clone()).await,
            None => Ok(()),
        }
    }

    /// Writes what this process has and the record lacks. Nothing is presented before that.
    pub(super) async fn write_unsaved(&self) -> Result<(), StoreError> {
        let _write = self.begin_write().await?;
        self.write_pending().await
    }

    async fn write_pending(&self) -> Result<(), StoreError> {
        self.save_unsaved().await?;
        match self.session().and_then(|session| session.unsaved_change()) {
            Some((change, token)) => self.write_change(change.number, &change.kind, token).await,
            None => Ok(()),
        }
    }

    async fn save_unsaved(&self) -> Result<(), StoreError> {
        let unsaved = self.known().unsaved.clone();
        let Some(unsaved) = unsaved.filter(|_| !without("unsaved not retried")) else { return Ok(()) };
        let changes = self.session().map_or(0, |session| session.changes());
        match self.save(&unsaved, None).await? {
            Saved::Written { .. } => {}
            Saved::Overtaken { document, .. } => {
                let token = document.token.as_ref().and_then(adopted);
                if let (Some(session), Some(token)) = (self.session(), token) {
                    if !session.adopt(token, changes) {
                        // The next look finds it.
                        self.known().forget_adoption();
                    }
                }
            }
            Saved::OtherSignIn => {
                if let (Some(session), Some(token)) = (self.session(), unsaved.token.to_token()) {
                    session.revoke(token);
                }
            }
        }
        Ok(())
    }

    async fn write_change(
        &self,
        number: u64,
        kind: &ChangeKind,
        token: Option<Token>,
    ) -> Result<(), StoreError> {
        if self.known().written_change >= number {
            return Ok(());
        }
        let written = match (kind, token) {
            (ChangeKind::SignedOut, _) => self.write_sign_in(None, Some(number)).await?.0,
            (ChangeKind::SignedIn, Some(token)) => self.write_sign_in(Some(&token), Some(number)).await?.0,
            (ChangeKind::Set { refresh_token }, Some(token)) => {
                self.write_token_again(number, &token, refresh_token.as_ref()).await?
            }
            (ChangeKind::SignedIn | ChangeKind::Set { .. }, None) => return Ok(()),
        };
        let mut known = self.known();
        known.written_change = known.written_change.max(number);
        match written {
            Written::Done(document) => known.learn(&document),
            Written::Overtaken => {}
            Written::OtherSignIn(document) => {
                drop(known);
                self.follow(document.as_deref());
            }
        }
        Ok(())
    }

    /// Writes a sign-in, or a sign-out. `change`: it is one that the session has made, and isn't written over a
    /// sign-in that this process didn't know then.
    async fn write_sign_in(
        &self,
        token: Option<&Token>,
        change: Option<u64>,
    ) -> Result<(Written, RevocableTokens), StoreError> {
        let drawn = self.draw_epoch(change);
        let edit = |document: Option<&Document>, known: &Known| {
            let before = document.map(|document| document.epoch);
            if let Some(written) = document.filter(|document| document.epoch == drawn) {
                // By an attempt whose response was lost.
                let written = Written::Done(Box::new(written.clone()));
                return Edit::Leave((written, RevocableTokens::default()));
            }
            let is_unknown = |before| {
                known.epoch.is_some_and(|epoch| epoch != before)
                    && !known.came_after(before)
                    && !known.has_drawn(before)
            };
            let is_written = document.is_some_and(|document| document.was.contains(&drawn));
            let is_other = is_written || change.is_some() && before.is_some_and(is_unknown);
            if is_other {
                let other = document.cloned().map(Box::new);
                return Edit::Leave((Written::OtherSignIn(other), RevocableTokens::default()));
            }
            let epoch = match before {
                Some(before) if without("epoch counted") => new_epoch(Some(before)),
                Some(before) if without("no epoch") => before,
                _ => drawn,
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
            Edit::Write(written.clone(), (Written::Done(written), revocable))
        };
        self.edit(None, edit).await
    }

    /// Writes a token that was set. If an attempt has failed and the record has another token now, the set one may have
    /// been there, and its refresh token may have been used since.
    async fn write_token_again(
        &self,
        change: u64,
        token: &Token,
        refresh_token: Option<&Secret>,
    ) -> Result<Written, StoreError> {
        let failed =
            self.known().failed_set.filter(|(number, _)| *number == change && refresh_token.is_some());
        let view = self.load().await?;
        let by = view.document().map_or(0, |document| document.by);
        if let (Some((_, before)), Some(document)) = (failed, view.document()) {
            if before != by && self.known().epoch == Some(document.epoch) {
                self.known().learn(document);
                self.known().forget_adoption();
                return Ok(Written::Overtaken);
            }
        }
        let written = self.write_token(token, refresh_token).await;
        if written.is_err() && failed.is_none() {
            self.known().failed_set = Some((change, by));
        }
        written
    }

    /// The epoch of the next sign-in: the same one for each attempt to write a change.
    fn draw_epoch(&self, change: Option<u64>) -> u64 {
        let mut known = self.known();
        let earlier = known.drawn.iter().find(|(number, _)| change.is_some() && *number == change);
        if let Some((_, drawn)) = earlier {
            return *drawn;
        }
        let drawn = new_epoch(None);
        known.drawn.push((change, drawn));
        let surplus = known.drawn.len().saturating_sub(EPOCHS);
        known.drawn.drain(..surplus);
        drawn
    }

    /// Writes a token of the same sign-in that was obtained elsewhere. `refresh_token`: its own, if it has another.
    async fn write_token(
        &self,
        token: &Token,
        refresh_token: Option<&Secret>,
    ) -> Result<Written, StoreError> {
        let change = |document: Option<&Document>, known: &Known| {
            let Some(document) = document else {
                // Deleted meanwhile; or nobody has signed in yet.
                if known.epoch.is_some() {
                    return Edit::Leave(Written::OtherSignIn(None));
                }
                let by = step();
                let written = Box::new(Document {
                    epoch: new_epoch(None),
                    by,
                    claims: by,
                    token: Some(StoredToken::new(token, Default::default())),
                    ..Document::default()
                });
                return Edit::Write(written.clone(), Written::Done(written));
            };
            let is_other = known.epoch.map_or(known.is_gone, |epoch| epoch != document.epoch);
            if is_other && !known.came_after(document.epoch) || document.signed_out {
                return Edit::Leave(Written::OtherSignIn(Some(Box::new(document.clone()))));
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
            Edit::Write(written.clone(), Written::Done(written))
        };
        self.edit(None, change).await
    }

    /// Signs in, in the record first.
    pub(super) async fn sign_in(&self, token: Token) -> Result<(), StoreError> {
        let sign_ins = self.session().map_or(0, |session| session.sign_ins());
        let _write = self.begin_write().await?;
        let mut token = token;
        token.resolve_times(self.now());
        let (written, _) = self.write_sign_in(Some(&token), None).await?;
        if let Written::Done(document) = written {
            self.follow_own(&document, sign_ins);
        }
        Ok(())
    }

    /// Signs out, in the record first. Returns what the record had.
    pub(super) async fn sign_out(&self) -> Result<RevocableTokens, StoreError> {
        let sign_ins = self.session().map_or(0, |session| session.sign_ins());
        let _write = self.begin_write().await?;
        let (written, revocable) = self.write_sign_in(None, None).await?;
        if let Written::Done(document) = written {
            self.follow_own(&document, sign_ins);
        }
        Ok(revocable)
    }

    /// Sets a token, in the record first.
    pub(super) async fn set_token(&self, mut token: Token) -> Result<(), StoreError> {
        let sign_ins = self.known().sign_ins;
        let _write = self.begin_write().await?;
        // It is a token of the sign-in that the session has.
        self.write_pending().await?;
        if self.known().sign_ins != sign_ins {
            return Err(StoreError::signed_out());
        }
        token.resolve_times(self.now());
        match self.write_token(&token, token.refresh_secret()).await? {
            Written::Done(document) => {
                self.known().learn(&document);
                let token = document.token.as_ref().and_then(StoredToken::to_token);
                if let (Some(session), Some(token)) = (self.session(), token) {
                    if !session.set(token) {
                        self.follow(Some(&document));
                    }
                }
                Ok(())
            }
            Written::Overtaken => Ok(()),
            Written::OtherSignIn(document) => {
                self.follow(document.as_deref());
                Err(StoreError::signed_out())
            }
        }
    }
}
