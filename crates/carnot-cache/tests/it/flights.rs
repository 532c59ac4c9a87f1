//! One computation, however many ask.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use carnot_cache::{Bytes, Cache, Origin, Settings};
use tokio::sync::Semaphore;

use super::{key, on_runtime};

#[test]
fn a_thousand_who_ask_for_the_same_get_one_computation() {
    on_runtime(async {
        let cache = Cache::open(Settings::default()).await.unwrap();
        let computed = Arc::new(AtomicUsize::new(0));
        let (begin, end) = (Arc::new(Semaphore::new(0)), Arc::new(Semaphore::new(0)));
        let ask = |_| {
            let (cache, computed) = (cache.clone(), Arc::clone(&computed));
            let (begin, end) = (Arc::clone(&begin), Arc::clone(&end));
            tokio::spawn(async move {
                begin.acquire().await.unwrap().forget();
                let compute = async {
                    computed.fetch_add(1, Ordering::SeqCst);
                    // Until all the others wait for it.
                    end.acquire().await.unwrap().forget();
                    Ok::<_, std::fmt::Error>(Bytes::from_static(b"4"))
                };
                cache.get_or_compute(key(1), compute).await.unwrap().origin
            })
        };
        let asked: Vec<_> = (0..1000).map(ask).collect();
        begin.add_permits(1000);
        while computed.load(Ordering::SeqCst) == 0 || begin.available_permits() > 0 {
            tokio::task::yield_now().await;
        }
        end.add_permits(1000);
        let mut origins = Vec::new();
        for asked in asked {
            origins.push(asked.await.unwrap());
        }
        assert_eq!(computed.load(Ordering::SeqCst), 1);
        let count = |wanted| origins.iter().filter(|&&origin| origin == wanted).count();
        assert_eq!(count(Origin::Computed), 1);
        assert_eq!(count(Origin::Shared) + count(Origin::Memory), 999);
        let told = cache.statistics().await;
        assert_eq!(
            (told.requests, told.requests),
            (1000, told.hits + told.misses)
        );
    });
}

#[test]
fn another_computes_where_the_first_left() {
    on_runtime(async {
        let cache = Cache::open(Settings::default()).await.unwrap();
        let (started, wait) = (Arc::new(Semaphore::new(0)), Arc::new(Semaphore::new(0)));
        let first = {
            let (cache, started, wait) = (cache.clone(), Arc::clone(&started), Arc::clone(&wait));
            tokio::spawn(async move {
                let compute = async {
                    started.add_permits(1);
                    wait.acquire().await.unwrap().forget();
                    Ok::<_, std::fmt::Error>(Bytes::from_static(b"never"))
                };
                cache.get_or_compute(key(1), compute).await
            })
        };
        started.acquire().await.unwrap().forget();
        let second = {
            let cache = cache.clone();
            tokio::spawn(async move {
                let compute = async { Ok::<_, std::fmt::Error>(Bytes::from_static(b"4")) };
                cache.get_or_compute(key(1), compute).await
            })
        };
        tokio::time::sleep(Duration::from_millis(20)).await;
        first.abort();
        let found = second.await.unwrap().unwrap();
        assert_eq!(
            (&found.value[..], found.origin),
            (&b"4"[..], Origin::Computed)
        );
    });
}

#[test]
fn errors_are_told_and_not_kept() {
    on_runtime(async {
        let cache = Cache::open(Settings::default()).await.unwrap();
        let failed = cache
            .get_or_compute(key(1), async { Err(std::fmt::Error) })
            .await;
        assert!(failed.is_err());
        let compute = async { Ok::<_, std::fmt::Error>(Bytes::from_static(b"4")) };
        let found = cache.get_or_compute(key(1), compute).await.unwrap();
        assert_eq!(found.origin, Origin::Computed);
    });
}
