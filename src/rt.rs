//! Time and tasks: clocks, timers and spawners.

mod clock;
mod spawn;
#[cfg(feature = "test-util")]
mod test_clock;

pub use clock::{Clock, NoTimer, Sleep, SystemClock, Timestamp};
pub use spawn::{NoRuntime, Spawner, Task, TokioSpawner};
#[cfg(feature = "test-util")]
pub use test_clock::TestClock;

pub(crate) use clock::{LONGEST, Nanos, duration, nanos, nanos_since_epoch, system_time};
