//! How long a hit takes, in memory and in Redis on loopback: `cargo bench -p carnot-cache`.
//!
//! Goals: 99 % of hits within 0.2 ms in memory, 1.5 ms in Redis. One client, values of 4 KiB, a thousand keys in turns; the cache in front of Redis holds
//! nothing, so that every look-up goes there. `redis-server` is started on a free port and ends with the benchmark.
#![expect(clippy::print_stdout, reason = "a benchmark prints its results")]

use std::convert::Infallible;
use std::env;
use std::net::{Ipv4Addr, TcpListener};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use carnot_cache::{Bytes, Cache, Key, MemorySettings, Origin, RemoteSettings, Settings};
use carnot_statistics::quantile;

const KEYS: u64 = 1000;
const VALUE: usize = 4096;

fn main() {
    let is_test = env::args().any(|argument| argument == "--test");
    let (hits, rounds) = if is_test { (100, 1) } else { (20_000, 5) };
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .expect("a runtime starts");
    println!("a hit, µs            p50       p99     p99.9    hits");
    runtime.block_on(async {
        for _ in 0..rounds {
            tell("memory", &memory(hits).await);
            match remote(hits / 4).await {
                Some(times) => tell("redis", &times),
                None => println!("redis       skipped: no redis-server"),
            }
        }
    });
}

fn tell(name: &str, times: &[f64]) {
    let at = |share| quantile(times, share).unwrap_or(f64::NAN);
    let (p50, p99, p999) = (at(0.5), at(0.99), at(0.999));
    println!(
        "{name:<14} {p50:>9.1} {p99:>9.1} {p999:>9.1}    {}",
        times.len()
    );
}

async fn memory(hits: usize) -> Vec<f64> {
    let cache = Cache::open(Settings::default()).await.expect("it opens");
    time(&cache, hits, Origin::Memory).await
}

async fn remote(hits: usize) -> Option<Vec<f64>> {
    let (mut server, url) = redis().await?;
    let settings = Settings {
        memory: MemorySettings {
            bytes: 0,
            ..MemorySettings::default()
        },
        remote: Some(RemoteSettings::new(url)),
        ..Settings::default()
    };
    let cache = Cache::open(settings).await.expect("it opens");
    let times = time(&cache, hits, Origin::Remote).await;
    let _ = server.kill();
    let _ = server.wait();
    Some(times)
}

/// A server that answers.
async fn redis() -> Option<(Child, String)> {
    let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).ok()?;
    let port = port.local_addr().ok()?.port().to_string();
    let server = Command::new("redis-server")
        .args(["--port", &port, "--bind", "127.0.0.1", "--save", ""])
        .current_dir(env::temp_dir())
        .stdout(Stdio::null())
        .spawn();
    let server = server.ok()?;
    for _ in 0..200 {
        if tokio::net::TcpStream::connect(format!("127.0.0.1:{port}"))
            .await
            .is_ok()
        {
            break;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    Some((server, format!("redis://127.0.0.1:{port}/0")))
}

/// Microseconds of each hit.
async fn time(cache: &Cache, hits: usize, wanted: Origin) -> Vec<f64> {
    for number in 0..KEYS {
        cache.insert(key(number), Bytes::from(vec![1; VALUE])).await;
        // Writes go beside; more than some on their way are not sent.
        tokio::time::sleep(Duration::from_micros(if wanted == Origin::Remote {
            500
        } else {
            0
        }))
        .await;
    }
    let (mut times, mut number) = (Vec::with_capacity(hits), 0);
    let begin = Instant::now();
    while times.len() < hits {
        assert!(
            begin.elapsed() < Duration::from_mins(2),
            "{wanted:?}: no hits"
        );
        number = (number + 1) % KEYS;
        let key = key(number);
        let compute = async { Ok::<_, Infallible>(Bytes::from(vec![1; VALUE])) };
        let begin = Instant::now();
        let found = cache.get_or_compute(key, compute).await;
        let took = begin.elapsed();
        if found.is_ok_and(|found| found.origin == wanted) {
            times.push(1e6 * took.as_secs_f64());
        }
    }
    times
}

fn key(number: u64) -> Key {
    Key::of("tenant", "model")
        .with("number", &number.to_le_bytes())
        .finish()
}
