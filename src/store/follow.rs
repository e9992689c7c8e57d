//! Taking over changes by other processes.

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
        // The session comes first: its earlier changes must not be written any more.
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
            unsaved
        };
        self.release_hold();
        if let Some(token) = unsaved.and_then(|unsaved| unsaved.token.to_token()) {
            session.revoke(token);
        }
    }

    /// Takes over changes by other processes. Never calls the token endpoint. Returns whether the session is
    /// up to date.
    pub(super) async fn look_now(&self) -> Result<bool, StoreError> {
        self.write_unsaved().await?;
        let before = self.session().map(|session| (session.changes(), session.sign_ins()));
        let (changes, sign_ins) = before.unwrap_or_default();
        let view = self.load().await?;
        let action = {
            let (looker, known) = (self.looker(None, true), self.known());
            if view.is_outdated(&known) {
                return Ok(false);
            }
            look(view.document(), &known, &looker)
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
                    // Before `adopt`, so that a refresh that begins now doesn't consider it newer.
                    self.known().learn(document);
                    // While a refresh is in flight, it finds the token itself.
                    if !session.adopt(token, changes) {
                        self.known().forget_adoption();
                        return Ok(false);
                    }
                }
            }
            Look::Ended | Look::GiveUp | Look::Pause(_) | Look::UseOwnClaim(_) | Look::Wait { .. } => {}
            Look::Claim { .. } => {}
        }
        Ok(true)
    }
}
