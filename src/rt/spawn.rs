//! Spawning tasks.

use std::{fmt, future::Future, pin::Pin};

/// A task that must run to completion: a refresh or a hook.
pub type Task = Pin<Box<dyn Future<Output = ()> + Send>>;

/// No runtime is available.
#[derive(Clone, Copy, Debug)]
pub struct NoRuntime;

/// Spawns a session's tasks.
///
/// # Examples
///
/// Run all refreshes on a dedicated runtime:
///
/// ```
/// use tower_reauth::rt::{NoRuntime, Spawner, Task};
///
/// struct Dedicated(tokio::runtime::Handle);
///
/// impl Spawner for Dedicated {
///     fn spawn(&self, task: Task) -> Result<(), NoRuntime> {
///         self.0.spawn(task);
///         Ok(())
///     }
/// }
/// ```
pub trait Spawner: Send + Sync + 'static {
    /// Spawns a task.
    ///
    /// # Errors
    ///
    /// [`NoRuntime`] if there is no runtime; the task is dropped.
    fn spawn(&self, task: Task) -> Result<(), NoRuntime>;

    /// Whether [`spawn`](Self::spawn) would succeed here.
    fn is_ready(&self) -> bool {
        true
    }
}

/// The default: spawns onto the caller's tokio runtime.
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
        f.write_str("no runtime available")
    }
}

impl std::error::Error for NoRuntime {}
