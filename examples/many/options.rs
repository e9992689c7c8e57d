//! Command line options.

pub(crate) struct Options {
    pub(crate) users: usize,
    /// Of each user.
    pub(crate) callers: usize,
    pub(crate) expiries: usize,
    /// How many users the gateway keeps in memory.
    pub(crate) capacity: usize,
    pub(crate) naive: bool,
}

pub(crate) const USAGE: &str =
    "usage: many [--users N] [--callers N (of each user)] [--expiries N] [--capacity N] [--naive]";

// === impl Options ===

impl Options {
    pub(crate) fn parse(mut args: impl Iterator<Item = String>) -> Result<Self, String> {
        let mut options = Self { users: 1_000, callers: 20, expiries: 3, capacity: 100, naive: false };
        while let Some(name) = args.next() {
            let number = match name.as_str() {
                "--users" => &mut options.users,
                "--callers" => &mut options.callers,
                "--expiries" => &mut options.expiries,
                "--capacity" => &mut options.capacity,
                "--naive" => {
                    options.naive = true;
                    continue;
                }
                _ => return Err(format!("unknown option {name}")),
            };
            let value = args.next().ok_or_else(|| format!("{name} requires a value"))?;
            *number = match value.parse() {
                Ok(value) if value > 0 => value,
                _ => return Err(format!("{name} expects a positive number, got {value:?}")),
            };
        }
        Ok(options)
    }

    /// How many calls are made in total.
    pub(crate) fn calls(&self) -> usize {
        self.users * self.callers * self.expiries
    }
}
