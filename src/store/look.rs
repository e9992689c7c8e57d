//! What to do about a record that was just read: the rules of the protocol, without any I/O.

use crate::{
    rt::{Nanos, Timestamp},
    token::Secret,
};

use super::{
    document::{Claim, Document},
    known::{Known, OwnClaim, UnsavedToken},
    mutations::without,
    record::random,
    stored_token::StoredToken,
};

/// The process that looks, and what it wants.
pub(super) struct Looker<'a> {
    /// The handle.
    pub(super) id: &'a str,
    pub(super) host: Option<&'a str>,
    pub(super) has_hold: bool,
    pub(super) now: Timestamp,
    /// The token that a server has rejected.
    pub(super) rejected: Option<&'a str>,
    pub(super) ignores_pause: bool,
    pub(super) never_repeats: bool,
    pub(super) exchange_timeout: Nanos,
    pub(super) slack: Nanos,
}

pub(super) enum Look {
    /// Write this: the record is missing, or went back to an earlier sign-in.
    Write(Box<Document>),
    /// The record lacks a token that this process has.
    Save(Box<UnsavedToken>),
    /// Another sign-in, or a sign-out elsewhere.
    Follow,
    /// Nobody is signed in.
    SignedOut,
    /// A newer token.
    Adopt,
    /// The grant has ended.
    Ended,
    /// The outcome of the last exchange is unknown, and it isn't to be repeated.
    GiveUp,
    /// The token endpoint asked clients to wait for this long.
    Pause(Nanos),
    /// A claim of this process, under which nothing was presented.
    UseOwnClaim(OwnClaim),
    /// Another process's claim, and when it lapses.
    Wait { lapses_in: Nanos, holder: String },
    /// Nothing prevents a refresh. `unknown`: the refresh token may have been presented.
    Claim { unknown: bool },
}

/// Numbers of claims are this far apart, so the number after a token's never belongs to a claim.
pub(super) const STEP: u64 = 1000;

pub(super) fn step() -> u64 {
    if without("no gap") { 1 } else { STEP }
}

/// Decides what to do about a record. `None`: there is no record.
pub(super) fn look(document: Option<&Document>, known: &Known, looker: &Looker<'_>) -> Look {
    let Some(document) = document else { return look_at_nothing(known) };
    let is_refilled = known.is_refilled_cache(document);
    match known.epoch {
        Some(epoch) if epoch != document.epoch && !is_refilled => {
            return match known.came_after(document.epoch) && !without("follow back") {
                true => Look::Write(Box::new(write_again(document, known, epoch))),
                false => Look::Follow,
            };
        }
        None if known.is_gone => return Look::Follow,
        _ => {}
    }
    if document.signed_out {
        return Look::SignedOut;
    }
    if let (None, Some(seed)) = (&document.token, &known.seed) {
        return Look::Write(Box::new(Document { token: Some(seed.clone()), ..document.clone() }));
    }
    if document.token.is_none() && known.refused == Some((document.epoch, document.by)) {
        return Look::SignedOut;
    }
    if let Some(token) = &document.token {
        let is_newer = known.epoch.is_none() || is_refilled || document.by > known.by;
        if is_newer && is_useful(token, looker) && !without("no adoption") {
            return Look::Adopt;
        }
        if let Some(save) = lost_token(document, known).filter(|_| !is_refilled) {
            return Look::Save(save);
        }
    }
    if document.has_ended() {
        return Look::Ended;
    }
    let paused = document.pause.filter(|_| !looker.ignores_pause);
    let left = paused.map(|pause| pause.saturating_sub(looker.now.wall));
    // No process writes a longer pause: a clock was set, or the record was edited.
    if let Some(left) = left.filter(|left| (1..=LONGEST_PAUSE).contains(left)) {
        return Look::Pause(left);
    }
    look_at_claim(document, known, looker)
}

fn look_at_nothing(known: &Known) -> Look {
    if let Some(seed) = known.seed.as_ref().filter(|_| known.epoch.is_none() && !known.is_gone) {
        let epoch = new_epoch(None);
        return Look::Write(Box::new(Document { epoch, token: Some(seed.clone()), ..Document::default() }));
    }
    match known.epoch {
        Some(_) if !known.is_cache() => Look::Follow,
        None if known.is_gone => Look::SignedOut,
        _ => Look::Claim { unknown: false },
    }
}

fn look_at_claim(document: &Document, known: &Known, looker: &Looker<'_>) -> Look {
    let own = document.claim.as_ref().and_then(|claim| known.as_own(claim, looker.id));
    let own = own.filter(|_| !without("own claim unknown"));
    // A token that was set in the meantime has a higher number, so it needs a new claim.
    if let Some(own) = own.filter(|own| own.number > document.by) {
        if looker.now.since(own.since) <= looker.exchange_timeout / 2 {
            return Look::UseOwnClaim(own);
        }
    }
    let standing = document.claim.as_ref().filter(|_| own.is_none());
    if let Some(claim) = standing.filter(|_| !without("claim ignored")) {
        let lapses_in = lapses_in(claim, known, looker);
        if lapses_in > 0 && !without("early lapse") {
            return Look::Wait { lapses_in, holder: claim.who.clone() };
        }
    }
    // Without a refresh token, a second exchange does no harm.
    let rotates = document.refresh_token().is_some();
    let may_be_presented = standing.is_some_and(|claim| claim.number > document.by) && !without("no mark");
    let unknown = rotates && (document.unknown || may_be_presented);
    if unknown && looker.never_repeats {
        return Look::GiveUp;
    }
    Look::Claim { unknown }
}

/// Whether the session can use it.
fn is_useful(token: &StoredToken, looker: &Looker<'_>) -> bool {
    let is_rejected =
        token.access.as_ref().map(Secret::expose) == looker.rejected && looker.rejected.is_some();
    token.is_valid(looker.now.wall) && !is_rejected && token.to_token().is_some()
}

/// This process's token, if it is later than the record's: the store has lost a write.
fn lost_token(document: &Document, known: &Known) -> Option<Box<UnsavedToken>> {
    let epoch = known.epoch.filter(|_| document.by < known.by && !without("behind is fine"))?;
    if known.unsaved.is_some() && (without("unsaved not retried") || without("unsaved forgotten")) {
        return None;
    }
    Some(Box::new(UnsavedToken {
        number: known.by,
        epoch,
        by: document.by,
        presented: document.refresh_token().cloned(),
        token: known.token.clone()?,
    }))
}

/// This process's state, over a record that went back to an earlier sign-in.
pub(super) fn write_again(document: &Document, known: &Known, epoch: u64) -> Document {
    Document {
        epoch,
        was: known.was.clone(),
        by: known.by,
        claims: document.claims.max(known.by),
        client: document.client.clone(),
        signed_out: known.token.is_none(),
        token: known.token.clone(),
        ..Document::default()
    }
}

/// How long until others may replace a claim. Zero or less: they may already.
fn lapses_in(claim: &Claim, known: &Known, looker: &Looker<'_>) -> Nanos {
    let is_of_this_boot = claim.host.is_some() && claim.host.as_deref() == looker.host;
    if looker.has_hold && is_of_this_boot {
        // Its holder is dead or has given up: otherwise it would have the hold.
        return 0;
    }
    let length = claim.length.clamp(SHORTEST_EXCHANGE, LONGEST_EXCHANGE) + looker.slack;
    let by_sight = length.saturating_sub(known.seen_for(looker.now));
    // The store's clock can be stepped, so it counts for twice as long. The claim's time has been converted to this
    // host's clock.
    let age = looker.now.wall.saturating_sub(claim.at);
    let by_clock = (2 * length).saturating_sub(age);
    match known.sees_without_break() && known.store_has_clock {
        true => by_sight.min(by_clock),
        false => by_sight,
    }
}

pub(super) const LONGEST_PAUSE: Nanos = 3600 * 1_000_000_000;
pub(super) const SHORTEST_EXCHANGE: Nanos = 1_000_000_000;
pub(super) const LONGEST_EXCHANGE: Nanos = 15_000_000_000;

/// A random number: a counter would repeat if the store lost a write.
pub(super) fn new_epoch(before: Option<u64>) -> u64 {
    match before {
        Some(before) if without("epoch counted") => before + 1,
        None if without("constant epoch") => 1,
        _ => random() % (1 << 48) + 1,
    }
}

#[cfg(test)]
mod tests;
