//! The connection to Redis: one for all requests, which comes back by itself.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use bytes::Bytes;
use redis::aio::{ConnectionManager, ConnectionManagerConfig};
use redis::cluster::ClusterClientBuilder;
use redis::cluster_async::ClusterConnection;
use redis::{Client, Cmd, ErrorKind, RedisError, Value};
use tokio::sync::{OnceCell, Semaphore};
use tokio::time::timeout;

use super::{RemoteSettings, redacted};
use crate::breaker::{Breaker, BreakerState};
use crate::envelope::{self, Entry};
use crate::{CacheError, Key};

/// Values that may be on their way to Redis; more are not sent.
const ON_THEIR_WAY: usize = 64;

/// A place to connect to.
enum Address {
    Single(Client),
    Cluster(Vec<String>),
}

/// A connection that many use at a time, and that connects again by itself.
#[derive(Clone)]
enum Connection {
    Single(ConnectionManager),
    Cluster(ClusterConnection),
}

impl Connection {
    async fn query(&mut self, command: &Cmd) -> Result<Value, RedisError> {
        match self {
            Self::Single(connection) => command.query_async(connection).await,
            Self::Cluster(connection) => command.query_async(connection).await,
        }
    }
}

pub struct Remote {
    settings: RemoteSettings,
    address: Address,
    connection: OnceCell<Connection>,
    breaker: Mutex<Breaker>,
    failures: AtomicU64,
    dropped: AtomicU64,
    on_their_way: Arc<Semaphore>,
    begin: Instant,
}

impl Remote {
    /// Connects at the first look-up: a Redis that is down now is one that may come.
    pub fn new(settings: RemoteSettings) -> Result<Arc<Self>, CacheError> {
        let refuse = |reason: String| CacheError::Address {
            url: redacted(&settings.url),
            reason,
        };
        let address = match settings.url.strip_prefix("redis+cluster://") {
            None => Address::Single(
                Client::open(settings.url.as_str()).map_err(|error| refuse(error.to_string()))?,
            ),
            Some(nodes) => {
                let nodes: Vec<String> = nodes
                    .split(',')
                    .map(|node| format!("redis://{node}"))
                    .collect();
                for node in &nodes {
                    Client::open(node.as_str()).map_err(|error| refuse(error.to_string()))?;
                }
                Address::Cluster(nodes)
            }
        };
        Ok(Arc::new(Self {
            settings,
            address,
            connection: OnceCell::new(),
            breaker: Mutex::default(),
            failures: AtomicU64::new(0),
            dropped: AtomicU64::new(0),
            on_their_way: Arc::new(Semaphore::new(ON_THEIR_WAY)),
            begin: Instant::now(),
        }))
    }

    /// What Redis has for `key`; nothing where it is down, slow, or has something else.
    pub async fn get(&self, key: &Key) -> Option<Entry> {
        let mut get = redis::cmd("GET");
        get.arg(self.name(key));
        let bytes = match self.ask(&get).await? {
            Value::BulkString(bytes) => Bytes::from(bytes),
            Value::Nil => return None,
            _ => {
                self.failed_value();
                return None;
            }
        };
        let Some(entry) = envelope::open(key, &bytes) else {
            self.failed_value();
            return None;
        };
        (!entry.has_ended(envelope::now())).then_some(entry)
    }

    /// Sends a value, beside the request: nobody waits for it. Where many are on their way it is not sent.
    pub fn put(self: &Arc<Self>, key: Key, entry: Entry) {
        if entry.value.len() > self.settings.most_bytes {
            return;
        }
        let Ok(place) = Arc::clone(&self.on_their_way).try_acquire_owned() else {
            self.dropped.fetch_add(1, Ordering::Relaxed);
            return;
        };
        let remote = Arc::clone(self);
        tokio::spawn(async move {
            let mut set = redis::cmd("SET");
            set.arg(remote.name(&key))
                .arg(&envelope::seal(&key, &entry)[..]);
            if let Some(left) = entry.left(envelope::now()) {
                set.arg("PX").arg((left.as_millis() as u64).max(1));
            }
            remote.ask(&set).await;
            drop(place);
        });
    }

    pub async fn remove(&self, key: &Key) {
        let mut delete = redis::cmd("DEL");
        delete.arg(self.name(key));
        self.ask(&delete).await;
    }

    /// An answer, or nothing: what failed is counted and tells the breaker.
    async fn ask(&self, command: &Cmd) -> Option<Value> {
        if !self.breaker().admits(self.begin.elapsed()) {
            return None;
        }
        let asked = async {
            let connection = self.connection.get_or_try_init(|| self.connect()).await?;
            let within = timeout(self.settings.response_time, async {
                connection.clone().query(command).await
            });
            within.await.map_err(|_| RedisError::from(TOO_SLOW))?
        };
        match asked.await {
            Ok(value) => {
                self.breaker().succeeded();
                Some(value)
            }
            Err(error) => {
                self.failures.fetch_add(1, Ordering::Relaxed);
                // A server that refuses (its memory is full, a key holds something else) is there, and quick.
                if matches!(error.kind(), ErrorKind::Server(_)) {
                    self.breaker().succeeded();
                } else {
                    self.breaker().failed(self.begin.elapsed());
                }
                None
            }
        }
    }

    async fn connect(&self) -> Result<Connection, RedisError> {
        let within = timeout(self.settings.connect_time, async {
            match &self.address {
                Address::Single(client) => {
                    let config = ConnectionManagerConfig::new()
                        .set_connection_timeout(Some(self.settings.connect_time))
                        .set_response_timeout(Some(self.settings.response_time))
                        .set_number_of_retries(1);
                    let manager = ConnectionManager::new_with_config(client.clone(), config);
                    manager.await.map(Connection::Single)
                }
                Address::Cluster(nodes) => {
                    let client = ClusterClientBuilder::new(nodes.clone())
                        .connection_timeout(self.settings.connect_time)
                        .response_timeout(self.settings.response_time)
                        .retries(1)
                        .build()?;
                    client.get_async_connection().await.map(Connection::Cluster)
                }
            }
        });
        within.await.map_err(|_| RedisError::from(TOO_SLOW))?
    }

    /// What was there is not what we put.
    fn failed_value(&self) {
        self.failures.fetch_add(1, Ordering::Relaxed);
    }

    fn name(&self, key: &Key) -> String {
        format!("{}{key}", self.settings.prefix)
    }

    pub fn state(&self) -> (BreakerState, u64) {
        let breaker = self.breaker();
        (breaker.state(), breaker.opened())
    }

    pub fn failures(&self) -> u64 {
        self.failures.load(Ordering::Relaxed)
    }

    pub fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }

    fn breaker(&self) -> MutexGuard<'_, Breaker> {
        self.breaker.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

const TOO_SLOW: (ErrorKind, &str) = (ErrorKind::Io, "no answer in time");
