//! Look-ups through the tiers.

use std::convert::Infallible;
use std::time::Duration;

use carnot_cache::{Bytes, Cache, DiskSettings, MemorySettings, Origin, Settings};

use super::{key, on_runtime};

async fn compute(cache: &Cache, number: u64) -> Origin {
    let value = Bytes::from(number.to_string());
    let found = cache
        .get_or_compute(key(number), async { Ok::<_, Infallible>(value.clone()) })
        .await
        .unwrap();
    assert_eq!(found.value, value);
    found.origin
}

#[test]
fn a_value_is_computed_once_and_found_then() {
    on_runtime(async {
        let cache = Cache::open(Settings::default()).await.unwrap();
        assert_eq!(cache.get(key(1)).await, None);
        assert_eq!(compute(&cache, 1).await, Origin::Computed);
        assert_eq!(compute(&cache, 1).await, Origin::Memory);
        cache.remove(key(1)).await;
        assert_eq!(compute(&cache, 1).await, Origin::Computed);
        let told = cache.statistics().await;
        assert_eq!((told.requests, told.hits, told.misses), (4, 1, 3));
        assert_eq!((told.memory.entries, told.memory.evictions.removed), (1, 1));
        assert_eq!(told.hit_rate(), Some(0.25));
    });
}

#[test]
fn the_disk_has_what_memory_gave_up_and_what_was_there_before_a_start() {
    on_runtime(async {
        let folder = tempfile::tempdir().unwrap();
        let settings = Settings {
            memory: MemorySettings {
                bytes: 0,
                ..MemorySettings::default()
            },
            disk: Some(DiskSettings {
                folder: folder.path().to_owned(),
                bytes: 1 << 20,
            }),
            ..Settings::default()
        };
        let cache = Cache::open(settings.clone()).await.unwrap();
        assert_eq!(compute(&cache, 1).await, Origin::Computed);
        assert_eq!(
            compute(&cache, 1).await,
            Origin::Disk,
            "memory holds nothing"
        );
        let again = Cache::open(settings).await.unwrap();
        assert_eq!(compute(&again, 1).await, Origin::Disk);
        let told = again.statistics().await;
        assert_eq!((told.requests, told.hits), (1, 1));
        assert_eq!(told.disk.unwrap().entries, 1);
    });
}

#[test]
fn what_is_found_below_is_put_above() {
    on_runtime(async {
        let folder = tempfile::tempdir().unwrap();
        let settings = Settings {
            disk: Some(DiskSettings {
                folder: folder.path().to_owned(),
                bytes: 1 << 20,
            }),
            ..Settings::default()
        };
        compute(&Cache::open(settings.clone()).await.unwrap(), 1).await;
        let cache = Cache::open(settings).await.unwrap();
        assert_eq!(cache.get(key(1)).await.unwrap().origin, Origin::Disk);
        assert_eq!(cache.get(key(1)).await.unwrap().origin, Origin::Memory);
    });
}

#[test]
fn values_end_in_all_tiers() {
    on_runtime(async {
        let folder = tempfile::tempdir().unwrap();
        let cache = Cache::open(Settings {
            disk: Some(DiskSettings {
                folder: folder.path().to_owned(),
                bytes: 1 << 20,
            }),
            time_to_live: Some(Duration::from_millis(200)),
            ..Settings::default()
        })
        .await
        .unwrap();
        compute(&cache, 1).await;
        tokio::time::sleep(Duration::from_millis(300)).await;
        assert_eq!(cache.get(key(1)).await, None);
        assert_eq!(compute(&cache, 1).await, Origin::Computed);
    });
}

#[test]
fn memory_is_bounded_by_bytes() {
    on_runtime(async {
        let cache = Cache::open(Settings {
            memory: MemorySettings {
                bytes: 100_000,
                ..MemorySettings::default()
            },
            ..Settings::default()
        })
        .await
        .unwrap();
        for number in 0..200 {
            cache.insert(key(number), Bytes::from(vec![1; 1000])).await;
        }
        let told = cache.statistics().await.memory;
        assert!(
            told.bytes <= 100_000 && told.entries <= 100_000 / 1256,
            "{told:?}"
        );
        assert_eq!(told.evictions.size + told.entries, 200);
    });
}
