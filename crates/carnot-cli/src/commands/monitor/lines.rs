//! A sample as lines: the machine, and under it the graphics processors, the process and the server.

use std::fmt::Write as _;

use carnot_report::units;
use carnot_samplers::gpu::Gpu;
use carnot_samplers::process::{Process, Watched};

use super::figures::{
    bytes, bytes_of, clock, cores, count, known, latency, load, rate, share, tokens,
};
use crate::monitor::sample::Sample;
use crate::monitor::server::Server;

/// All that is known, each line ended.
pub fn of(sample: &Sample) -> String {
    let mut out = format!("{}  {}\n", clock(sample.timestamp), machine(sample));
    let mut under = |text: String| {
        let _ = writeln!(out, "           {text}");
    };
    sample.gpus.iter().map(gpu).for_each(&mut under);
    match &sample.process {
        None => (),
        Some(Watched::Gone) => under("the process has ended".to_owned()),
        Some(Watched::There(of)) => under(process(of)),
    }
    match sample.server.as_ref().map(|of| (&of.url, &of.told)) {
        None => (),
        Some((url, Ok(of))) => under(format!("{url}  {}", server(of))),
        Some((_, Err(error))) => under(error.clone()),
    }
    out
}

fn machine(sample: &Sample) -> String {
    let host = &sample.host;
    let memory = &host.memory;
    [
        format!("cpu {} of {}", share(host.cpu), cores(host.cores.len())),
        format!("load {}", load(host.load)),
        format!("memory {}", bytes_of(memory.used(), memory.total)),
        format!(
            "disk {} read, {} written",
            rate(host.disk.map(|of| of[0])),
            rate(host.disk.map(|of| of[1]))
        ),
        format!(
            "network {} in, {} out",
            rate(host.network.map(|of| of[0])),
            rate(host.network.map(|of| of[1]))
        ),
        format!("{} processes", known(host.processes, units::count)),
    ]
    .join(" · ")
}

fn gpu(of: &Gpu) -> String {
    [
        format!("{}  {}", of.name, share(of.used)),
        bytes_of(of.memory_used_bytes, of.memory_total_bytes),
        known(of.temperature_celsius, |celsius| format!("{celsius:.0} °C")),
        known(of.power_watts, |watts| format!("{watts:.0} W")),
    ]
    .join(" · ")
}

fn process(of: &Process) -> String {
    [
        format!(
            "{} ({})  cpu {} cores",
            of.name,
            of.pid,
            known(of.cpu_cores, units::digits)
        ),
        format!("memory {}", bytes(of.rss_bytes)),
        format!("{} threads", known(of.threads, units::count)),
        format!("{} open files", known(of.open_files, units::count)),
        format!(
            "disk {} read, {} written",
            rate(of.io.map(|of| of[0])),
            rate(of.io.map(|of| of[1]))
        ),
    ]
    .join(" · ")
}

fn server(of: &Server) -> String {
    let Server {
        first_token,
        inter_token,
        ..
    } = of;
    [
        format!(
            "{} running, {} waiting",
            count(of.running),
            count(of.waiting)
        ),
        tokens(of.tokens_per_s),
        format!(
            "prompts {}, {} kept",
            tokens(of.prompt_tokens_per_s),
            share(of.prefix_hits)
        ),
        format!("KV {} of {} blocks", share(of.kv_used), count(of.kv_blocks)),
        format!(
            "first token {}, p99 {}",
            latency(first_token.p50),
            latency(first_token.p99)
        ),
        format!(
            "each {}, p99 {}",
            latency(inter_token.p50),
            latency(inter_token.p99)
        ),
        format!("efficiency {}", share(of.efficiency)),
    ]
    .join(" · ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::monitor::sample::tests::fixed;

    #[test]
    fn the_lines_of_a_sample() {
        let mut gone = fixed();
        gone.process = Some(Watched::Gone);
        let server = gone.server.as_mut().unwrap();
        server.told = Err("http://127.0.0.1:8080/metrics: no answer: refused".to_owned());
        let unknown = Sample::default();
        insta::assert_snapshot!([fixed(), gone, unknown].iter().map(of).collect::<String>());
    }
}
