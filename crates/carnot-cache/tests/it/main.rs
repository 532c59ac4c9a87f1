//! The tiers together, with a real Redis that is killed, stopped, filled and littered.

#![expect(
    clippy::print_stderr,
    clippy::unwrap_used,
    reason = "a helper that fails fails its test; what is skipped and what is measured is told"
)]

mod flights;
mod redis;
mod remote;
mod tiers;
mod zipf;

use std::future::Future;

use carnot_cache::Key;

/// Runs a test on a runtime with two workers.
fn on_runtime<T>(test: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build();
    runtime.expect("a runtime starts").block_on(test)
}

fn key(number: u64) -> Key {
    Key::of("tenant", "model")
        .with("number", &number.to_le_bytes())
        .finish()
}
