//! The memory of a map of sessions.

use std::io;

use tower_reauth::{RefreshError, Session, Token, refresh_fn, sessions::Sessions};

use crate::support::counting::during;

fn map() -> Sessions<u64> {
    let builder = Session::builder(refresh_fn(|_| async { Err(RefreshError::transient("not called")) }));
    Sessions::builder(move |user: u64| {
        // A third of the users exist.
        let token = (user % 3 == 0).then(|| Token::try_new(format!("A{user:06}")).unwrap());
        let session = token.map(|token| builder.clone().token(token).build());
        async move { session.ok_or_else(|| io::Error::other("no such user")) }
    })
    .capacity(500)
    .build()
}

/// `MADE_UP_KEYS=1000000` tries that many; the figure is the same.
#[test]
fn p20_made_up_keys_and_evicted_sessions_leave_the_memory_flat() {
    let keys: u64 = std::env::var("MADE_UP_KEYS").map_or(60_000, |keys| keys.parse().unwrap());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let sessions = map();
    let get = |keys: std::ops::Range<u64>| {
        runtime.block_on(async {
            for key in keys {
                assert_eq!(sessions.get(&key).await.is_ok(), key % 3 == 0);
            }
        });
    };
    get(0..20_000);
    let ((), allocations) = during(|| get(20_000..keys));
    // Tables may grow once more as keys come and go.
    assert!(allocations.live.abs() < 100_000, "{allocations:?}");
    assert!(sessions.len() <= 500);
}
