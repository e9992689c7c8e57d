//! Taking over what other processes did.

use super::{
    StoreError,
    document::Document,
    look::{Look, look},
    protocol::Protocol,
    save::adopted,
};

// === impl Protocol ===

impl Protocol {
    /// Takes over another process's sign-in or sign-out. `None`: the record was deleted.
    pub(super) fn follow(&self, document: Option<&Document>) {
        let Some(session) = self.session() else { return };
        let token = document.and_then(|document| document.token.as_ref().filter(|_| !document.signed_out));
        // The session first: a change that it has made before must not be written any more.
        let changes = match token {
            Some(token) => session.follow_sign_in(token.to_token()),
            None => session.follow_sign_out(document.is_some()),
        };
        let unsaved = {
            let mut known = self.known();
            known.written_change = known.written_change.max(changes);
            let unsaved = known.unsaved.take();
            known.sign_ins += 1;
            match document {
                Some(document) => known.learn(document),
                None => known.lose(),
            }
            known.release_hold();
            unsaved
        };
        if let Some(token) = unsaved.and_then(|unsaved| unsaved.token.to_token()) {
            session.revoke(token);
        }
    }

    /// Takes over a sign-in or sign-out that this process has just written, unless the user has made another one
    /// since the call.
    pub(super) fn follow_own(&self, document: &Document, sign_ins: u64) {
        match self.session() {
            Some(session) if session.sign_ins() == sign_ins => {
                self.follow(Some(document));
                if document.signed_out {
                    session.stay_signed_out();
                }
            }
            _ => self.known().learn(document),
        }
    }

    /// Takes over what other processes did. Asks no token endpoint. Returns whether the session is up to date.
    pub(super) async fn look_now(&self) -> Result<bool, StoreError> {
        self.write_unsaved().await?;
        let before = self.session().map(|session| (session.changes(), session.sign_ins()));
        let (changes, sign_ins) = before.unwrap_or_default();
        let view = self.load().await?;
        let action = {
            let looker = self.looker(None, true);
            look(view.document(), &self.known(), &looker)
        };
        match action {
            Look::Follow => self.follow(view.document()),
            Look::SignedOut => {
                if let Some(session) = self.session() {
                    session.find_signed_out(sign_ins);
                }
            }
            Look::Write(document) => self.write_missing(&view, *document).await?,
            Look::Save(obtained) => {
                self.save(&obtained, Some(view)).await?;
            }
            Look::Adopt => {
                let document = view.document();
                let token = document.and_then(|document| adopted(document.token.as_ref()?));
                if let (Some(session), Some(document), Some(token)) = (self.session(), document, token) {
                    // While a refresh is in flight, it finds the token itself.
                    if !session.adopt(token, changes) {
                        return Ok(false);
                    }
                    self.known().learn(document);
                }
            }
            Look::Ended | Look::GiveUp | Look::Pause(_) | Look::UseOwnClaim | Look::Wait { .. } => {}
            Look::Claim { .. } => {}
        }
        Ok(true)
    }
}
