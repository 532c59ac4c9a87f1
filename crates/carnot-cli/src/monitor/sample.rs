//! A sample, and how programs get it: an object a line, or a row under a header.

use carnot_bench::exposition::Quantile;
use carnot_samplers::gpu::Gpu;
use carnot_samplers::host::Host;
use carnot_samplers::process::{Process, Watched};
use serde_json::{Map, Value, json};

use super::server::{Server, ServerSample};

/// Everything that is watched, over an interval.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Sample {
    /// When it was taken, in seconds since 1970.
    pub timestamp: f64,
    /// The machine.
    pub host: Host,
    /// Its graphics processors.
    pub gpus: Vec<Gpu>,
    /// The process that is watched, if one is.
    pub process: Option<Watched>,
    /// The server that is watched, if one is.
    pub server: Option<ServerSample>,
}

impl Sample {
    /// All of it; `docs/monitoring.md` defines each field. The same command always gives the same fields: what is not known is `null`.
    pub fn json(&self) -> Value {
        let Self {
            timestamp, host, ..
        } = self;
        let mut told = object(json!({
            "timestamp": (timestamp * 1e3).round() / 1e3,
            "cpu_usage": percent(host.cpu),
            "cpu_usage_per_core": host.cores.iter().map(|of| percent(*of)).collect::<Vec<_>>(),
            "cpu_stolen_percent": percent(host.stolen),
            "cores_usable": host.usable_cores,
            "group_cores_used": rounded(host.group_cores),
            "load_1": host.load.map(|load| load[0]),
            "load_5": host.load.map(|load| load[1]),
            "load_15": host.load.map(|load| load[2]),
            "memory_used_mb": megabytes(host.memory.used()),
            "memory_total_mb": megabytes(host.memory.total),
            "memory_available_mb": megabytes(host.memory.available),
            "memory_obtainable_mb": megabytes(host.memory.obtainable),
            "memory_usage_percent": percent(host.memory.used_share()),
            "swap_used_mb": megabytes(host.memory.swap_used),
            "swap_total_mb": megabytes(host.memory.swap_total),
            "disk_read_bytes_per_s": rounded(host.disk.map(|of| of[0])),
            "disk_written_bytes_per_s": rounded(host.disk.map(|of| of[1])),
            "network_received_bytes_per_s": rounded(host.network.map(|of| of[0])),
            "network_sent_bytes_per_s": rounded(host.network.map(|of| of[1])),
            "processes": host.processes,
        }));
        let gpus: Vec<Value> = self.gpus.iter().map(gpu).collect();
        told.insert("gpus".to_owned(), gpus.into());
        if let Some(of) = &self.process {
            told.insert("process".to_owned(), process(of.there()));
        }
        if let Some(of) = &self.server {
            told.insert("server".to_owned(), server(of));
        }
        told.into()
    }

    /// Names of columns and what stands in them: the fields of the JSON, those of objects and lists joined to the name by `.`. The losses
    /// of a server are left out, since they come and go.
    pub fn row(&self) -> Vec<(String, String)> {
        let mut cells = Vec::new();
        flatten("", &self.json(), &mut cells);
        cells
    }
}

fn gpu(gpu: &Gpu) -> Value {
    json!({
        "name": gpu.name,
        "usage_percent": percent(gpu.used),
        "memory_used_mb": megabytes(gpu.memory_used_bytes),
        "memory_total_mb": megabytes(gpu.memory_total_bytes),
        "temperature_celsius": gpu.temperature_celsius,
        "power_watts": gpu.power_watts,
    })
}

fn process(process: Option<&Process>) -> Value {
    json!({
        "pid": process.map(|of| of.pid),
        "name": process.map(|of| of.name.as_str()),
        "cpu_cores": rounded(process.and_then(|of| of.cpu_cores)),
        "rss_mb": megabytes(process.and_then(|of| of.rss_bytes)),
        "threads": process.and_then(|of| of.threads),
        "open_files": process.and_then(|of| of.open_files),
        "read_bytes_per_s": rounded(process.and_then(|of| Some(of.io?[0]))),
        "written_bytes_per_s": rounded(process.and_then(|of| Some(of.io?[1]))),
    })
}

fn server(sample: &ServerSample) -> Value {
    let unknown = Server::default();
    let of = sample.told.as_ref().unwrap_or(&unknown);
    let seconds = |of: Option<Quantile>| of.and_then(Quantile::value);
    json!({
        "url": sample.url,
        "error": sample.told.as_ref().err(),
        "requests_running": of.running,
        "requests_waiting": of.waiting,
        "requests_per_s": rounded(of.requests_per_s),
        "tokens_per_s": rounded(of.tokens_per_s),
        "prompt_tokens_per_s": rounded(of.prompt_tokens_per_s),
        "kv_used_percent": percent(of.kv_used),
        "kv_cached_percent": percent(of.kv_cached),
        "prefix_hit_percent": percent(of.prefix_hits),
        "first_token_p50_s": seconds(of.first_token.p50),
        "first_token_p99_s": seconds(of.first_token.p99),
        "inter_token_p50_s": seconds(of.inter_token.p50),
        "inter_token_p99_s": seconds(of.inter_token.p99),
        "efficiency_percent": percent(of.efficiency),
        "losses_percent": of.losses.iter().map(|(name, share)| (name.clone(), json!(percent(Some(*share))))).collect::<Map<_, _>>(),
    })
}

fn object(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(fields) => fields,
        _ => Map::new(),
    }
}

/// With two decimals.
fn percent(share: Option<f64>) -> Option<f64> {
    share.map(|share| (share * 1e4).round() / 1e2)
}

/// With three decimals.
fn rounded(value: Option<f64>) -> Option<f64> {
    value.map(|value| (value * 1e3).round() / 1e3)
}

/// Millions of bytes, with one decimal.
fn megabytes(bytes: Option<u64>) -> Option<f64> {
    bytes.map(|bytes| (bytes as f64 / 1e5).round() / 10.0)
}

fn flatten(name: &str, value: &Value, cells: &mut Vec<(String, String)>) {
    let inside = |part: &str| match name {
        "" => part.to_owned(),
        name => format!("{name}.{part}"),
    };
    match value {
        Value::Object(fields) => fields
            .iter()
            .filter(|(field, _)| *field != "losses_percent")
            .for_each(|(field, value)| flatten(&inside(field), value, cells)),
        Value::Array(items) => items
            .iter()
            .enumerate()
            .for_each(|(index, item)| flatten(&inside(&index.to_string()), item, cells)),
        Value::Null => cells.push((name.to_owned(), String::new())),
        Value::String(text) => cells.push((name.to_owned(), quoted(text))),
        other => cells.push((name.to_owned(), other.to_string())),
    }
}

/// As RFC 4180 wants a text that has a comma, a quote or a break in it.
fn quoted(text: &str) -> String {
    if text.contains([',', '"', '\n', '\r']) {
        format!("\"{}\"", text.replace('"', "\"\""))
    } else {
        text.to_owned()
    }
}

#[cfg(test)]
pub mod tests {
    use super::*;
    use crate::monitor::server::Latency;
    use carnot_samplers::host::Memory;

    /// A machine, a process and a server at work.
    pub fn fixed() -> Sample {
        let server = Server {
            running: Some(6.0),
            waiting: Some(2.0),
            requests_per_s: Some(11.5),
            tokens_per_s: Some(735.2),
            prompt_tokens_per_s: Some(1472.0),
            kv_used: Some(0.125),
            kv_cached: Some(0.5),
            kv_blocks: Some(2048.0),
            prefix_hits: Some(0.8034),
            first_token: Latency {
                p50: Some(Quantile::At(0.0184)),
                p99: Some(Quantile::Above(250.0)),
            },
            inter_token: Latency {
                p50: Some(Quantile::At(0.00171)),
                p99: Some(Quantile::At(0.0049)),
            },
            efficiency: Some(0.41),
            losses: vec![
                ("kernel/attention".to_owned(), 0.22),
                ("wait".to_owned(), 0.17),
                ("engine/sampling".to_owned(), 0.02),
            ],
        };
        Sample {
            timestamp: 1_790_000_000.25,
            host: Host {
                cpu: Some(0.8125),
                cores: vec![Some(0.975), Some(0.65), None, Some(0.0)],
                stolen: Some(0.031),
                group_cores: Some(1.62),
                usable_cores: 2,
                load: Some([1.52, 0.8, 0.25]),
                memory: Memory {
                    total: Some(8_200_000_000),
                    available: Some(6_150_000_000),
                    obtainable: Some(4_000_000_000),
                    swap_total: Some(0),
                    swap_used: Some(0),
                },
                disk: Some([0.0, 1_250_000.0]),
                network: Some([52_300.0, 912.0]),
                processes: Some(143),
            },
            gpus: Vec::new(),
            process: Some(Watched::There(Process {
                pid: 4711,
                name: "carnot".to_owned(),
                cpu_cores: Some(1.58),
                rss_bytes: Some(61_000_000),
                threads: Some(7),
                open_files: Some(24),
                io: None,
            })),
            server: Some(ServerSample {
                url: "http://127.0.0.1:8080".to_owned(),
                told: Ok(server),
            }),
        }
    }

    #[test]
    fn the_fields_of_a_sample() {
        insta::assert_json_snapshot!(fixed().json());
    }

    #[test]
    fn a_row_has_the_same_columns_whatever_is_known() {
        let columns = |sample: &Sample| -> Vec<String> {
            sample.row().into_iter().map(|(name, _)| name).collect()
        };
        let known = fixed();
        let mut gone = fixed();
        gone.process = Some(Watched::Gone);
        gone.server.as_mut().unwrap().told = Err("no answer, \"refused\"".to_owned());
        assert_eq!(columns(&known), columns(&gone));
        let error = gone
            .row()
            .into_iter()
            .find(|(name, _)| name == "server.error");
        assert_eq!(error.unwrap().1, "\"no answer, \"\"refused\"\"\"");
        let cores: Vec<String> = known
            .row()
            .into_iter()
            .filter(|(name, _)| name.starts_with("cpu_usage_per_core."))
            .map(|(_, cell)| cell)
            .collect();
        assert_eq!(
            cores,
            ["97.5", "65.0", "", "0.0"],
            "unknown is empty, not 0"
        );
    }
}
