//! Where a session's tasks run.

use std::{fmt, future::Future, pin::Pin};

/// A task to be run to its end: a refresh, or a hook.
pub type Task = Pin<Box<dyn Future<Output = ()> + Send>>;

/// There is no runtime where one is needed.
#[derive(Clone, Copy, Debug)]
pub struct NoRuntime;

/// Runs a session's tasks.
///
/// # Examples
///
/// A session whose refreshes run on a runtime of their own, whoever needs them:
///
/// ```
/// use tower_reauth::rt::{NoRuntime, Spawner, Task};
///
/// struct Own(tokio::runtime::Handle);
///
/// impl Spawner for Own {
///     fn spawn(&self, task: Task) -> Result<(), NoRuntime> {
///         self.0.spawn(task);
///         Ok(())
///     }
/// }
/// ```
pub trait Spawner: Send + Sync + 'static {
    /// Starts a task.
    ///
    /// # Errors
    ///
    /// [`NoRuntime`] where there is nothing to run it on; the task is dropped then.
    fn spawn(&self, task: Task) -> Result<(), NoRuntime>;

    /// Whether [`spawn`](Self::spawn) would find something to run a task on from here.
    fn is_ready(&self) -> bool {
        true
    }
}

/// Spawns onto the tokio runtime of whoever needs the refresh; the default.
#[derive(Clone, Copy, Debug, Default)]
pub struct TokioSpawner;

// === impl TokioSpawner ===

impl Spawner for TokioSpawner {
    fn spawn(&self, task: Task) -> Result<(), NoRuntime> {
        let runtime = tokio::runtime::Handle::try_current().map_err(|_| NoRuntime)?;
        runtime.spawn(task);
        Ok(())
    }

    fn is_ready(&self) -> bool {
        tokio::runtime::Handle::try_current().is_ok()
    }
}

// === impl NoRuntime ===

impl fmt::Display for NoRuntime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("no runtime to run a refresh on")
    }
}

impl std::error::Error for NoRuntime {}
