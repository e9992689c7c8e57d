//! Two processes with a session for each of a hundred users, over one store.

use redis::{aio::MultiplexedConnection, cmd};
use tower_reauth::{RefreshError, Session, refresh_fn, testing::Issuer};
use tower_reauth_fleet::{
    Command, Counts, Moment, Process, Reply, Settings, StoreKind, TokenServer, redis::RedisServer,
};
use tower_reauth_redis::RedisStore;

use crate::setup::{this_program, with_callers};

const USERS: usize = 100;
const CALLERS: usize = 5;
const RECORD: &str = "users";

/// The connections to a Redis server.
#[derive(Debug, Default, PartialEq, Eq)]
struct Connections {
    /// How many channels each of those has that listen.
    listening: Vec<usize>,
    others: usize,
}

#[tokio::test(flavor = "multi_thread")]
async fn p20_each_expiry_of_a_hundred_users_is_one_exchange_each_and_a_process_listens_on_one_connection() {
    // One of its own, as its connections are counted.
    let Some(redis) = RedisServer::start(&[]) else { return };
    let client = redis::Client::open(redis.url()).unwrap();
    let mut connection = client.get_multiplexed_async_connection().await.unwrap();
    let server = TokenServer::start(Issuer::builder()).await.unwrap();
    for user in 0..USERS {
        sign_in(&server, &connection, user).await;
    }
    let store = StoreKind::Redis(Some(redis.url()));
    let settings = Settings {
        server: server.url(),
        store,
        record: Some(RECORD.to_owned()),
        users: USERS,
        ..with_callers(CALLERS)
    };
    let mut processes = Vec::new();
    for _ in 0..2 {
        processes.push(this_program().start(&settings).await.unwrap());
    }

    // Each process in turn waits for the other, so each has begun to listen.
    for (expiry, first, second) in [(1, 0, 1), (2, 1, 0)] {
        server.issuer.expire_access_tokens();
        let held = server.hold_next(Moment::Received);
        processes[first].send(&Command::Call).await;
        let held = held.await;
        processes[second].send(&Command::Call).await;
        let listening = async {
            while connections(&mut connection).await.listening.len() < expiry {
                tokio::task::yield_now().await;
            }
        };
        tokio::select! {
            () = listening => {}
            outcome = processes[second].called() => panic!("it didn't wait for the other: {outcome:?}"),
        }
        held.release(Reply::Normal);
        all_called(&server, &mut processes, expiry).await;
    }
    for expiry in 3..=10 {
        server.issuer.expire_access_tokens();
        server.gather_rejections(2 * USERS * CALLERS);
        for process in &mut processes {
            process.send(&Command::Call).await;
        }
        all_called(&server, &mut processes, expiry).await;
    }

    // Each process has one that listens, and one for everything else; the last one is this test's. One of the channels
    // is that of the store that those of the users are made from.
    let expected = Connections { listening: vec![USERS + 1; 2], others: 3 };
    assert_eq!(connections(&mut connection).await, expected);
    for user in 0..USERS {
        let refresh_token = stored_refresh_token(&mut connection, user).await;
        assert!(server.issuer.is_unused(&refresh_token), "user {user} was signed out");
    }
}

fn name(user: usize) -> String {
    format!("{RECORD}-{user}")
}

async fn sign_in(server: &TokenServer, connection: &MultiplexedConnection, user: usize) {
    let refresher = refresh_fn(|_| async { Err(RefreshError::transient("not called")) });
    let store = RedisStore::new(connection.clone(), &name(user));
    Session::builder(refresher).build_shared(store).sign_in(server.issuer.sign_in()).await.unwrap();
}

/// All calls have succeeded, and each user's token was exchanged once for each expiry.
async fn all_called(server: &TokenServer, processes: &mut [Process], expiry: usize) {
    for process in processes {
        let outcome = process.called().await;
        assert_eq!((outcome.ok, outcome.failed), (USERS * CALLERS, 0), "expiry {expiry}: {outcome:?}");
    }
    let exchanges = expiry * USERS;
    let once = Counts { presentations: exchanges, at_once: 1, refreshes: exchanges, ..Counts::default() };
    assert_eq!(server.counts(), once);
}

async fn connections(connection: &mut MultiplexedConnection) -> Connections {
    let list: String = cmd("CLIENT").arg("LIST").query_async(connection).await.unwrap();
    let mut connections = Connections::default();
    for client in list.lines() {
        let channels = client.split(' ').find_map(|field| field.strip_prefix("sub=")).unwrap();
        match channels.parse().unwrap() {
            0 => connections.others += 1,
            channels => connections.listening.push(channels),
        }
    }
    connections
}

async fn stored_refresh_token(connection: &mut MultiplexedConnection, user: usize) -> String {
    let key = format!("tower-reauth:{}", name(user));
    let record: Vec<u8> = cmd("HGET").arg(key).arg("d").query_async(connection).await.unwrap();
    let record: serde_json::Value = serde_json::from_slice(&record).unwrap();
    record["token"]["refresh"].as_str().unwrap().to_owned()
}
