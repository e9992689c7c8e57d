//! A clock that runs the test's code when it is read.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use tower_reauth::rt::{Clock, NoTimer, Sleep, TestClock, Timestamp};

type Hook = Box<dyn FnOnce() + Send>;

#[derive(Clone)]
pub(crate) struct HookedClock {
    pub(crate) inner: TestClock,
    hook: Arc<Mutex<Option<(usize, Hook)>>>,
}

impl HookedClock {
    pub(crate) fn new(inner: TestClock) -> Self {
        Self { inner, hook: Arc::default() }
    }

    /// Runs `hook` the `nth` time that the clock is read from now on.
    pub(crate) fn on_nth_read(&self, nth: usize, hook: impl FnOnce() + Send + 'static) {
        *self.hook.lock().unwrap() = Some((nth, Box::new(hook)));
    }
}

impl Clock for HookedClock {
    fn now(&self) -> Timestamp {
        let due = {
            let mut hook = self.hook.lock().unwrap();
            if let Some((left, _)) = &mut *hook {
                *left -= 1;
            }
            hook.take_if(|(left, _)| *left == 0)
        };
        if let Some((_, hook)) = due {
            hook();
        }
        self.inner.now()
    }

    fn sleep(&self, duration: Duration) -> Result<Sleep, NoTimer> {
        self.inner.sleep(duration)
    }
}
