//! Reading and writing the record, and what all steps of the protocol share.
//!
//! # Rules
//!
//! - **R1** Every write is conditional on the version that was read, and has a random mark. If its response
//!   is lost, a load checks for the mark. A process uses or removes its own claim under which nothing was
//!   presented.
//! - **R2** A record that can't be read isn't an empty one: nothing is presented or written. A record that is
//!   gone is a sign-out by another process.
//! - **R3** A refresh begins with a look at the record, and looks again after each wait, conflict and lost
//!   response. A newer token is adopted without calling the endpoint.
//! - **R4** What this process has and the record lacks is written first: a token that couldn't be saved, or
//!   what the store has lost. A record that went back to an earlier sign-in isn't followed.
//! - **R5** A claim with a new number is written before the refresh token *of that record* is presented. A
//!   request is sent only in the first half of the exchange timeout, and cancelled at its end.
//! - **R6** A process waits until another's claim lapses: once it has seen it unchanged for long enough, by
//!   the store's clock, or immediately if it has the hold. A wait that times out is an error, never
//!   permission.
//! - **R7** A claim that has lapsed, and whose number is above the token's, means that the outcome is unknown: the
//!   next exchange is a repeat.
//! - **R8** A token replaces one with a lower number, or the one that was presented. Another process's claim stays.
//! - **R9** If an exchange returns no token, the process removes its claim; if it got no response, the outcome is
//!   unknown. A `Retry-After` applies to all processes.
//! - **R10** A refusal counts only if the record still has the token that was presented.
//! - **R11** The end of a grant is a statement about one token; a later token clears it.
//! - **R12** A sign-in or sign-out gets a new random epoch and doesn't wait for a claim. A token that is set
//!   keeps the epoch; without a refresh token of its own, it doesn't invalidate a running refresh.
//! - **R13** A claim's holder measures time by whichever of its clocks shows more, the others by their
//!   monotonic clocks. Times in the record are the store's, if it has a clock.
//! - **R14** If the store has a hold, only its owner claims.
//! - **R15** A refresh that is no longer polled loses the hold to a later one of its process, and presents
//!   nothing when it is polled again.
//! - **R16** A token without a refresh token is only cached: a lapsed claim isn't an unknown outcome, and the
//!   endpoint is called even if the store is unavailable.

use std::{
    future::Future,
    sync::{Arc, Mutex, MutexGuard, OnceLock},
};

use futures_util::future::{Either, select};
use tokio::sync::OwnedMutexGuard;

#[cfg(feature = "metrics")]
use crate::metrics::Recorder;
use crate::{
    error::{Error, ErrorKind},
    panics::catch_panic,
    refresh::{AnyRefresher, RefreshError},
    rt::{Clock, Nanos, Timestamp, duration, nanos_since_epoch},
    session::SessionLink,
    sync,
};

use super::{
    Loaded, StoreError, Swap,
    document::{Claim, Document},
    erased::ErasedStore,
    known::Known,
    look::Looker,
    mutations::without,
    record::random,
    view::{StoreTime, View},
};

/// The protocol by which processes share a credential.
///
/// Its steps are in the files beside this one: [`look`](super::look) decides, [`exchange`](super::exchange)
/// calls the token endpoint, [`save`](super::save) writes its response, and [`sign_in`](super::sign_in) the
/// session's changes.
pub(super) struct Protocol {
    pub(super) store: Box<dyn ErasedStore>,
    pub(super) refresher: AnyRefresher,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) settings: Settings,
    pub(super) identity: Identity,
    pub(super) session: OnceLock<SessionLink>,
    pub(super) known: Mutex<Known>,
    /// See [`lock_writes`](Self::lock_writes).
    pub(super) write_lock: Mutex<Arc<tokio::sync::Mutex<()>>>,
}

#[derive(Clone, Debug)]
pub(super) struct Settings {
    pub(super) exchange_timeout: Nanos,
    /// How much longer others wait for a claim: more than an operation's timeout.
    pub(super) slack: Nanos,
    pub(super) never_repeats: bool,
    /// The client that the record belongs to. `None`: not checked.
    pub(super) client: Option<String>,
}

/// The process, and this handle in it.
#[derive(Clone, Debug)]
pub(super) struct Identity {
    pub(super) id: String,
    pub(super) who: String,
    /// The host's name and boot. `None`: the boot is unknown.
    pub(super) host: Option<String>,
}

pub(super) enum SwapOutcome {
    Written {
        view: Box<View>,
        /// The time before the write.
        since: Timestamp,
        /// The response was lost; a load has shown that it was written.
        is_looked_up: bool,
    },
    /// It wasn't written: the record had changed since it was read.
    Conflict,
    /// It may have been written: the response was lost, and the record has changed since it was read.
    Unknown,
}

/// Held by the one write of the session's changes that is in progress.
pub(super) type WriteGuard = OwnedMutexGuard<()>;

/// What a change does to a record that was read.
pub(super) enum Edit<T> {
    Write(Box<Document>, T),
    Leave(T),
}

const OPERATION_TIMEOUT: Nanos = 3_000_000_000;

// === impl Protocol ===

impl Protocol {
    pub(super) fn known(&self) -> MutexGuard<'_, Known> {
        sync::lock(&self.known)
    }

    pub(super) fn now(&self) -> Timestamp {
        self.clock.precise_now()
    }

    /// This process, as it looks at a record.
    pub(super) fn looker<'a>(&'a self, rejected: Option<&'a str>, ignores_pause: bool) -> Looker<'a> {
        Looker {
            id: &self.identity.id,
            host: self.identity.host.as_deref(),
            has_hold: false,
            now: self.now(),
            rejected,
            ignores_pause,
            never_repeats: self.settings.never_repeats,
            exchange_timeout: self.settings.exchange_timeout,
            slack: self.settings.slack,
        }
    }

    pub(super) fn session(&self) -> Option<&SessionLink> {
        self.session.get()
    }

    #[cfg(feature = "metrics")]
    pub(super) fn record(&self, record: impl FnOnce(&Recorder)) {
        if let Some(recorder) = self.session().and_then(SessionLink::recorder) {
            record(&recorder);
        }
    }

    /// Reads the record.
    pub(super) async fn load(&self) -> Result<View, StoreError> {
        let mut result = self.try_load().await;
        if result.is_err() && without("unreadable is empty") {
            let now = self.now();
            let time = StoreTime { at: None, sent: now, received: now };
            result = Ok(View { document: None, version: None, time, epoch: self.known().epoch });
        }
        if let Err(error) = &result {
            self.known().lose_sight();
            self.report(error);
        }
        result
    }

    async fn try_load(&self) -> Result<View, StoreError> {
        let epoch = self.known().epoch;
        let sent = self.now();
        let loaded = self.timed(self.store.load()).await??;
        let received = self.now();
        let at = loaded.as_ref().and_then(|loaded| loaded.time()).map(nanos_since_epoch);
        let time = StoreTime { at, sent, received };
        let mut view = View { document: None, version: None, time, epoch };
        if let Some(loaded) = loaded {
            let document = Document::parse(&loaded, time.ahead_when_read())?;
            self.check_client(&document, &loaded)?;
            view.document = Some(document);
            view.version = Some(loaded.version().clone());
        }
        let mut known = self.known();
        known.store_has_clock = at.is_some();
        known.sight(view.document.as_ref().and_then(|document| document.claim.as_ref()), received);
        Ok(view)
    }

    fn check_client(&self, document: &Document, loaded: &Loaded) -> Result<(), StoreError> {
        match (&self.settings.client, &document.client) {
            (Some(own), Some(stored)) if own != stored => Err(StoreError::unreadable(format!(
                "{} belongs to another client: check `SharedStore::credential`",
                loaded.subject()
            ))),
            _ => Ok(()),
        }
    }

    /// Writes the record if it is still what was read. If the response is lost, checks whether it was written.
    pub(super) async fn swap(&self, view: &View, mut document: Document) -> Result<SwapOutcome, StoreError> {
        document.write = format!("{:016x}", random());
        if document.client.is_none() {
            document.client.clone_from(&self.settings.client);
        }
        let mut since = self.now();
        let mut is_looked_up = false;
        for attempt in 0.. {
            let record = document.to_record(view.time.ahead_when_written(self.now()))?;
            let error = match self.timed(self.store.swap(view.version.as_ref(), &record)).await {
                Ok(Ok(Swap::Written(version))) => {
                    let view = View { document: Some(document), version: Some(version), ..*view };
                    return Ok(SwapOutcome::Written { view: Box::new(view), since, is_looked_up });
                }
                Ok(Ok(Swap::Conflict)) if without("blind claim") && document.claim.is_some() => {
                    let found = self.load().await?;
                    let record = document.to_record(found.time.ahead_when_written(self.now()))?;
                    let _ = self.store.swap(found.version.as_ref(), &record).await;
                    return Ok(SwapOutcome::Written { view: Box::new(found), since, is_looked_up });
                }
                Ok(Ok(Swap::Conflict)) if attempt == 0 => {
                    #[cfg(feature = "metrics")]
                    self.record(Recorder::store_conflict);
                    return Ok(SwapOutcome::Conflict);
                }
                // The first attempt may have taken effect after the look-up.
                Ok(Ok(Swap::Conflict)) => {
                    let found = self.load().await.map_err(StoreError::into_unknown)?;
                    return Ok(match found.is_write(&document.write) {
                        true => SwapOutcome::Written { view: Box::new(found), since, is_looked_up },
                        false => SwapOutcome::Unknown,
                    });
                }
                Ok(Err(error)) | Err(error) => error,
            };
            self.report(&error);
            if !error.is_unavailable() {
                return Err(error);
            }
            if without("lost write is a failure") {
                return Err(error);
            }
            let before_load = self.now();
            let found = self.load().await.map_err(StoreError::into_unknown)?;
            if found.is_write(&document.write) {
                return Ok(SwapOutcome::Written { view: Box::new(found), since, is_looked_up: true });
            }
            if found.version != view.version {
                return Ok(SwapOutcome::Unknown);
            }
            // It wasn't written, so the same swap is made again.
            if attempt > 0 {
                return Err(error.into_unknown());
            }
            (since, is_looked_up) = (before_load, true);
        }
        unreachable!("the loop only ends by returning")
    }

    /// Waits for the session's other write, but only for 3 s, as its runtime may be stalled. After that, this one
    /// [replaces](Self::is_replaced) it.
    pub(super) async fn lock_writes(&self) -> Result<WriteGuard, StoreError> {
        loop {
            let lock = Arc::clone(&sync::lock(&self.write_lock));
            let locked = Box::pin(Arc::clone(&lock).lock_owned());
            if let Either::Left((guard, _)) = select(locked, self.sleep(OPERATION_TIMEOUT)?).await {
                return Ok(guard);
            }
            let mut current = sync::lock(&self.write_lock);
            if Arc::ptr_eq(&current, &lock) {
                *current = Arc::default();
            }
        }
    }

    /// Whether a later write has stopped waiting for this one, and writes the changes of both.
    ///
    /// If a swap of this one is in flight, that does no harm: after the other's swap it is a conflict; before, the
    /// other's load sees it.
    pub(super) fn is_replaced(&self, guard: &WriteGuard) -> bool {
        !Arc::ptr_eq(&sync::lock(&self.write_lock), WriteGuard::mutex(guard))
    }

    /// Changes the record: `change` decides again after each conflict.
    pub(super) async fn edit<T>(
        &self,
        mut view: Option<View>,
        mut change: impl FnMut(Option<&Document>, &Known) -> Edit<T>,
    ) -> Result<T, StoreError> {
        loop {
            let current = match view.take() {
                Some(view) => view,
                None => self.load().await?,
            };
            let edit = change(current.document.as_ref(), &self.known());
            let (document, result) = match edit {
                Edit::Write(document, result) => (*document, result),
                Edit::Leave(result) => return Ok(result),
            };
            if let SwapOutcome::Written { .. } = self.swap(&current, document).await? {
                return Ok(result);
            }
        }
    }

    /// Writes what a look has found missing. After a conflict the caller looks again.
    pub(super) async fn write_missing(&self, view: &View, document: Document) -> Result<(), StoreError> {
        if let SwapOutcome::Written { .. } = self.swap(view, document).await? {
            self.known().seed = None;
        }
        Ok(())
    }

    /// Releases the hold, unless it is needed.
    pub(super) fn release_hold(&self) {
        let hold = self.known().remove_unneeded_hold();
        // Dropping it runs user code, which must not run under the lock.
        catch_panic(|| drop(hold));
    }

    /// Removes a claim of this process.
    pub(super) async fn remove_claim(&self, number: u64) -> Result<(), StoreError> {
        let remove = |document: Option<&Document>, _: &Known| match document {
            Some(document) if self.has_claim(document, number) => {
                Edit::Write(Box::new(document.without_claim()), ())
            }
            _ => Edit::Leave(()),
        };
        self.edit(None, remove).await
    }

    pub(super) fn has_claim(&self, document: &Document, number: u64) -> bool {
        let is_own = |claim: &Claim| claim.number == number && claim.id == self.identity.id;
        document.claim.as_ref().is_some_and(is_own)
    }

    /// Bounds an operation by its timeout.
    pub(super) async fn timed<T>(&self, operation: impl Future<Output = T>) -> Result<T, StoreError> {
        let timeout = self.sleep(OPERATION_TIMEOUT)?;
        match select(Box::pin(operation), timeout).await {
            Either::Left((output, _)) => Ok(output),
            Either::Right(_) => Err(StoreError::unavailable("no response within 3 s")),
        }
    }

    pub(super) fn sleep(&self, length: Nanos) -> Result<crate::rt::Sleep, StoreError> {
        self.clock.sleep(duration(length)).map_err(StoreError::unavailable)
    }

    fn report(&self, error: &StoreError) {
        if let Some(session) = self.session() {
            session.emit_store_failure(to_error(error.clone()));
        }
    }
}

/// The error of a method of the shared session.
pub(super) fn to_error(error: StoreError) -> Error {
    let kind = match () {
        () if error.is_signed_out() => ErrorKind::SignedOut,
        () if error.is_unreadable() => ErrorKind::StoreUnusable,
        () => ErrorKind::StoreUnavailable,
    };
    Error::with_details(kind, None, Some(Arc::new(error)))
}

/// The error of a refresh.
pub(super) fn to_refresh_error(error: StoreError) -> RefreshError {
    match error.is_unreadable() {
        true => RefreshError::misconfigured(error),
        false => RefreshError::transient(error),
    }
}
