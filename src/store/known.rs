//! What this process knows of the record, and what it has that the record lacks.

use std::any::Any;

use crate::{
    rt::{Nanos, Timestamp},
    token::Secret,
};

use super::{
    document::{Claim, Document, EPOCHS},
    mutations::without,
    stored_token::StoredToken,
};

#[derive(Default)]
pub(super) struct Known {
    /// The sign-in that the session is at. `None`: no record is known.
    pub(super) epoch: Option<u64>,
    /// There was a record, and it is gone. A record that appears later is another sign-in.
    pub(super) is_gone: bool,
    pub(super) was: Vec<u64>,
    /// The number of the claim that obtained the token.
    pub(super) by: u64,
    /// The token that the session has or is about to get. `None`: signed out.
    pub(super) token: Option<StoredToken>,
    /// A token that couldn't be saved.
    pub(super) unsaved: Option<UnsavedToken>,
    /// The token that the session was built with, for a store whose record has none.
    pub(super) seed: Option<StoredToken>,
    /// The claims of this process under which nothing was presented. One of them may be in the record.
    pub(super) own_claims: Vec<OwnClaim>,
    pub(super) sighting: Option<Sighting>,
    /// Whether loads report the store's time.
    pub(super) store_has_clock: bool,
    /// The refresher needs a refresh token, and the record with this epoch and number has none.
    pub(super) refused: Option<(u64, u64)>,
    /// The number of the session's last change that is in the record.
    pub(super) written_change: u64,
    /// The epochs that this process chose: an attempt to write one may have succeeded unnoticed.
    pub(super) own_epochs: Vec<OwnEpoch>,
    /// The refresh token that was set last, and the number of the token in the record before it was written:
    /// an attempt to write it may have succeeded unnoticed.
    pub(super) set: Option<(Secret, u64)>,
    /// Counts the sign-ins and sign-outs that were followed.
    pub(super) sign_ins: u64,
    /// The number of the last refresh, and whether it is running.
    pub(super) run: u64,
    pub(super) is_running: bool,
    pub(super) hold: Option<Box<dyn Any + Send + Sync>>,
}

/// An epoch that this process chose for a sign-in or sign-out.
pub(super) struct OwnEpoch {
    pub(super) epoch: u64,
    /// The number of the session's change that it is for. `None`: it is written before the session changes.
    pub(super) change: Option<u64>,
    pub(super) refresh_token: Option<Secret>,
}

/// A token that is to be saved: the response of an exchange, or one that the store has lost.
#[derive(Clone)]
pub(super) struct UnsavedToken {
    /// The number of the claim under which it was obtained.
    pub(super) number: u64,
    pub(super) epoch: u64,
    /// The number of the token in the record when the claim was written.
    pub(super) by: u64,
    pub(super) presented: Option<Secret>,
    pub(super) token: StoredToken,
}

#[derive(Clone, Copy)]
pub(super) struct OwnClaim {
    pub(super) number: u64,
    pub(super) since: Timestamp,
}

/// Another process's claim, and since when this process has seen it unchanged.
pub(super) struct Sighting {
    number: u64,
    id: String,
    /// `None`: the store couldn't be read after that.
    since: Option<Timestamp>,
    /// The store could be read all the time, so its clock counts, too.
    is_unbroken: bool,
}

// === impl Known ===

impl Known {
    /// Takes over the record's sign-in and token.
    pub(super) fn learn(&mut self, document: &Document) {
        if !without("own list") {
            self.was.clone_from(&document.was);
        } else if let Some(left) = self.epoch.filter(|epoch| *epoch != document.epoch) {
            self.was.push(left);
        }
        if self.epoch != Some(document.epoch) {
            self.set = None;
        }
        self.epoch = Some(document.epoch);
        self.is_gone = false;
        self.by = document.by;
        self.token.clone_from(&document.token);
        self.unsaved.take_if(|unsaved| unsaved.epoch != document.epoch || unsaved.number <= document.by);
        self.seed = None;
    }

    /// Notes that the record is gone.
    pub(super) fn lose(&mut self) {
        self.epoch = None;
        self.is_gone = true;
        self.was = Vec::new();
        (self.token, self.unsaved, self.set) = (None, None, None);
        self.own_claims.clear();
    }

    /// Whether the token has no refresh token: it is only cached, and nobody is signed in.
    pub(super) fn is_cache(&self) -> bool {
        self.token.as_ref().is_some_and(|token| token.refresh.is_none())
    }

    /// Whether the record of a cache was deleted and made again by another process, which isn't a sign-in.
    pub(super) fn is_refilled_cache(&self, document: &Document) -> bool {
        let is_another = self.epoch.is_some_and(|epoch| {
            epoch != document.epoch && !document.was.contains(&epoch) && !self.came_after(document.epoch)
        });
        is_another && self.is_cache() && document.refresh_token().is_none() && !document.signed_out
    }

    /// Whether the record went back to an earlier sign-in: its store has lost a write.
    pub(super) fn came_after(&self, epoch: u64) -> bool {
        self.was.contains(&epoch)
    }

    /// Whether this process chose the epoch.
    pub(super) fn is_own_epoch(&self, epoch: u64) -> bool {
        self.own_epochs.iter().any(|own| own.epoch == epoch)
    }

    /// Notes that the session couldn't adopt the record's token, so that the next look does.
    pub(super) fn forget_adoption(&mut self) {
        self.by = self.by.saturating_sub(1);
    }

    /// The epochs before the next one.
    pub(super) fn epochs_before_next(&self, document: Option<&Document>) -> Vec<u64> {
        let mut epochs = Vec::new();
        let theirs =
            document.filter(|_| !without("own list")).map(|document| (&document.was, document.epoch));
        let mine = self.epoch.map(|epoch| (&self.was, epoch));
        for (was, epoch) in mine.into_iter().chain(theirs) {
            for epoch in was.iter().copied().chain([epoch]) {
                if !epochs.contains(&epoch) {
                    epochs.push(epoch);
                }
            }
        }
        epochs.split_off(epochs.len().saturating_sub(EPOCHS))
    }

    /// The claim, if it is one of this process under which nothing was presented.
    pub(super) fn as_own(&self, claim: &Claim, id: &str) -> Option<OwnClaim> {
        let own = self.own_claims.iter().find(|own| own.number == claim.number && claim.id == id);
        own.copied()
    }

    /// Notes the claim that a load has found.
    pub(super) fn sight(&mut self, claim: Option<&Claim>, now: Timestamp) {
        let same = |sighting: &&mut Sighting| {
            claim.is_some_and(|claim| claim.number == sighting.number && claim.id == sighting.id)
        };
        match (self.sighting.as_mut().filter(same), claim) {
            (Some(sighting), _) => {
                sighting.since.get_or_insert(now);
            }
            (None, Some(Claim { number, id, .. })) => {
                let (number, id) = (*number, id.clone());
                self.sighting = Some(Sighting { number, id, since: Some(now), is_unbroken: true });
            }
            (None, None) => self.sighting = None,
        }
    }

    /// Notes that the store couldn't be read. The holder of a claim may have a response that it couldn't save
    /// either, so the time until its claim lapses starts again.
    pub(super) fn lose_sight(&mut self) {
        if let Some(sighting) = &mut self.sighting {
            (sighting.since, sighting.is_unbroken) = (None, false);
        }
    }

    /// How long the claim has been seen unchanged, by the monotonic clock.
    pub(super) fn seen_for(&self, now: Timestamp) -> Nanos {
        let since = self.sighting.as_ref().and_then(|sighting| sighting.since);
        since.map_or(0, |since| now.monotonic.saturating_sub(since.monotonic))
    }

    /// The hold, unless it is needed. It is needed while a token is unsaved, too: another process would
    /// present a refresh token that is known to be spent.
    pub(super) fn remove_unneeded_hold(&mut self) -> Option<Box<dyn Any + Send + Sync>> {
        let is_needed = self.is_running || self.unsaved.is_some();
        self.hold.take_if(|_| !is_needed)
    }

    pub(super) fn sees_without_break(&self) -> bool {
        self.sighting.as_ref().is_some_and(|sighting| sighting.is_unbroken)
    }
}

// === impl UnsavedToken ===

impl UnsavedToken {
    /// Whether the server returned another refresh token than the one that was presented.
    pub(super) fn is_rotated(&self) -> bool {
        self.token.refresh != self.presented
    }
}

#[cfg(test)]
mod tests;
