//! The machine as metrics under names that begin with `carnot_host_`: counters as the system counts them, so that whoever reads them
//! computes rates over whatever interval is wanted.

use carnot_bench::exposition::{Exposition, Family, Kind, Sample};
use carnot_samplers::host::HostReading;

/// Of a processor's clock.
const TICKS_PER_S: f64 = 100.0;

/// Everything that is known.
pub fn exposition(of: &HostReading) -> Exposition {
    let mut out = Exposition::default();
    let mut add = |name: &str, kind, help: &str, samples: Vec<(Vec<(&str, String)>, f64)>| {
        let name = format!("carnot_host_{name}");
        let sample = |(labels, value): (Vec<(&str, String)>, f64)| Sample {
            name: name.clone(),
            labels: labels
                .into_iter()
                .map(|(label, of)| (label.to_owned(), of))
                .collect(),
            value,
        };
        let samples: Vec<Sample> = samples.into_iter().map(sample).collect();
        if !samples.is_empty() {
            let help = help.to_owned();
            out.families.push(Family {
                name,
                kind,
                help,
                samples,
            });
        }
    };
    let processors = of.processors.iter().enumerate().flat_map(|(index, ticks)| {
        let other = ticks.all - ticks.busy - ticks.stolen;
        let states = [
            ("busy", ticks.busy),
            ("stolen", ticks.stolen),
            ("idle", other),
        ];
        states.map(|(state, ticks)| {
            let labels = vec![("cpu", index.to_string()), ("state", state.to_owned())];
            (labels, ticks as f64 / TICKS_PER_S)
        })
    });
    let help = "Time of each processor by what it did; idle is also waiting for disks";
    add(
        "cpu_seconds_total",
        Kind::Counter,
        help,
        processors.collect(),
    );
    let help = "Time of processors that the control group of this process used";
    let used = of.group_ns.map(|ns| (vec![], ns as f64 / 1e9));
    add(
        "group_cpu_seconds_total",
        Kind::Counter,
        help,
        used.into_iter().collect(),
    );
    let help = "Cores that this process may use";
    add(
        "usable_cores",
        Kind::Gauge,
        help,
        vec![(vec![], of.usable_cores as f64)],
    );
    let load = of.load.iter().flat_map(|load| {
        let minutes = ["1", "5", "15"].into_iter().zip(*load);
        minutes.map(|(minutes, load)| (vec![("minutes", minutes.to_owned())], load))
    });
    let help = "Processes that ran or wanted to, on average over so many minutes";
    add("load", Kind::Gauge, help, load.collect());
    let memory = [
        ("total", of.memory.total),
        ("used", of.memory.used()),
        ("available", of.memory.available),
        ("obtainable", of.memory.obtainable),
        ("swap_total", of.memory.swap_total),
        ("swap_used", of.memory.swap_used),
    ];
    let memory = memory
        .into_iter()
        .filter_map(|(kind, bytes)| Some((vec![("of", kind.to_owned())], bytes? as f64)));
    let help = "Memory; obtainable is what this process may have by all limits above it";
    add("memory_bytes", Kind::Gauge, help, memory.collect());
    let pair = |of: Option<[u64; 2]>, names: [&str; 2]| {
        let pairs = of.into_iter().flat_map(move |of| names.into_iter().zip(of));
        let labelled =
            pairs.map(|(name, bytes)| (vec![("direction", name.to_owned())], bytes as f64));
        labelled.collect::<Vec<_>>()
    };
    let disks = pair(of.disk_bytes, ["read", "written"]);
    add(
        "disk_bytes_total",
        Kind::Counter,
        "Bytes that all disks moved",
        disks,
    );
    let networks = pair(of.network_bytes, ["received", "sent"]);
    let help = "Bytes that all network interfaces but the loopback moved";
    add("network_bytes_total", Kind::Counter, help, networks);
    let processes = of.processes.map(|count| (vec![], count as f64));
    add(
        "processes",
        Kind::Gauge,
        "Processes",
        processes.into_iter().collect(),
    );
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use carnot_samplers::host::{Memory, Ticks};

    #[test]
    fn what_is_known_is_told_and_nothing_else() {
        let reading = HostReading {
            processors: vec![Ticks {
                busy: 250,
                stolen: 50,
                all: 1000,
            }],
            usable_cores: 1,
            memory: Memory {
                total: Some(1000),
                available: Some(400),
                ..Memory::default()
            },
            network_bytes: Some([7, 8]),
            ..HostReading::default()
        };
        let text = exposition(&reading).open_metrics();
        insta::assert_snapshot!(text);
        let read = Exposition::parse(&text).unwrap();
        assert_eq!(read.sum("carnot_host_cpu_seconds_total"), Some(10.0));
        assert_eq!(read.family("carnot_host_disk_bytes_total"), None);
    }
}
