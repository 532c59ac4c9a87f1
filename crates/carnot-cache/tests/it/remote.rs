//! What happens when Redis dies, stands still, is full, or has something else.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use carnot_cache::{BreakerState, Bytes, Cache, MemorySettings, Origin, RemoteSettings, Settings};

use super::redis::Redis;
use super::{key, on_runtime};

fn settings(url: &str, memory: u64) -> Settings {
    Settings {
        memory: MemorySettings {
            bytes: memory,
            ..MemorySettings::default()
        },
        remote: Some(RemoteSettings {
            // The machine that runs this may be busy; what does not answer at all is waited for.
            response_time: Duration::from_millis(500),
            ..RemoteSettings::new(url)
        }),
        ..Settings::default()
    }
}

async fn ask(cache: &Cache, number: u64, bytes: usize) -> Origin {
    let value = Bytes::from(vec![number as u8; bytes]);
    let compute = async { Ok::<_, Infallible>(value.clone()) };
    let found = cache.get_or_compute(key(number), compute).await;
    let found = found.expect("no request fails");
    assert_eq!(
        found.value, value,
        "what was computed, wherever it comes from"
    );
    found.origin
}

/// Asks again until an answer comes from Redis, or a while is over.
async fn until_remote(cache: &Cache, number: u64) -> bool {
    let begin = Instant::now();
    while begin.elapsed() < Duration::from_mins(1) {
        if ask(cache, number, 100).await == Origin::Remote {
            return true;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    false
}

#[test]
fn values_are_shared_through_redis_and_put_above() {
    let Some(redis) = Redis::start(&[]) else {
        return;
    };
    on_runtime(async {
        let (first, second) = (settings(&redis.url(), 0), settings(&redis.url(), 1 << 20));
        let first = Cache::open(first).await.unwrap();
        assert_eq!(ask(&first, 1, 100).await, Origin::Computed);
        assert!(until_remote(&first, 1).await, "nobody waits for the write");
        let second = Cache::open(second).await.unwrap();
        assert_eq!(ask(&second, 1, 100).await, Origin::Remote);
        assert_eq!(ask(&second, 1, 100).await, Origin::Memory);
        let left: i64 = redis
            .command(&["PTTL", &format!("carnot:{}", key(1))])
            .trim()
            .parse()
            .unwrap();
        assert!(
            (1..=3_600_000).contains(&left),
            "values end there too: {left}"
        );
        let told = second.statistics().await;
        assert_eq!(told.breaker, Some(BreakerState::Closed));
        assert_eq!((told.hits, told.remote.unwrap().hits), (2, 1));
    });
}

#[test]
fn it_may_be_away_at_the_start() {
    on_runtime(async {
        let cache = Cache::open(settings("redis://127.0.0.1:1/0", 0))
            .await
            .unwrap();
        for number in 0..10 {
            assert_eq!(ask(&cache, number, 10).await, Origin::Computed);
        }
        let told = cache.statistics().await;
        assert_ne!(told.breaker, Some(BreakerState::Closed));
        assert!(told.breaker_opened >= 1 && told.remote.unwrap().failures >= 3);
    });
}

/// Sixteen clients ask all the time while something happens; returns how many answers there were.
async fn under_load(cache: &Cache, happens: impl Future<Output = ()>) -> u64 {
    let (ends, answers) = (
        Arc::new(AtomicBool::new(false)),
        Arc::new(AtomicU64::new(0)),
    );
    let clients: Vec<_> = (0..16)
        .map(|client| {
            let (cache, ends, answers) = (cache.clone(), Arc::clone(&ends), Arc::clone(&answers));
            tokio::spawn(async move {
                let mut number = client;
                while !ends.load(Ordering::Relaxed) {
                    ask(&cache, number % 400, 1000).await;
                    answers.fetch_add(1, Ordering::Relaxed);
                    number += 7;
                }
            })
        })
        .collect();
    happens.await;
    ends.store(true, Ordering::Relaxed);
    for client in clients {
        client.await.expect("no request fails");
    }
    answers.load(Ordering::Relaxed)
}

async fn until(cache: &Cache, is_so: impl Fn(BreakerState) -> bool) {
    let begin = Instant::now();
    while !is_so(cache.statistics().await.breaker.unwrap()) {
        assert!(
            begin.elapsed() < Duration::from_mins(1),
            "the breaker stays"
        );
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[test]
fn killed_under_load_and_started_again() {
    let Some(mut redis) = Redis::start(&[]) else {
        return;
    };
    on_runtime(async {
        let cache = Cache::open(settings(&redis.url(), 0)).await.unwrap();
        let answers = under_load(&cache, async {
            tokio::time::sleep(Duration::from_millis(200)).await;
            redis.kill();
            until(&cache, |state| state == BreakerState::Open).await;
            redis.restart();
            until(&cache, |state| state == BreakerState::Closed).await;
        })
        .await;
        assert!(answers > 100, "{answers}");
        assert!(until_remote(&cache, 1000).await, "it is used again");
    });
}

#[test]
fn paused_under_load_and_woken() {
    let Some(redis) = Redis::start(&[]) else {
        return;
    };
    on_runtime(async {
        let cache = Cache::open(settings(&redis.url(), 0)).await.unwrap();
        under_load(&cache, async {
            tokio::time::sleep(Duration::from_millis(200)).await;
            redis.signal("STOP");
            until(&cache, |state| state == BreakerState::Open).await;
            redis.signal("CONT");
            until(&cache, |state| state == BreakerState::Closed).await;
        })
        .await;
        assert!(until_remote(&cache, 1000).await, "it is used again");
    });
}

#[test]
fn full_of_values_it_refuses_and_nobody_minds() {
    let options = ["--maxmemory", "3mb", "--maxmemory-policy", "noeviction"];
    let Some(redis) = Redis::start(&options) else {
        return;
    };
    on_runtime(async {
        let cache = Cache::open(settings(&redis.url(), 0)).await.unwrap();
        for number in 0..400 {
            ask(&cache, number, 20_000).await;
        }
        let begin = Instant::now();
        while cache.statistics().await.remote.unwrap().failures == 0 {
            assert!(
                begin.elapsed() < Duration::from_mins(1),
                "it took everything"
            );
            ask(&cache, 1000 + begin.elapsed().as_nanos() as u64, 20_000).await;
        }
        let told = cache.statistics().await;
        assert_eq!(
            told.breaker,
            Some(BreakerState::Closed),
            "it is there, and quick"
        );
    });
}

#[test]
fn garbage_is_a_miss() {
    let Some(redis) = Redis::start(&[]) else {
        return;
    };
    on_runtime(async {
        let cache = Cache::open(settings(&redis.url(), 0)).await.unwrap();
        let name = |number| format!("carnot:{}", key(number));
        redis.command(&["SET", &name(1), "CRN1 and then nothing of ours"]);
        redis.command(&["SET", &name(2), ""]);
        redis.command(&["LPUSH", &name(3), "a list"]);
        for number in 1..=3 {
            assert_eq!(ask(&cache, number, 100).await, Origin::Computed, "{number}");
        }
        let told = cache.statistics().await;
        assert!(told.remote.unwrap().failures >= 3);
        assert_eq!(told.breaker, Some(BreakerState::Closed));
        assert!(
            until_remote(&cache, 1).await,
            "what was garbage is written over"
        );
    });
}
