//! What a program and its processes say to each other: one line of JSON per message.

use std::{error::Error as StdError, time::Duration};

use serde::{Deserialize, Serialize};
use tower_reauth::{Error, Token, store::StoreError};

use crate::{StoreKind, token_server::generation};

/// How a process is set up.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[allow(clippy::exhaustive_structs, reason = "tests set any of it")]
pub struct Settings {
    /// The origin of the [`TokenServer`](crate::TokenServer), or of another server.
    pub server: String,
    /// How another server is used. Default: as the [`TokenServer`](crate::TokenServer) is.
    pub provider: Option<Provider>,
    /// The store, with its path or URL.
    pub store: StoreKind,
    /// The name of the record, if the store isn't a file. Default: `fleet`.
    pub record: Option<String>,
    /// How many callers it has, or each of its users.
    pub callers: usize,
    /// If this isn't 0, it has a map of sessions for so many users, whose records in Redis are named after `record`:
    /// `fleet-0`, `fleet-1` and so on. It knows only [`Command::Call`] and [`Command::Exit`].
    pub users: usize,
    /// What its session is built with.
    pub token: Option<Credential>,
    /// Default: the crate's.
    pub exchange_timeout: Option<Duration>,
    /// How much longer a claim is respected than its exchange takes. Default: the crate's.
    pub slack: Option<Duration>,
    /// At which point it stops, from its start.
    pub stop_at: Option<Point>,
    /// It isn't notified of changes, even if its store can.
    pub only_polls: bool,
}

/// An authorization server with an API, over HTTP/1.1.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[allow(missing_docs, clippy::exhaustive_structs, reason = "the names say it, and there is no more")]
pub struct Provider {
    pub token_url: String,
    pub api_url: String,
    pub client_id: String,
    pub client_secret: String,
}

/// An access token and its refresh token.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[allow(missing_docs, clippy::exhaustive_structs, reason = "the names say it, and there is no more")]
pub struct Credential {
    pub access: String,
    pub refresh: String,
}

/// What a process is to do. Each is answered by one report, [`StopAt`](Self::StopAt) and [`Exit`](Self::Exit) by none.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[allow(clippy::exhaustive_enums, reason = "it is the whole protocol")]
pub enum Command {
    /// Each caller calls the API. Reports [`Report::Called`].
    Call,
    /// Reads the record.
    Load,
    /// Signs in.
    SignIn(Credential),
    /// Signs out.
    SignOut,
    /// Sets a token.
    SetToken(Credential),
    /// Waits until everything is saved.
    Shutdown,
    /// Stops at this point when it next gets there, or nowhere.
    StopAt(Option<Point>),
    /// Exits at once, whatever is running.
    Exit,
}

/// What a process says.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[allow(clippy::exhaustive_enums, reason = "it is the whole protocol")]
pub enum Report {
    /// It has started.
    Ready,
    /// It has stopped itself, as by `SIGSTOP`.
    At(Point),
    /// All callers have a result.
    Called(Outcome),
    /// Any other command is done.
    Done(Result<(), Failure>),
}

/// A point in a refresh.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[allow(clippy::exhaustive_enums, reason = "tests name all of it")]
pub enum Point {
    /// Half of a record with a claim is written, into a file that will replace the record. The process dies there.
    InClaimSwap,
    /// The claim is written; nothing is sent.
    ClaimWritten,
    /// The response to the exchange was read.
    ResponseRead,
    /// The new token is about to be written.
    SaveBegun,
    /// Half of a record with the new token is written, as with [`InClaimSwap`](Self::InClaimSwap).
    InSaveSwap,
    /// The new token is written; the session doesn't have it.
    Saved,
}

/// The results of calls.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[allow(clippy::exhaustive_structs, reason = "it is the whole result")]
pub struct Outcome {
    /// How many succeeded.
    pub ok: usize,
    /// How many failed.
    pub failed: usize,
    /// Why, each reason once.
    pub failures: Vec<Failure>,
    /// The newest pair whose access token was accepted.
    pub generation: u64,
    /// How many tokens of other processes the session has taken over.
    pub adopted: usize,
    /// How many exchanges it has made of a refresh token that may have been presented before, and knew it.
    pub repeated: usize,
    /// How many responses have come after their claims had lapsed.
    pub claims_lost: usize,
    /// How often it has read the record.
    pub loads: usize,
    /// How often it has tried to write the record.
    pub swaps: usize,
}

/// Why something failed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[allow(clippy::exhaustive_structs, reason = "tests look at all of it")]
pub struct Failure {
    /// The error and its sources.
    pub message: String,
    /// What kind of error it is.
    pub kind: FailureKind,
    /// The process for which a store is busy.
    pub holder: Option<String>,
}

/// The kind of a [`Failure`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[allow(missing_docs, clippy::exhaustive_enums, reason = "the names are those of the crate's errors")]
pub enum FailureKind {
    GrantEnded,
    SignedOut,
    Misconfigured,
    Retryable,
    /// The API rejected the call, or something else failed.
    Other,
}

// === impl Credential ===

impl Credential {
    /// How many access tokens the [`TokenServer`](crate::TokenServer) had issued with this one.
    pub fn generation(&self) -> u64 {
        generation(&self.access).unwrap_or(0)
    }
}

impl From<Token> for Credential {
    fn from(token: Token) -> Self {
        let refresh = token.refresh_token().expect("the server rotates refresh tokens");
        Self { access: token.access_token().to_owned(), refresh: refresh.to_owned() }
    }
}

// === impl Outcome ===

impl Outcome {
    /// Adds one call's result: a generation, or why it failed.
    pub(crate) fn add(&mut self, result: Result<u64, Failure>) {
        match result {
            Ok(generation) => {
                self.ok += 1;
                self.generation = self.generation.max(generation);
            }
            Err(failure) => {
                self.failed += 1;
                self.note(failure);
            }
        }
    }

    /// Adds what another process says.
    pub fn merge(&mut self, other: Self) {
        self.ok += other.ok;
        self.failed += other.failed;
        self.generation = self.generation.max(other.generation);
        self.adopted += other.adopted;
        self.repeated += other.repeated;
        self.claims_lost += other.claims_lost;
        self.loads += other.loads;
        self.swaps += other.swaps;
        other.failures.into_iter().for_each(|failure| self.note(failure));
    }

    fn note(&mut self, failure: Failure) {
        if !self.failures.contains(&failure) {
            self.failures.push(failure);
        }
    }
}

// === impl Failure ===

impl Failure {
    pub(crate) fn of(error: &(dyn StdError + 'static)) -> Self {
        let mut message = error.to_string();
        let mut source = error.source();
        while let Some(error) = source {
            message = format!("{message}: {error}");
            source = error.source();
        }
        let kind = match Error::find(error) {
            Some(error) if error.is_grant_ended() => FailureKind::GrantEnded,
            Some(error) if error.is_signed_out() => FailureKind::SignedOut,
            Some(error) if error.is_misconfigured() => FailureKind::Misconfigured,
            Some(error) if error.is_retryable() => FailureKind::Retryable,
            _ => FailureKind::Other,
        };
        let holder = StoreError::find(error).and_then(StoreError::holder).map(str::to_owned);
        Self { message, kind, holder }
    }
}
