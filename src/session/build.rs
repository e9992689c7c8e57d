//! [`SessionBuilder::build`].

use std::sync::Arc;

use crate::{
    rt::Timestamp,
    sync::{AtomicUsize, Mutex, OnceLock},
};

use super::{
    Session,
    builder::{InitialToken, SessionBuilder},
    machine::Machine,
    published::Published,
    shared::{Locked, Shared},
};

// === impl SessionBuilder ===

impl SessionBuilder {
    /// Builds the session.
    pub fn build(self) -> Session {
        let mut now = Timestamp { wall: 0, monotonic: 0 };
        let mut machine = Machine::new(Arc::clone(&self.rules), self.persistence, self.seed);
        match self.initial {
            InitialToken::None => machine.start_with_refresh_token(None),
            InitialToken::RefreshToken(refresh_token) => {
                machine.start_with_refresh_token(Some(refresh_token));
            }
            InitialToken::Token(mut token) => {
                self.settings.headers.add_to(&mut token);
                now = self.settings.clock.now();
                machine.start_with(token, now);
            }
            InitialToken::SignedOut => {}
        }
        let shared = Shared {
            settings: self.settings,
            rules: self.rules,
            name: self.name,
            refresher: self.refresher,
            save_hook: self.save_hook,
            revoke_hook: self.revoke_hook,
            attachment: OnceLock::new(),
            published: Published::new(),
            locked: Mutex::new(Locked { machine, completions: Vec::new(), version: 0, now }),
            waiters: AtomicUsize::new(0),
            changed: OnceLock::new(),
        };
        Session { shared: Arc::new(shared) }
    }
}
