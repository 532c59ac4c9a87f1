//! The HTTP layer alone, to be put under load: an engine that answers each request with one letter, at once.
//!
//! ```text
//! cargo run --release -p carnot-server --example http_layer -- 18070 &
//! wrk -t1 -c64 -d10s --latency -s tools/bench/completion.lua http://127.0.0.1:18070
//! ```
#![expect(
    clippy::unwrap_used,
    reason = "an example that cannot start has nothing to do"
)]
#![expect(dead_code, reason = "the tests use all of it")]

#[path = "../tests/it/scripted.rs"]
mod scripted;

use carnot_server::{Limits, Server, Settings};
use scripted::{Gate, Scripted};
use tokio::net::TcpListener;

fn main() {
    let port = std::env::args()
        .nth(1)
        .map_or(18070, |port| port.parse().unwrap());
    let gate = Gate::default();
    gate.open();
    let engine = Scripted::new("scripted", 256, gate);
    let settings = Settings {
        limits: Limits {
            queued_requests: 4096,
            tenant_requests: 4096,
            ..Limits::default()
        },
        ..Settings::default()
    };
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let listener = TcpListener::bind(("127.0.0.1", port)).await.unwrap();
        let server = Server::new(vec![Box::new(engine)], settings).unwrap();
        server
            .run(listener, None, std::future::pending())
            .await
            .unwrap();
    });
}
