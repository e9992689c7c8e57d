//! [`Fleet`].

use std::io;

use crate::{Command, Credential, Held, Outcome, Process, Program, Settings, TokenServer};

/// Processes with one server, and one store or none.
#[derive(Debug)]
#[allow(clippy::exhaustive_structs, reason = "tests use all of it")]
pub struct Fleet {
    /// Their token endpoint and API.
    pub server: TokenServer,
    /// The processes.
    pub processes: Vec<Process>,
    program: Program,
    settings: Settings,
}

// === impl Fleet ===

impl Fleet {
    /// Starts processes. If there is a store, the first one signs in; otherwise each begins with the same token.
    ///
    /// # Errors
    ///
    /// If a process can't be started.
    ///
    /// # Panics
    ///
    /// If the store can't be used.
    pub async fn start(
        program: Program,
        server: TokenServer,
        mut settings: Settings,
        count: usize,
    ) -> io::Result<(Self, Credential)> {
        let first = Credential::from(server.issuer.sign_in());
        settings.server = server.url();
        let is_shared = settings.store != crate::StoreKind::None;
        if !is_shared {
            settings.token = Some(first.clone());
        }
        let mut fleet = Self { server, processes: Vec::new(), program, settings };
        for _ in 0..count {
            let process = fleet.start_one().await?;
            fleet.processes.push(process);
        }
        if is_shared {
            let sign_in = Command::SignIn(first.clone());
            fleet.processes[0].run(sign_in).await.map_err(|failure| io::Error::other(failure.message))?;
        }
        Ok((fleet, first))
    }

    /// Starts one more, which isn't added to the others.
    ///
    /// # Errors
    ///
    /// If it can't be started.
    pub async fn start_one(&self) -> io::Result<Process> {
        self.start_one_with(|_| {}).await
    }

    /// The same, with other settings.
    ///
    /// # Errors
    ///
    /// If it can't be started.
    pub async fn start_one_with(&self, change: impl FnOnce(&mut Settings)) -> io::Result<Process> {
        let mut settings = self.settings.clone();
        change(&mut settings);
        self.program.start(&settings).await
    }

    /// Sends a command to all.
    pub async fn send(&mut self, command: &Command) {
        for process in &mut self.processes {
            process.send(command).await;
        }
    }

    /// All callers of all processes call the API at once.
    pub async fn call(&mut self) -> Outcome {
        self.send(&Command::Call).await;
        self.called().await
    }

    /// The results of the calls that [`Command::Call`] started in all processes.
    pub async fn called(&mut self) -> Outcome {
        let mut outcome = Outcome::default();
        for process in &mut self.processes {
            outcome.merge(process.called().await);
        }
        outcome
    }

    /// All access tokens expire, and all callers of all processes are rejected together.
    pub async fn call_after_expiry(&mut self) -> Outcome {
        self.expire();
        self.call().await
    }

    /// All access tokens expire. The rejections of one call by each caller are sent together.
    pub fn expire(&self) {
        self.server.issuer.expire_access_tokens();
        self.server.gather_rejections(self.processes.len() * self.settings.callers);
    }

    /// Kills the process that sent a request, which gets no response. Returns its index, at which it is missing now.
    ///
    /// # Errors
    ///
    /// Those of the operating system.
    ///
    /// # Panics
    ///
    /// If none of them sent it.
    pub async fn kill(&mut self, held: Held) -> io::Result<usize> {
        let index = self.processes.iter().position(|process| process.id() == held.process());
        let index = index.expect("a process of the fleet sent it");
        let process = self.processes.remove(index);
        // Suspended first, so that it can't react to the end of its connection.
        process.suspend();
        drop(held);
        process.kill().await?;
        Ok(index)
    }
}
