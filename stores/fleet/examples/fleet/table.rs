//! A table of the processes, which is updated in place on a terminal.

use std::io::{IsTerminal, Write};

use tower_reauth_fleet::{Fleet, Outcome, TokenServer};

pub(crate) struct Table {
    rows: Vec<Row>,
    is_live: bool,
    is_drawn: bool,
}

/// A process, and those before it that were killed.
#[derive(Default)]
struct Row {
    ids: Vec<u32>,
    generation: u64,
    requests: usize,
    waits: usize,
    /// Tokens that the running process had taken over when it was last asked.
    adopted: usize,
    state: &'static str,
}

// === impl Table ===

impl Table {
    pub(crate) fn new(fleet: &Fleet) -> Self {
        let row = |id| Row { ids: vec![id], ..Row::default() };
        Self {
            rows: fleet.processes.iter().map(|process| row(process.id())).collect(),
            is_live: std::io::stdout().is_terminal(),
            is_drawn: false,
        }
    }

    /// What the processes have before the first expiry.
    pub(crate) fn begin(&mut self, index: usize, outcome: &Outcome) {
        self.add(index, outcome);
        self.rows[index].waits = 0;
    }

    pub(crate) fn add(&mut self, index: usize, outcome: &Outcome) {
        let row = &mut self.rows[index];
        row.generation = row.generation.max(outcome.generation);
        row.requests += outcome.ok;
        row.waits += outcome.adopted.saturating_sub(row.adopted);
        row.adopted = outcome.adopted;
        row.state = if outcome.failed == 0 { "" } else { "failed" };
    }

    pub(crate) fn restarted(&mut self, index: usize, id: u32) {
        let row = &mut self.rows[index];
        row.ids.push(id);
        // It begins with the record's token, for which it doesn't wait.
        (row.adopted, row.state) = (1, "killed, restarted");
    }

    /// A line between the tables.
    pub(crate) fn note(&self, note: &str) {
        if !self.is_live {
            println!("{note}");
        }
    }

    /// Draws it over the one before.
    pub(crate) fn update(&mut self, server: &TokenServer) {
        if self.is_live {
            self.draw(server);
        }
    }

    pub(crate) fn finish(mut self, server: &TokenServer) {
        self.draw(server);
    }

    fn draw(&mut self, server: &TokenServer) {
        if std::mem::replace(&mut self.is_drawn, true) {
            print!("\x1b[{}A", self.rows.len() + 1);
        }
        let end = if self.is_live { "\x1b[K\n" } else { "\n" };
        print!(
            "{:>7} {:>8} {:>10} {:>8} {:>9} {:>7} {:>5}{end}",
            "process", "pid", "generation", "requests", "refreshes", "reuses", "waits"
        );
        for (index, row) in self.rows.iter().enumerate() {
            let mut presented = (0, 0);
            for id in &row.ids {
                let (presentations, reuses) = server.presentations_by(*id);
                presented = (presented.0 + presentations - reuses, presented.1 + reuses);
            }
            print!(
                "{:>7} {:>8} {:>10} {:>8} {:>9} {:>7} {:>5}  {}{end}",
                index + 1,
                row.ids.last().copied().unwrap_or(0),
                row.generation,
                row.requests,
                presented.0,
                presented.1,
                row.waits,
                row.state,
            );
        }
        let _ = std::io::stdout().flush();
    }
}
