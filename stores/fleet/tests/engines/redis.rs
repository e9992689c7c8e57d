//! `RedisStore`.

use std::{
    sync::{Arc, OnceLock},
    time::Duration,
};

use redis::{
    Client, Cmd,
    aio::{ConnectionManager, ConnectionManagerConfig, MultiplexedConnection},
    cmd,
};
use tokio::time::timeout;
use tower_reauth::store::{Record, StoreError, Swap, TokenStore, Version, check_store};
use tower_reauth_fleet::{Proxy, redis::RedisServer};
use tower_reauth_redis::RedisStore;

use crate::{
    cuts, notifications, outages,
    sessions::{Endpoint, HANG, HOUR, access, describe, name, token},
};

/// The server that tests share which don't stop it.
fn server() -> Option<&'static RedisServer> {
    static SERVER: OnceLock<Option<RedisServer>> = OnceLock::new();
    SERVER.get_or_init(|| RedisServer::start(&[])).as_ref()
}

fn client(port: u16) -> Client {
    Client::open(format!("redis://127.0.0.1:{port}/")).unwrap()
}

/// Reconnects at once, or as soon as there is a server.
async fn manager(port: u16) -> ConnectionManager {
    let config = ConnectionManagerConfig::new()
        .set_min_delay(Duration::from_millis(1))
        .set_max_delay(Duration::from_millis(20))
        .set_connection_timeout(Some(Duration::from_secs(60)))
        .set_response_timeout(Some(Duration::from_secs(60)));
    client(port).get_connection_manager_with_config(config).await.unwrap()
}

async fn connection(server: &RedisServer) -> MultiplexedConnection {
    client(server.port()).get_multiplexed_async_connection().await.unwrap()
}

async fn run(server: &RedisServer, command: &mut Cmd) {
    let () = command.query_async(&mut connection(server).await).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn redis_keeps_the_contract() {
    let Some(server) = server() else { return };
    let store = RedisStore::new(connection(server).await, &name()).listen(client(server.port()));
    check_store(async |name| store.with_name(name)).await;
}

/// The user of the README, with RESP2 and RESP3.
#[tokio::test(flavor = "multi_thread")]
async fn the_user_of_the_docs_may_do_all_that_is_needed() {
    let Some(server) = server() else { return };
    let readme = include_str!("../../../redis/README.md");
    let rules = readme.lines().find_map(|line| line.strip_prefix("ACL SETUSER ")).unwrap();
    run(server, cmd("ACL").arg("SETUSER").arg(rules.split(' ').collect::<Vec<_>>())).await;
    for protocol in ["resp2", "resp3"] {
        let url = format!("redis://robots:password@127.0.0.1:{}/?protocol={protocol}", server.port());
        let client = Client::open(url).unwrap();
        let connection = client.get_connection_manager().await.unwrap();
        let name = name();
        let store = RedisStore::new(connection.clone(), &name).listen(client);
        check_store(async |name| store.with_name(name)).await;

        let other = RedisStore::new(connection, &name);
        notifications::count_from_the_last_load(store, |store| store.with_name(&name), other).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_user_who_may_not_publish_still_writes() {
    let Some(server) = server() else { return };
    let rules = "quiet on >password ~tower-reauth:* +evalsha +script|load +hget +hset +hmget +time";
    run(server, cmd("ACL").arg("SETUSER").arg(rules.split(' ').collect::<Vec<_>>())).await;
    let client = Client::open(format!("redis://quiet:password@127.0.0.1:{}/", server.port())).unwrap();
    let store = RedisStore::new(client.get_connection_manager().await.unwrap(), &name());
    let swap = store.swap(None, &Record::from_bytes("a")).await.unwrap();
    let Swap::Written(version) = swap else { panic!("it conflicted") };
    assert!(store.load().await.unwrap().is_some_and(|loaded| *loaded.version() == version));
}

#[tokio::test(flavor = "multi_thread")]
async fn redis_notifications_reach_followers() {
    let Some(server) = server() else { return };
    let (name, proxy) = (name(), Proxy::start(server.port()).await.unwrap());
    let store = RedisStore::new(connection(server).await, &name).listen(client(proxy.port()));
    let other = RedisStore::new(connection(server).await, &name);
    notifications::reach_followers(&proxy, store, |store| store.with_name(&name), other).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn redis_notifications_are_missed_only_while_cut() {
    let Some(server) = server() else { return };
    let (name, proxy) = (name(), Proxy::start(server.port()).await.unwrap());
    let store = RedisStore::new(connection(server).await, &name).listen(client(proxy.port()));
    let other = RedisStore::new(connection(server).await, &name);
    let with_name = |store: &RedisStore<_>| store.with_name(&name);
    notifications::are_missed_only_while_cut(&proxy, server.port(), store, with_name, other).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn redis_notifications_count_from_the_last_load() {
    let Some(server) = server() else { return };
    let name = name();
    let store = RedisStore::new(connection(server).await, &name).listen(client(server.port()));
    let other = RedisStore::new(connection(server).await, &name);
    notifications::count_from_the_last_load(store, |store| store.with_name(&name), other).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn redis_notifications_wake_nobody_else() {
    let Some(server) = server() else { return };
    let name = name();
    let store = RedisStore::new(connection(server).await, &name).listen(client(server.port()));
    let stores = (0..1000).map(|number| store.with_name(&format!("{name}-{number}"))).collect();
    notifications::wake_nobody_else(stores).await;
}

/// A channel is left with its last handle, and a new handle subscribes again.
#[tokio::test(flavor = "multi_thread")]
async fn redis_channels_are_left_and_subscribed_again() {
    let Some(server) = server() else { return };
    let name = name();
    let kept = RedisStore::new(connection(server).await, "kept").listen(client(server.port()));
    let subscribers = async |expected: u64| {
        let mut connection = connection(server).await;
        let channel = format!("tower-reauth:{name}");
        let wait = async {
            loop {
                let mut command = cmd("PUBSUB");
                command.arg("NUMSUB").arg(&channel);
                let (_, count): (String, u64) = command.query_async(&mut connection).await.unwrap();
                if count == expected {
                    return;
                }
                tokio::task::yield_now().await;
            }
        };
        timeout(HANG, wait).await.unwrap();
    };
    timeout(HANG, kept.changed()).await.unwrap();
    for _ in 0..2 {
        let (one, two) = (kept.with_name(&name), kept.with_name(&name));
        timeout(HANG, one.changed()).await.unwrap();
        subscribers(1).await;
        drop(one);
        two.load().await.unwrap();
        let written = two.changed();
        let other = RedisStore::new(connection(server).await, &name);
        let version = other.load().await.unwrap().map(|loaded| loaded.version().clone());
        other.swap(version.as_ref(), &Record::from_bytes("a")).await.unwrap();
        timeout(HANG, written).await.unwrap();
        drop(two);
        subscribers(0).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn redis_names_have_1_to_512_bytes() {
    let Some(server) = server() else { return };
    let store = RedisStore::new(connection(server).await, &"ä".repeat(256));
    assert!(store.load().await.unwrap().is_none());
    for name in [String::new(), "x".repeat(513)] {
        let store = store.with_name(&name);
        assert!(store.load().await.unwrap_err().is_unreadable());
        assert!(store.swap(None, &Record::from_bytes("a")).await.unwrap_err().is_unreadable());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_redis_key_that_is_not_a_record_is_unreadable_and_stays() {
    let Some(server) = server() else { return };
    let commands: [&[&[u8]]; 4] = [
        &[b"SET", b"", b"secret"],
        &[b"RPUSH", b"", b"secret"],
        &[b"HSET", b"", b"d", b"secret"],
        &[b"HSET", b"", b"v", b"secret\xff", b"d", b"secret"],
    ];
    for command in commands {
        let name = name();
        let key = format!("tower-reauth:{name}");
        let mut redis = cmd(std::str::from_utf8(command[0]).unwrap());
        run(server, redis.arg(&key).arg(&command[2..])).await;
        let store = RedisStore::new(connection(server).await, &name);
        let error = store.load().await.unwrap_err();
        assert!(error.is_unreadable(), "{}", describe(&error));
        assert!(!describe(&error).contains("secret") && !format!("{error:?}").contains("secret"));
        // Not by a session, which writes nothing then: a swap of a version that isn't there changes nothing.
        let swap = store.swap(Some(&Version::new("other")), &Record::from_bytes("b")).await;
        assert!(!matches!(swap, Ok(Swap::Written(_))));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_password_for_redis_is_reported() {
    let Some(server) = server() else { return };
    let client = Client::open(format!("redis://robots:wrong@127.0.0.1:{}/", server.port())).unwrap();
    let config = ConnectionManagerConfig::new().set_number_of_retries(0);
    let store = RedisStore::new(client.get_connection_manager_lazy(config).unwrap(), &name());
    let error = store.load().await.unwrap_err();
    assert!(error.is_unavailable());
    assert!(describe(&error).to_lowercase().contains("password"), "{}", describe(&error));
}

#[tokio::test(flavor = "multi_thread")]
async fn stopped_redis_leaves_a_valid_token_in_use() {
    let Some(mut server) = RedisServer::start(&["--appendonly", "yes", "--appendfsync", "always"]) else {
        return;
    };
    let store = RedisStore::new(manager(server.port()).await, &name());
    outages::leave_a_valid_token_in_use(store, |is_running| match is_running {
        true => server.start_again(),
        false => server.stop(),
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn c16_a_response_that_redis_cannot_save_is_used_and_saved_later() {
    let Some(server) = server() else { return };
    let proxy = Arc::new(Proxy::start(server.port()).await.unwrap());
    let port = proxy.port();
    let open = async |name: &str| RedisStore::new(manager(port).await, name);
    cuts::a_response_that_cannot_be_saved_is_used_and_saved_later(proxy, server.port(), open).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn p19_a_lost_response_to_a_swap_in_redis_causes_no_repeated_exchange() {
    let Some(server) = server() else { return };
    let proxy = Arc::new(Proxy::start(server.port()).await.unwrap());
    let port = proxy.port();
    let open = async |name: &str| RedisStore::new(manager(port).await, name);
    // The server has the scripts.
    open(&name()).await.swap(None, &Record::from_bytes("a")).await.unwrap();
    cuts::a_lost_response_to_a_swap_causes_no_repeated_exchange(proxy, open).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn redis_with_appendfsync_always_loses_no_write_in_a_crash() {
    let Some(mut server) = RedisServer::start(&["--appendonly", "yes", "--appendfsync", "always"]) else {
        return;
    };
    let store = RedisStore::new(manager(server.port()).await, &name());
    outages::lose_no_write(store, |is_running| match is_running {
        true => server.start_again(),
        false => server.stop(),
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn redis_without_enough_replicas_presents_nothing() {
    let Some(server) = RedisServer::start(&[]) else { return };
    let endpoint = Endpoint::default();
    let session = endpoint.session(RedisStore::new(manager(server.port()).await, &name()), HOUR);
    session.sign_in(token("alice", 1)).await.unwrap();
    run(&server, cmd("CONFIG").arg("SET").arg("min-replicas-to-write").arg(1)).await;
    let error = session.session().refresh().await.unwrap_err();
    assert!(error.is_transient() && StoreError::find(&error).is_some(), "{}", describe(&error));
    assert!(describe(&error).contains("NOREPLICAS"), "{}", describe(&error));
    assert!(endpoint.presented().is_empty());
    assert_eq!(access(&session).as_deref(), Some("A-alice-1"));
}

/// A replica becomes the primary without the last write. The process that made it writes again, before it presents
/// anything.
#[tokio::test(flavor = "multi_thread")]
async fn who_knows_better_writes_again_after_a_failover_of_redis() {
    for lost in ["a save", "a sign-in", "a sign-out"] {
        let Some(primary) = RedisServer::start(&["--repl-diskless-sync-delay", "0"]) else { return };
        let options = ["--replicaof", "127.0.0.1", &primary.port().to_string()];
        let replica = RedisServer::start(&options).unwrap();
        let proxy = Proxy::start(primary.port()).await.unwrap();
        let (name, endpoint) = (name(), Endpoint::default());
        let session = async || endpoint.session(RedisStore::new(manager(proxy.port()).await, &name), HOUR);
        let (knowing, other) = (session().await, session().await);
        knowing.sign_in(token("alice", 1)).await.unwrap();
        other.load().await.unwrap();

        // The replica has all so far, and nothing of what follows.
        let at_replica = RedisStore::new(connection(&replica).await, &name);
        while !matches!(at_replica.load().await, Ok(Some(_))) {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        run(&replica, cmd("REPLICAOF").arg("NO").arg("ONE")).await;
        let expected = match lost {
            "a save" => {
                knowing.session().refresh().await.unwrap();
                Some("A-alice-2")
            }
            "a sign-in" => {
                knowing.sign_in(token("bob", 1)).await.unwrap();
                Some("A-bob-1")
            }
            _ => {
                let _ = knowing.sign_out().await.unwrap();
                None
            }
        };
        proxy.cut(Some(replica.port()));
        drop(primary);

        // The first commands fail, as their connections were cut.
        let load = async |session: &tower_reauth::store::SharedSession| {
            while session.load().await.is_err() {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        let before = endpoint.presented().len();
        load(&knowing).await;
        assert_eq!(access(&knowing).as_deref(), expected, "{lost}");
        load(&other).await;
        assert_eq!(access(&other).as_deref(), expected, "{lost}: a process that had seen the record before");
        let new = session().await;
        new.load().await.unwrap();
        assert_eq!(access(&new).as_deref(), expected, "{lost}: a process that started afterwards");
        assert_eq!(endpoint.presented().len(), before, "{lost}");

        if expected.is_some() {
            outages::refresh(&other).await;
            new.load().await.unwrap();
            assert_eq!(access(&new), access(&other), "{lost}");
        }
        let mut presented = endpoint.presented();
        presented.sort();
        presented.dedup();
        assert_eq!(presented.len(), endpoint.presented().len(), "{lost}: presented twice");
    }
}
