//! [`drop_at_each_poll`].

use std::{future::poll_fn, pin::pin, task::Poll};

/// Drops a future after 0, 1, 2, .. polls, and checks each time what it leaves behind.
///
/// In round n, counted from 0, `make` returns a state and a future. The future is polled at most n times,
/// each time after the first because it was woken, and then dropped. `check` is then called with the state.
/// The last round is the one in which the future completes; its output is returned.
///
/// # Examples
///
/// ```
/// use tower_reauth::{Session, testing::{Issuer, drop_at_each_poll}};
///
/// # tokio_test::block_on(async {
/// drop_at_each_poll(
///     async || {
///         let issuer = Issuer::new();
///         let session = Session::builder(issuer.clone()).token(issuer.sign_in()).build();
///         let caller = session.clone();
///         ((issuer, session), async move { caller.refresh().await })
///     },
///     async |(issuer, session)| {
///         session.refresh().await.unwrap();
///         assert!(issuer.family_is_alive());
///     },
/// )
/// .await
/// .unwrap();
/// # });
/// ```
///
/// # Cancel safety
///
/// Dropping this future drops that of the current round, without a check.
pub async fn drop_at_each_poll<S, F: Future>(
    mut make: impl AsyncFnMut() -> (S, F),
    mut check: impl AsyncFnMut(S),
) -> F::Output {
    let mut max_polls = 0;
    loop {
        let (state, future) = make().await;
        let output = poll_at_most(future, max_polls).await;
        check(state).await;
        if let Some(output) = output {
            return output;
        }
        max_polls += 1;
    }
}

/// `None`: the future was pending at its last poll.
async fn poll_at_most<F: Future>(future: F, max: usize) -> Option<F::Output> {
    let mut future = pin!(future);
    let mut polls = 0;
    poll_fn(|cx| {
        if polls < max {
            polls += 1;
            if let Poll::Ready(output) = future.as_mut().poll(cx) {
                return Poll::Ready(Some(output));
            }
        }
        if polls < max { Poll::Pending } else { Poll::Ready(None) }
    })
    .await
}

#[cfg(test)]
mod tests {
    use std::{
        cell::{Cell, RefCell},
        rc::Rc,
    };

    use super::*;

    /// Ready at its third poll; counts its polls.
    async fn third(polls: &Cell<usize>) -> &'static str {
        poll_fn(|cx| {
            polls.set(polls.get() + 1);
            cx.waker().wake_by_ref();
            if polls.get() == 3 { Poll::Ready("done") } else { Poll::Pending }
        })
        .await
    }

    #[tokio::test]
    async fn a_future_is_dropped_after_each_number_of_polls() {
        let seen = RefCell::new(Vec::new());
        let output = drop_at_each_poll(
            async || {
                let polls = Rc::new(Cell::new(0));
                (Rc::clone(&polls), async move { third(&polls).await })
            },
            async |polls| {
                assert_eq!(Rc::strong_count(&polls), 1, "the future is dropped before the check");
                seen.borrow_mut().push(polls.get());
            },
        )
        .await;
        assert_eq!((output, &*seen.borrow()), ("done", &vec![0, 1, 2, 3]));
    }
}
