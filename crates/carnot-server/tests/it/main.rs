//! The server from outside, over sockets, with an engine whose every step a test allows.

#![expect(clippy::unwrap_used, reason = "a helper that fails fails its test")]

mod client;
mod conveniences;
mod documents;
mod overload;
mod requests;
mod scripted;
mod streams;
mod tensors;
mod traces;

use std::net::SocketAddr;
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::Duration;

use carnot_server::{Compatibility, Keys, Limits, Server, Settings, SharedSettings};
use tokio::runtime::Builder;
use tokio::sync::oneshot;

use client::Client;
use scripted::{Gate, Scripted};

/// A server on a port of its own, until it is dropped.
struct World {
    client: Client,
    gate: Gate,
    settings: SharedSettings,
    stop: Option<oneshot::Sender<()>>,
    ended: Receiver<()>,
}

fn settings() -> Settings {
    Settings {
        drain: Duration::from_secs(20),
        ..Settings::default()
    }
}

fn limited(limits: Limits) -> Settings {
    Settings {
        limits,
        ..settings()
    }
}

fn with_keys(keys: &[(&str, &str)]) -> Settings {
    let keys = keys
        .iter()
        .map(|(key, tenant)| ((*key).to_owned(), (*tenant).to_owned()));
    Settings {
        keys: Keys::new(keys),
        ..settings()
    }
}

/// An engine that does as many steps as it is asked to.
fn open_world(settings: Settings) -> World {
    let world = world(settings, 4);
    world.gate.open();
    world
}

/// An engine with `places` that does no step before the gate lets it.
fn world(settings: Settings, places: usize) -> World {
    world_with(settings, places, |server| server)
}

/// The same, with more asked of the server.
fn world_with(
    settings: Settings,
    places: usize,
    more: impl FnOnce(Server) -> Server + Send + 'static,
) -> World {
    let gate = Gate::default();
    let engine = Scripted::new("scripted", places, gate.clone());
    let (told, address) = channel::<(SocketAddr, SharedSettings)>();
    let (stop, stopped) = oneshot::channel();
    let (ends, ended) = channel();
    thread::spawn(move || {
        let runtime = Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .unwrap();
        runtime.block_on(async {
            let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
            let server = Server::new(vec![Box::new(engine)], settings).unwrap();
            let server = more(server.compatible(Compatibility::Vllm));
            let address = listener.local_addr().unwrap();
            told.send((address, server.settings())).unwrap();
            let stop = async {
                let _ = stopped.await;
            };
            server.run(listener, None, stop).await.unwrap();
        });
        let _ = ends.send(());
    });
    let (address, settings) = address.recv().unwrap();
    World {
        client: Client::new(address),
        gate,
        settings,
        stop: Some(stop),
        ended,
    }
}

impl World {
    fn stop(&mut self) {
        if let Some(stop) = self.stop.take() {
            let _ = stop.send(());
        }
    }

    /// Asks for the statistics until they are as wanted.
    fn wait_until(&self, wanted: impl Fn(&serde_json::Value) -> bool) {
        let mut last = serde_json::Value::Null;
        for _ in 0..1000 {
            last = self.client.get("/stats").json()["engines"][0].take();
            if wanted(&last) {
                return;
            }
            thread::sleep(Duration::from_millis(5));
        }
        panic!("it does not come to that: {last}");
    }

    /// Nothing is under way, and nothing was lost.
    fn wait_for_rest(&self) {
        self.wait_until(|stats| stats["in_flight"] == 0 && stats["running"] == 0);
        let health = self.client.get("/health").json();
        assert_eq!(health["lost_requests"], 0, "{health}");
    }
}
