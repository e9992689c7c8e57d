//! Collects all that is printed, to search it for secrets.

use std::{
    error::Error,
    fmt::Debug,
    io,
    sync::{Arc, Mutex},
};

use super::sources;

/// The start of all secrets in the tests that use this.
pub(crate) const SECRET: &str = "SENTINEL";

/// All that was printed so far. As a writer it collects the log.
#[derive(Clone, Default)]
pub(crate) struct Printed(Arc<Mutex<String>>);

impl Printed {
    pub(crate) fn add(&self, shown: impl Debug) {
        let line = format!("{shown:?}");
        assert!(!line.contains(char::is_control), "{line:?}");
        self.push(&format!("{line} {shown:#?}\n"));
    }

    /// An error and its sources.
    pub(crate) fn add_error(&self, error: &(dyn Error + 'static)) {
        for error in sources(error) {
            let message = error.to_string();
            assert!(!message.contains(char::is_control), "{message:?}");
            self.push(&message);
            self.add(error);
        }
    }

    pub(crate) fn assert_no_secret(&self) {
        let printed = self.0.lock().unwrap();
        assert!(printed.len() > 200, "something was printed");
        assert!(!printed.contains(SECRET), "{printed}");
    }

    fn push(&self, text: &str) {
        self.0.lock().unwrap().push_str(text);
    }
}

impl io::Write for Printed {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.push(&String::from_utf8_lossy(bytes));
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
