//! Callers on a runtime of their own.

use std::{pin::Pin, sync::Arc, task::Poll, thread};

use tokio::{
    runtime::Builder,
    sync::{Semaphore, oneshot},
    task::JoinSet,
};

use crate::setup::BoxError;

pub(super) type Work = Vec<Pin<Box<dyn Future<Output = Result<(), BoxError>> + Send>>>;

#[derive(Clone, Copy)]
pub(super) enum Flavor {
    CurrentThread,
    MultiThread,
}

/// The callers of one runtime, which runs on a thread of its own.
pub(super) struct Callers {
    stop: oneshot::Sender<()>,
    /// Sent once the runtime is gone. `None`: it was stopped.
    results: oneshot::Receiver<Option<Vec<Result<(), BoxError>>>>,
}

// === impl Callers ===

impl Callers {
    /// Each call adds a permit to `waiting` once it waits. If one doesn't wait, the semaphore is closed.
    pub(super) fn start(flavor: Flavor, work: Work, waiting: Arc<Semaphore>) -> Self {
        let (stop, stopped) = oneshot::channel();
        let (sender, results) = oneshot::channel();
        thread::spawn(move || {
            let mut builder = match flavor {
                Flavor::CurrentThread => Builder::new_current_thread(),
                Flavor::MultiThread => Builder::new_multi_thread(),
            };
            let runtime = builder.worker_threads(2).enable_all().build().unwrap();
            let results = runtime.block_on(async move {
                let mut calls = JoinSet::new();
                for mut call in work {
                    let waiting = Arc::clone(&waiting);
                    calls.spawn(async move {
                        if let Poll::Ready(result) = futures::poll!(&mut call) {
                            waiting.close();
                            panic!("no token can be there yet: {result:?}");
                        }
                        waiting.add_permits(1);
                        call.await
                    });
                }
                let mut results = Vec::new();
                let ended = async {
                    while let Some(result) = calls.join_next().await {
                        results.push(result.unwrap());
                    }
                };
                tokio::select! {
                    _ = stopped => {
                        // They end with the runtime, not before it.
                        calls.detach_all();
                        None
                    }
                    () = ended => Some(results),
                }
            });
            drop(runtime);
            let _ = sender.send(results);
        });
        Self { stop, results }
    }

    /// Shuts the runtime down in the middle of its calls.
    pub(super) async fn shut_down(self) {
        self.stop.send(()).unwrap();
        assert!(self.results.await.unwrap().is_none(), "no call can have ended");
    }

    /// Waits until all calls have succeeded.
    pub(super) async fn succeed(self) {
        for result in self.results.await.unwrap().unwrap() {
            result.unwrap();
        }
        drop(self.stop);
    }
}
