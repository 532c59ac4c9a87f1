//! What the machine did meanwhile: readings of the samplers become counters of the probe, on the same clock as everything else.
//!
//! What is not known is not counted: an absent counter says that nobody could tell.

use std::time::Duration;

use carnot_probe::{Kind, counter, site};
use carnot_samplers::gpu::{Driver, Gpu};
use carnot_samplers::host::Host;
use carnot_samplers::process::Process;
use carnot_samplers::{Reading, Watcher, Watching};

use crate::{Config, Error};

/// Watches what the configuration wants watched, until it is dropped.
pub fn watch(config: &Config) -> Result<Watcher, Error> {
    let wrong = |error: carnot_samplers::Error| Error::Config {
        file: "configuration".to_owned(),
        what: error.to_string(),
    };
    let host = Duration::from_secs_f64(config.cpu_monitor_interval);
    let wants_host = config.monitor_cpu_usage || config.monitor_system_memory;
    let wants_gpus = config.monitor_gpu_memory
        || config.monitor_gpu_utilization
        || config.monitor_gpu_temperature
        || config.monitor_gpu_power;
    let driver = if wants_gpus {
        Some(Driver::find())
    } else {
        None
    };
    let driver = match driver {
        Some(driver) if !config.gpu_devices.is_empty() => {
            Some(driver.only(&config.gpu_devices).map_err(wrong)?)
        }
        driver => driver.filter(|driver| !driver.read().is_empty()),
    };
    let watching = Watching {
        host: wants_host.then_some(host),
        process: wants_host.then(|| (std::process::id(), host)),
        gpus: driver.map(|driver| (driver, Duration::from_secs_f64(config.gpu_monitor_interval))),
    };
    let config = config.clone();
    Watcher::start(watching, move |reading| tell(reading, &config)).map_err(wrong)
}

fn tell(reading: &Reading, config: &Config) {
    match reading {
        Reading::Host { of, .. } => tell_host(of, config),
        Reading::Process { of: Some(of), .. } => tell_process(of, config),
        Reading::Process { of: None, .. } => {}
        Reading::Gpus { of, .. } => of.iter().for_each(|gpu| tell_gpu(gpu, config)),
    }
}

/// Sites are looked up by name each time: a few look-ups a second cost nothing.
fn count(name: &str, value: Option<f64>) {
    if let Some(value) = value {
        counter(site(name, Kind::Counter), value);
    }
}

fn tell_host(of: &Host, config: &Config) {
    if config.monitor_cpu_usage {
        count("host/cpu_percent", of.cpu.map(|share| 100.0 * share));
        count("host/stolen_percent", of.stolen.map(|share| 100.0 * share));
        count("cgroup/cpu_cores", of.group_cores);
        count("host/load_1", of.load.map(|load| load[0]));
    }
    if config.monitor_system_memory {
        let bytes = |bytes: Option<u64>| bytes.map(|bytes| bytes as f64);
        count("host/memory_used_bytes", bytes(of.memory.used()));
        count("host/memory_total_bytes", bytes(of.memory.total));
        count(
            "host/memory_used_percent",
            of.memory.used_share().map(|share| 100.0 * share),
        );
        count(
            "cgroup/memory_obtainable_bytes",
            bytes(of.memory.obtainable),
        );
    }
}

fn tell_process(of: &Process, config: &Config) {
    if config.monitor_cpu_usage {
        count("process/cpu_cores", of.cpu_cores);
        count("process/threads", of.threads.map(|threads| threads as f64));
    }
    if config.monitor_system_memory {
        count(
            "process/resident_bytes",
            of.rss_bytes.map(|bytes| bytes as f64),
        );
    }
}

fn tell_gpu(of: &Gpu, config: &Config) {
    let tell = |is_wanted: bool, what: &str, value: Option<f64>| {
        if is_wanted {
            count(&format!("gpu{}/{what}", of.index), value);
        }
    };
    let bytes = |bytes: Option<u64>| bytes.map(|bytes| bytes as f64);
    tell(
        config.monitor_gpu_memory,
        "memory_used_bytes",
        bytes(of.memory_used_bytes),
    );
    tell(
        config.monitor_gpu_memory,
        "memory_total_bytes",
        bytes(of.memory_total_bytes),
    );
    tell(
        config.monitor_gpu_utilization,
        "utilization_percent",
        of.used.map(|share| 100.0 * share),
    );
    tell(
        config.monitor_gpu_utilization,
        "memory_controller_percent",
        of.memory_controller_used.map(|share| 100.0 * share),
    );
    tell(
        config.monitor_gpu_utilization,
        "graphics_clock_mhz",
        of.graphics_clock_mhz,
    );
    tell(
        config.monitor_gpu_utilization,
        "memory_clock_mhz",
        of.memory_clock_mhz,
    );
    tell(
        config.monitor_gpu_temperature,
        "temperature_celsius",
        of.temperature_celsius,
    );
    tell(config.monitor_gpu_power, "power_watts", of.power_watts);
}
