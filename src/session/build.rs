//! [`SessionBuilder::build`].

use std::sync::{Arc, Mutex, atomic::AtomicUsize};

use tokio::sync::Notify;

use crate::rt::{Timestamp, nanos};

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
    pub fn build(mut self) -> Session {
        self.rules.refresh_timeout = nanos(self.refresh_timeout);
        self.rules.save_timeout = nanos(self.save_timeout);
        let mut now = Timestamp { wall: 0, monotonic: 0 };
        let mut machine = Machine::new(self.rules, self.seed);
        match self.initial {
            InitialToken::None => machine.start_with_refresh_token(None),
            InitialToken::RefreshToken(refresh_token) => {
                machine.start_with_refresh_token(Some(refresh_token));
            }
            InitialToken::Token(mut token) => {
                self.headers.add_to(&mut token);
                now = self.clock.now();
                machine.start_with(token, now);
            }
            InitialToken::SignedOut => {}
        }
        let shared = Shared {
            name: self.name,
            refresher: self.refresher,
            clock: self.clock,
            spawner: self.spawner,
            save_hook: self.save_hook,
            revoke_hook: self.revoke_hook,
            listeners: self.listeners,
            headers: self.headers,
            limits: self.limits,
            refresh_timeout: self.refresh_timeout,
            save_timeout: self.save_timeout,
            published: Published::new(),
            locked: Mutex::new(Locked { machine, completions: Vec::new(), version: 0, now }),
            waiters: AtomicUsize::new(0),
            changed: Arc::new(Notify::new()),
        };
        Session { shared: Arc::new(shared) }
    }
}
