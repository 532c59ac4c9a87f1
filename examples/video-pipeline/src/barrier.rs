//! All ranks wait for each other: rank 0 hears from everyone, then tells everyone. One that dies is waited for no more.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::Context;
use carnot_probe::{Kind, instant, site, span};
use carnot_record::Rank;

/// Other ranks may start this much before rank 0 listens.
const START: Duration = Duration::from_mins(1);
/// Between two tries to reach it.
const BETWEEN_TRIES: Duration = Duration::from_millis(20);

pub struct Barrier {
    is_first: bool,
    /// Of rank 0 the others, of the others rank 0.
    peers: Vec<TcpStream>,
    passed: u32,
}

impl Barrier {
    /// Joins the ranks at `port` of this machine; returns when rank 0 knows all.
    pub fn join(rank: Rank, port: u16) -> anyhow::Result<Self> {
        let is_first = rank.rank == 0;
        let others = rank.world_size - 1;
        let peers = if is_first && others > 0 {
            let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port))
                .with_context(|| format!("listening for the other ranks on port {port}"))?;
            let peers = (0..others).map(|_| Ok(listener.accept()?.0));
            peers.collect::<std::io::Result<_>>()?
        } else if is_first {
            Vec::new()
        } else {
            vec![reach(port).with_context(|| format!("reaching rank 0 on port {port}"))?]
        };
        for peer in &peers {
            peer.set_nodelay(true)?;
        }
        Ok(Self {
            is_first,
            peers,
            passed: 0,
        })
    }

    /// Waits for all ranks that still run.
    pub fn wait(&mut self) {
        let waiting = span!("barrier", Kind::Wait);
        let mut byte = [0];
        if self.is_first {
            self.peers
                .retain_mut(|peer| peer.read_exact(&mut byte).is_ok());
            self.peers.retain_mut(|peer| peer.write_all(&byte).is_ok());
        } else {
            let passes = |peer: &mut TcpStream| {
                peer.write_all(&byte)
                    .and_then(|()| peer.read_exact(&mut byte))
                    .is_ok()
            };
            self.peers.retain_mut(passes);
        }
        waiting.end();
        // All passed this together: clocks are put on each other by it. Those that are alone pass nothing together.
        if !self.peers.is_empty() {
            let name = format!("anchor/barrier {}", self.passed);
            instant(site(&name, Kind::Instant));
        }
        self.passed += 1;
    }
}

fn reach(port: u16) -> std::io::Result<TcpStream> {
    let begun = Instant::now();
    loop {
        match TcpStream::connect((Ipv4Addr::LOCALHOST, port)) {
            Err(error) if begun.elapsed() >= START => return Err(error),
            // Nothing tells when another process begins to listen.
            Err(_) => thread::sleep(BETWEEN_TRIES),
            connected => return connected,
        }
    }
}
