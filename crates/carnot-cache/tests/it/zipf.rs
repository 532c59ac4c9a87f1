//! Hit rates against theory, and what the live curve says of them.

use std::convert::Infallible;

use carnot_cache::{Bytes, Cache, MemorySettings, Settings};
use carnot_statistics::{Dice, Reuse};

use super::{key, on_runtime};

const KEYS: usize = 10_000;
const REQUESTS: usize = 200_000;
/// What an entry of these weighs: see `memory.rs`.
const ENTRY: u64 = 256 + 8;

/// Ranks drawn with a frequency of 1 over their rank.
fn zipf() -> Vec<u64> {
    let mut sum = 0.0;
    let cumulated: Vec<f64> = (1..=KEYS)
        .map(|rank| {
            sum += 1.0 / rank as f64;
            sum
        })
        .collect();
    let mut dice = Dice(7);
    let draw = |_| {
        let drawn = dice.uniform() * sum;
        cumulated.partition_point(|&bound| bound < drawn) as u64
    };
    (0..REQUESTS).map(draw).collect()
}

#[test]
fn the_hit_rate_is_that_of_theory_and_the_curve_foretells_it() {
    let requests = zipf();
    let exact = Reuse::of(&requests);
    on_runtime(async {
        let settings = |entries: u64| Settings {
            memory: MemorySettings {
                bytes: entries * ENTRY,
                ..MemorySettings::default()
            },
            ..Settings::default()
        };
        let cache = Cache::open(settings(1000)).await.unwrap();
        for &rank in &requests {
            let compute =
                async { Ok::<_, Infallible>(Bytes::copy_from_slice(&rank.to_le_bytes())) };
            cache.get_or_compute(key(rank), compute).await.unwrap();
        }
        let told = cache.statistics().await;
        let (rate, theory) = (told.hit_rate().unwrap(), 1.0 - exact.miss_ratio(1000));
        println!("hit rate {rate:.4}, theoretical LRU {theory:.4}");
        assert!((rate / theory - 1.0).abs() < 0.01, "{rate} {theory}");
        for entries in [100, 300, 1000, 3000, 10_000] {
            let foretold = cache.hit_rate_at(entries * ENTRY);
            let theory = 1.0 - exact.miss_ratio(entries as usize);
            println!("{entries} entries: foretold {foretold:.4}, theoretical {theory:.4}");
            assert!(
                (foretold - theory).abs() <= 0.02,
                "{entries}: {foretold} {theory}"
            );
        }
    });
}
