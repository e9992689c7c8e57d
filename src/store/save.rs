//! Saving the token that an exchange returned.

use crate::token::Token;

use super::{
    StoreError,
    document::Document,
    known::{Known, UnsavedToken},
    look::write_again,
    mutations::without,
    protocol::{Edit, Protocol},
    stored_token::StoredToken,
    view::View,
};

/// The outcome of saving a token.
pub(super) enum SaveOutcome {
    /// The record has it, with this number.
    Written { by: u64, token: StoredToken, is_late: bool },
    /// The record has a later one, which takes precedence.
    Overtaken { document: Box<Document>, is_late: bool },
    /// There is another sign-in, or none. The session has followed it.
    OtherSignIn,
}

// === impl Protocol ===

impl Protocol {
    /// Writes the token, unless the record has a later one. Takes over the record's token in either case.
    pub(super) async fn save(
        &self,
        obtained: &UnsavedToken,
        view: Option<View>,
    ) -> Result<SaveOutcome, StoreError> {
        let mut other = None;
        let change = |document: Option<&Document>, known: &Known| {
            let edit = self.save_into(document, known, obtained);
            if let Edit::Leave(SaveOutcome::OtherSignIn) = edit {
                other = Some(document.cloned());
            }
            edit
        };
        let saved = self.edit(view, change).await?;
        let mut known = self.known();
        // The caller revokes it, or passes it on.
        known.unsaved.take_if(|unsaved| unsaved.number <= obtained.number);
        if let Some(other) = other {
            let is_followed = match &other {
                Some(document) => known.epoch == Some(document.epoch) || known.came_after(document.epoch),
                None => known.epoch != Some(obtained.epoch),
            };
            drop(known);
            if !is_followed {
                self.follow(other.as_ref());
            }
            return Ok(SaveOutcome::OtherSignIn);
        }
        if known.epoch.is_some_and(|epoch| epoch != obtained.epoch) {
            return Ok(SaveOutcome::OtherSignIn);
        }
        // A save may be late, if its runtime was stalled.
        let knows_later = |by| known.epoch.is_some() && known.by > by;
        match &saved {
            SaveOutcome::Written { by, token, .. } if !knows_later(*by) => {
                known.epoch = Some(obtained.epoch);
                (known.by, known.token) = (*by, Some(token.clone()));
            }
            SaveOutcome::Overtaken { document, .. } if !knows_later(document.by) => known.learn(document),
            _ => {}
        }
        drop(known);
        self.release_hold();
        Ok(saved)
    }

    fn save_into(
        &self,
        document: Option<&Document>,
        known: &Known,
        obtained: &UnsavedToken,
    ) -> Edit<SaveOutcome> {
        let Some(document) = document else {
            // Deleted, which is a sign-out; an empty cache is filled.
            return match obtained.token.refresh {
                Some(_) => Edit::Leave(SaveOutcome::OtherSignIn),
                None => {
                    let empty = Document { epoch: obtained.epoch, ..Document::default() };
                    self.write(&empty, obtained, obtained.token.clone())
                }
            };
        };
        if document.epoch != obtained.epoch {
            let went_back = known.epoch == Some(obtained.epoch) && known.came_after(document.epoch);
            if !went_back || without("follow back") {
                return Edit::Leave(SaveOutcome::OtherSignIn);
            }
            let mut again = write_again(document, known, obtained.epoch);
            again.by = obtained.number.max(again.by);
            again.claims = again.claims.max(again.by);
            again.token = Some(obtained.token.clone());
            let saved = SaveOutcome::Written { by: again.by, token: obtained.token.clone(), is_late: true };
            return Edit::Write(Box::new(again), saved);
        }
        let is_late = !self.has_claim(document, obtained.number);
        let has_it = obtained.is_rotated() && document.refresh_token() == obtained.token.refresh.as_ref();
        let is_fenced =
            document.by >= obtained.number && document.refresh_token() != obtained.presented.as_ref();
        let is_dropped = match () {
            () if without("no fence") => false,
            () if without("strict fence") => is_late,
            () if without("ended for good") && document.has_ended() => true,
            () => is_fenced || has_it && !without("same saved again"),
        };
        if is_dropped {
            let mut kept = document.clone();
            if self.has_claim(document, obtained.number) {
                kept.claim = None;
                let overtaken = SaveOutcome::Overtaken { document: Box::new(kept.clone()), is_late };
                // It may have been presented since, so `unknown` stays.
                return Edit::Write(Box::new(kept), overtaken);
            }
            return Edit::Leave(SaveOutcome::Overtaken { document: Box::new(kept), is_late });
        }
        let is_set_meanwhile =
            document.by != obtained.by && document.refresh_token() == obtained.presented.as_ref();
        let token = match document.token.as_ref().filter(|token| is_set_meanwhile && token.access.is_some()) {
            // An access token was set in the meantime: it stays, beside the new refresh token.
            Some(set) => StoredToken {
                refresh: obtained.token.refresh.clone(),
                refresh_expires_at: obtained.token.refresh_expires_at,
                ..set.clone()
            },
            None => obtained.token.clone(),
        };
        self.write(document, obtained, token)
    }

    fn write(&self, document: &Document, obtained: &UnsavedToken, token: StoredToken) -> Edit<SaveOutcome> {
        let is_late = !self.has_claim(document, obtained.number);
        let by = match without("no fence") {
            true => obtained.number,
            false => obtained.number.max(document.by + 1),
        };
        let removes_claim = !is_late || without("save clears claims") || without("no fence");
        let mut token = token;
        if token.others.is_empty() {
            token.others = document.token.as_ref().map(|token| token.others.clone()).unwrap_or_default();
        }
        let written = Document {
            by,
            claims: document.claims.max(by),
            unknown: false,
            token: Some(token.clone()),
            claim: document.claim.clone().filter(|_| !removes_claim),
            ended: None,
            pause: None,
            ..document.clone()
        };
        Edit::Write(Box::new(written), SaveOutcome::Written { by, token, is_late })
    }

    /// Keeps a token that couldn't be saved: the session uses it, and nothing is presented until it is saved.
    pub(super) fn keep_unsaved(&self, obtained: UnsavedToken) {
        let mut known = self.known();
        let is_other = known.epoch.map_or(known.is_gone, |epoch| epoch != obtained.epoch);
        if is_other || obtained.number < known.by || without("unsaved dropped") {
            return;
        }
        known.epoch = Some(obtained.epoch);
        (known.by, known.token) = (obtained.number, Some(obtained.token.clone()));
        known.unsaved = Some(obtained);
    }
}

/// The session's token for one from the record, which another process obtained.
pub(super) fn adopted(token: &StoredToken) -> Option<Token> {
    token.to_token().map(|token| token.adopted().standing_alone())
}

#[cfg(test)]
mod tests;
