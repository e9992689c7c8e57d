//! The server and the save hook.

use std::{
    future::{pending, poll_fn},
    panic::resume_unwind,
    task::Poll,
    time::Duration,
};

use crate::{
    RefreshContext, RefreshError, Refresher, Session, Token, TokenBuilder,
    scenario::{Action, Response, Save},
    sync::step,
};

use super::{Handle, LIFETIME, World, user};

/// A call of the refresher.
pub(super) struct Call {
    id: usize,
    presented: String,
    /// When its flight times out, and may be abandoned.
    deadline: u64,
}

/// The refresher's call is in progress until this is dropped.
struct CallGuard<'a> {
    world: &'a World,
    id: usize,
    presented: String,
}

struct SaveGuard<'a>(&'a World);

// === impl World ===

impl World {
    fn begin_call(&self, cx: &RefreshContext) -> (CallGuard<'_>, Response) {
        let time_left = cx.time_left().unwrap_or_default().as_secs();
        // An abandoned flight's task can't be stopped.
        let is_late = self.state().is_shut_down && cx.is_wanted();
        let mut state = self.state();
        let state = &mut *state;
        let presented = cx.refresh_token().unwrap_or("none").to_owned();
        let mut violations = Vec::new();
        if state.spent.contains(&presented) {
            violations.push(format!("the spent refresh token {presented} was presented"));
        }
        let now = state.now;
        let is_running = |call: &&Call| user(&call.presented) == user(&presented) && now < call.deadline;
        if let Some(call) = state.calls.iter().find(is_running) {
            violations.push(format!(
                "{presented} was presented while a call with {} was in progress",
                call.presented
            ));
        }
        if is_late {
            violations.push("a refresh began after the shutdown".to_owned());
        }
        state.violations.append(&mut violations);
        let response = match self.scenario.responses.get(state.called) {
            Some(response) if !state.is_healthy => *response,
            _ => Response::Token,
        };
        state.called += 1;
        let id = state.called;
        state.calls.push(Call { id, presented: presented.clone(), deadline: now + time_left });
        (CallGuard { world: self, id, presented }, response)
    }

    /// The refresh token in the server's response. The response reaches the session.
    fn rotate(&self, call: &CallGuard<'_>) -> String {
        if !self.scenario.rotates {
            return call.presented.clone();
        }
        let refresh_token = self.refresh_token(user(&call.presented));
        let mut state = self.state();
        let may_be_late = self.passes() || self.scenario.acts(Action::Abandon);
        let spent = if may_be_late { &mut state.spent_late } else { &mut state.spent };
        spent.insert(call.presented.clone());
        refresh_token
    }

    pub(super) async fn save(&self, token: Option<Token>) -> Result<(), &'static str> {
        let (_guard, save) = {
            let mut state = self.state();
            let save = match self.scenario.saves.as_ref().and_then(|saves| saves.get(state.saves)) {
                Some(save) if !state.is_healthy => *save,
                _ => Save::Succeeds,
            };
            state.saves += 1;
            state.running_saves += 1;
            if state.running_saves > 1 && !self.passes() && !self.scenario.acts(Action::Abandon) {
                state.violations.push("two saves were in progress at the same time".to_owned());
            }
            (SaveGuard(self), save)
        };
        step();
        match save {
            Save::Succeeds => {}
            Save::Slow => yield_once().await,
            Save::Fails => return Err("the save fails"),
            Save::Panics => resume_unwind(Box::new("the save hook panics")),
            Save::Hangs => pending().await,
        }
        self.state().saved = Some(token.map(|token| token.access_token().to_owned()));
        Ok(())
    }

    /// Checks that an idle session holds what was saved last.
    pub(crate) fn check_saved(&self, session: &Session) {
        let Some(saved) = self.state().saved.clone() else { return };
        let status = session.status();
        let is_same = match (&saved, session.try_token()) {
            (None, None) => status.is_signed_out(),
            (Some(saved), Some(token)) => token.secret() == saved,
            (saved, None) => saved.is_some() == status.has_token(),
            (None, Some(_)) => false,
        };
        if !is_same {
            self.violation(format!("{saved:?} was saved last, but the session doesn't hold that"));
        }
    }
}

// === impl Handle ===

impl Refresher for Handle {
    async fn refresh(&self, cx: RefreshContext) -> Result<Token, RefreshError> {
        let world = &self.0;
        let (call, response) = world.begin_call(&cx);
        let user = user(&call.presented);
        step();
        let token = match response {
            Response::Token => world.token(user, LIFETIME),
            Response::SlowToken => {
                yield_once().await;
                world.token(user, LIFETIME)
            }
            Response::ShortLived => world.token(user, LIFETIME).expires_in(Duration::from_millis(100)),
            Response::SameToken => match cx.token() {
                Some(token) => TokenBuilder::from(token.clone()),
                None => world.token(user, LIFETIME),
            },
            Response::Transient => return Err(RefreshError::transient("the server is busy")),
            Response::TransientWithSuccessor => {
                let refresh_token = world.rotate(&call);
                return Err(RefreshError::transient("no access token").with_refresh_token(refresh_token));
            }
            Response::Unexplained => return Err(RefreshError::unexplained("no token")),
            Response::Misconfigured => return Err(RefreshError::misconfigured("unknown client")),
            Response::GrantEnded => return Err(RefreshError::grant_ended("revoked")),
            Response::OutcomeUnknown => {
                yield_once().await;
                return Err(RefreshError::outcome_unknown("no response"));
            }
            Response::Panic => resume_unwind(Box::new("the refresher panics")),
            Response::Hang => pending().await,
        };
        Ok(token.refresh_token(world.rotate(&call)).build()?)
    }
}

// === impl CallGuard ===

impl Drop for CallGuard<'_> {
    fn drop(&mut self) {
        self.world.state().calls.retain(|call| call.id != self.id);
    }
}

// === impl SaveGuard ===

impl Drop for SaveGuard<'_> {
    fn drop(&mut self) {
        self.0.state().running_saves -= 1;
    }
}

/// Waits for a wake-up.
pub(super) async fn yield_once() {
    let mut has_yielded = false;
    poll_fn(|cx| {
        if std::mem::replace(&mut has_yielded, true) {
            return Poll::Ready(());
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}
