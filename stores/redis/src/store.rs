//! [`RedisStore`].

use std::{
    fmt,
    sync::{Arc, LazyLock},
    time::{Duration, SystemTime},
};

use redis::{Client, RedisError, Script, Value, aio::ConnectionLike};
use tower_reauth::store::{Loaded, Record, StoreError, Swap, TokenStore, Version};

use crate::listen::Subscription;

/// Keeps a record in Redis, for processes on many hosts. See the [crate's docs](crate).
///
/// `C` is the connection: a `redis::aio::ConnectionManager`, which reconnects, or a
/// `redis::aio::MultiplexedConnection`, which doesn't. Redis Cluster isn't supported.
///
/// # Errors
///
/// | | error |
/// |---|---|
/// | Redis can't be reached, or refuses the command | [`is_unavailable`](StoreError::is_unavailable) |
/// | the key holds something other than a record | [`is_unreadable`](StoreError::is_unreadable) |
/// | the name is empty or longer than 512 bytes | [`is_unreadable`](StoreError::is_unreadable) |
pub struct RedisStore<C> {
    connection: C,
    /// Also the channel of its notifications.
    key: Arc<str>,
    subscription: Option<Subscription>,
}

const PREFIX: &str = "tower-reauth:";
const LONGEST_NAME: usize = 512;

static LOAD: LazyLock<Script> = LazyLock::new(|| {
    Script::new(
        "local r = redis.call('HMGET', KEYS[1], 'v', 'd') \
         local t = redis.call('TIME') \
         return {r[1] or '', r[2] or '', t[1], t[2]}",
    )
});

/// `pcall`, because a script isn't rolled back: with `call`, a user without permission to publish would get
/// an error after the write.
static SWAP: LazyLock<Script> = LazyLock::new(|| {
    Script::new(
        "local v = redis.call('HGET', KEYS[1], 'v') \
         if (v or '') ~= ARGV[1] then return 0 end \
         redis.call('HSET', KEYS[1], 'v', ARGV[2], 'd', ARGV[3]) \
         redis.pcall('PUBLISH', KEYS[1], ARGV[2]) \
         return 1",
    )
});

// === impl RedisStore ===

impl<C> RedisStore<C> {
    /// Creates a handle on the record with this name, of 1 to 512 bytes. It is kept under the key
    /// `tower-reauth:{name}`.
    ///
    /// Nothing is sent until the store is used. A name of any other length is an error then.
    pub fn new(connection: C, name: &str) -> Self {
        Self { connection, key: key(name), subscription: None }
    }

    /// A handle on another record, over the same connections.
    pub fn with_name(&self, name: &str) -> Self
    where
        C: Clone,
    {
        let key = key(name);
        let subscription =
            self.subscription.as_ref().map(|subscription| subscription.with_channel(Arc::clone(&key)));
        Self { connection: self.connection.clone(), key, subscription }
    }

    /// Listens for changes by other processes, on a connection of its own that all stores made from this one by
    /// [`with_name`](Self::with_name) share.
    ///
    /// It is opened, in a task, when one of them first waits for a change, such as by
    /// [`SharedSession::follow`](tower_reauth::store::SharedSession::follow), and closed with the last of
    /// them. While it can't be opened, or after it was lost, sessions poll. Opening is retried after 1 s, 1.6
    /// s and so on, up to 60 s.
    pub fn listen(self, client: Client) -> Self {
        let subscription = Some(Subscription::new(client, Arc::clone(&self.key)));
        Self { subscription, ..self }
    }

    fn key(&self) -> Result<&str, StoreError> {
        match self.key.len() - PREFIX.len() {
            0 => Err(StoreError::unreadable("the record's name is empty")),
            1..=LONGEST_NAME => Ok(&self.key),
            length => Err(StoreError::unreadable(format!(
                "the record's name is {length} bytes long, but at most {LONGEST_NAME} are allowed"
            ))),
        }
    }
}

impl<C: ConnectionLike + Clone + Send + Sync + 'static> TokenStore for RedisStore<C> {
    async fn load(&self) -> Result<Option<Loaded>, StoreError> {
        let count = self.subscription.as_ref().map(Subscription::count);
        let response = LOAD.key(self.key()?).invoke_async(&mut self.connection.clone()).await;
        let loaded = loaded(response.map_err(store_error)?)?;
        if let (Some(subscription), Some(count)) = (&self.subscription, count) {
            subscription.loaded(count);
        }
        Ok(loaded)
    }

    async fn swap(&self, expected: Option<&Version>, record: &Record) -> Result<Swap, StoreError> {
        let next = Version::random();
        let response = SWAP
            .key(self.key()?)
            .arg(expected.map_or("", Version::as_str))
            .arg(next.as_str())
            .arg(record.as_bytes())
            .invoke_async(&mut self.connection.clone())
            .await;
        match response.map_err(store_error)? {
            Value::Int(0) => Ok(Swap::Conflict),
            Value::Int(1) => Ok(Swap::Written(next)),
            _ => Err(unexpected()),
        }
    }

    async fn changed(&self) {
        match &self.subscription {
            Some(subscription) => subscription.changed().await,
            None => std::future::pending().await,
        }
    }
}

impl<C> fmt::Debug for RedisStore<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisStore").field("key", &self.key).finish_non_exhaustive()
    }
}

fn key(name: &str) -> Arc<str> {
    format!("{PREFIX}{name}").into()
}

/// By hand, as the driver's conversion errors contain what they can't convert.
fn loaded(response: Value) -> Result<Option<Loaded>, StoreError> {
    let Value::Array(parts) = response else { return Err(unexpected()) };
    let Ok(
        [
            Value::BulkString(version),
            Value::BulkString(record),
            Value::BulkString(seconds),
            Value::BulkString(micros),
        ],
    ) = <[Value; 4]>::try_from(parts)
    else {
        return Err(unexpected());
    };
    if version.is_empty() {
        return match record.is_empty() {
            true => Ok(None),
            false => Err(StoreError::unreadable("the hash has no field `v`, so it isn't a record")),
        };
    }
    let Ok(version) = String::from_utf8(version) else {
        return Err(StoreError::unreadable("the hash's field `v` isn't a version"));
    };
    let loaded = Loaded::new(Record::from_bytes(record), Version::new(version));
    let time = number(&seconds).zip(number(&micros)).and_then(|(seconds, micros)| {
        let since_epoch = Duration::from_secs(seconds).checked_add(Duration::from_micros(micros))?;
        SystemTime::UNIX_EPOCH.checked_add(since_epoch)
    });
    Ok(Some(loaded.at(time.ok_or_else(unexpected)?)))
}

fn number(digits: &[u8]) -> Option<u64> {
    std::str::from_utf8(digits).ok()?.parse().ok()
}

fn unexpected() -> StoreError {
    StoreError::unavailable("Redis sent an unexpected response")
}

fn store_error(error: RedisError) -> StoreError {
    // Before Redis 7, the code of an error inside a script is only in the message.
    match error.to_string().contains("WRONGTYPE") {
        true => StoreError::unreadable("the key isn't a hash, so it isn't a record"),
        false => StoreError::unavailable(error),
    }
}
