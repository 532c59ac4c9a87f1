//! What a machine, a process and a server do at the moment: read twice, told as rates between.
//!
//! ```text
//! host       processors, memory, disks, networks ─┐ (carnot-samplers)
//! process    one of them                          ├─▶ Sampler ── every interval ──▶ Sample ──▶ sample/{json, csv}
//! gpu        by the driver's own tool, if any     │                                    └────▶ commands/monitor/{lines, screen}
//! server     a page of metrics, and the one before┘
//! ```
//!
//! What is not known is `None`, never 0.

pub mod host_metrics;
pub mod sample;
pub mod server;

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use carnot_bench::load::Target;
use carnot_samplers::gpu;
use carnot_samplers::host::HostReading;
use carnot_samplers::process::{ProcessReading, Watched};
use sample::Sample;
use server::ServerWatch;

/// What is watched.
pub struct Sampler {
    root: PathBuf,
    pid: Option<u32>,
    gpu: gpu::Driver,
    server: Option<ServerWatch>,
    before: Reading,
}

/// Counters at one moment.
struct Reading {
    at: Instant,
    host: HostReading,
    process: Option<ProcessReading>,
}

impl Reading {
    fn now(root: &Path, pid: Option<u32>) -> Self {
        Self {
            at: Instant::now(),
            host: HostReading::read(root),
            process: pid.and_then(|pid| ProcessReading::read(root, pid)),
        }
    }
}

impl Sampler {
    /// Watches from now on this machine, and what else is named.
    pub fn new(pid: Option<u32>, server: Option<Target>) -> anyhow::Result<Self> {
        let root = PathBuf::from("/");
        let server = server.map(ServerWatch::new).transpose()?;
        let before = Reading::now(&root, pid);
        Ok(Self {
            root,
            pid,
            gpu: gpu::Driver::find(),
            server,
            before,
        })
    }

    /// What was done since the last sample, or since the beginning.
    pub fn sample(&mut self) -> Sample {
        let server = self.server.as_mut().map(ServerWatch::sample);
        let now = Reading::now(&self.root, self.pid);
        let seconds = (now.at - self.before.at).as_secs_f64();
        let process = self.pid.map(|pid| match &now.process {
            None => Watched::Gone,
            Some(process) => {
                let before = self.before.process.as_ref();
                Watched::There(process.since(pid, before, seconds))
            }
        });
        let sample = Sample {
            timestamp: SystemTime::now()
                .duration_since(UNIX_EPOCH)
                .unwrap_or(Duration::ZERO)
                .as_secs_f64(),
            host: now.host.since(&self.before.host, seconds),
            gpus: self.gpu.read(),
            process,
            server,
        };
        self.before = now;
        sample
    }
}
