//! `carnot machine`: the ceilings that every report stands on.

use std::fmt::Write as _;
use std::fs;

use anyhow::Context;
use carnot_record::{MachineProfile, Record};
use carnot_samplers::cores;

use crate::cli::{Format, MachineArguments};
use crate::printer::Printer;
use crate::{kernels, machine};

pub fn execute(arguments: &MachineArguments, printer: &Printer) -> anyhow::Result<()> {
    let mut profile = machine::profile(cores::usable(), arguments.refresh, printer);
    if arguments.kernels {
        profile = machine::with_kernels(profile, cores::usable(), printer);
    }
    if let Some(path) = &arguments.output {
        fs::write(path, profile.to_json())
            .with_context(|| format!("writing {}", path.display()))?;
    }
    printer.result(&match arguments.format {
        Format::Json => profile.to_json(),
        Format::Text => text(&profile),
    })?;
    Ok(())
}

fn text(profile: &MachineProfile) -> String {
    let mut out = String::new();
    let cpu = &profile.cpu;
    let _ = writeln!(
        out,
        "carnot machine   {} · {} cores",
        cpu.model, cpu.logical_cores
    );
    let known = |number: u32| {
        if number == 0 {
            "unknown".to_owned()
        } else {
            number.to_string()
        }
    };
    let (sockets, threads) = (known(cpu.sockets), known(cpu.threads_per_core));
    let _ = writeln!(
        out,
        "topology         sockets {sockets} · hardware threads per core {threads}"
    );
    let _ = writeln!(out, "features         {}", cpu.features.join(" "));
    let caches = cpu
        .caches
        .iter()
        .map(|c| format!("L{} {} {}", c.level, c.kind, kib(c.bytes)));
    let _ = writeln!(
        out,
        "caches           {}",
        caches.collect::<Vec<_>>().join(" · ")
    );
    let _ = writeln!(
        out,
        "\n{:<24}{}",
        "arithmetic",
        threads_header(profile.peaks.iter().map(|p| p.threads))
    );
    let row = |out: &mut String, name: &str, values: Vec<f64>, unit: &str| {
        let cells = values
            .into_iter()
            .map(|v| format!("{:>12}", format!("{:.0} {unit}", v / 1e9)));
        let _ = writeln!(out, "{name:<24}{}", cells.collect::<String>());
    };
    row(
        &mut out,
        "  int8 dot products",
        profile.peaks.iter().map(|p| p.int8_ops_per_s).collect(),
        "GOPS",
    );
    row(
        &mut out,
        "  f32 multiply-adds",
        profile.peaks.iter().map(|p| p.f32_flops).collect(),
        "GFLOPS",
    );
    let _ = writeln!(
        out,
        "\n{:<24}{}",
        "read bandwidth, GB/s",
        threads_header(profile.bandwidth.iter().map(|c| c.threads))
    );
    let points = profile
        .bandwidth
        .first()
        .map_or(0, |curve| curve.points.len());
    for index in 0..points {
        let bytes = profile.bandwidth[0].points[index].bytes;
        let cells = profile
            .bandwidth
            .iter()
            .map(|c| format!("{:>12.1}", c.points[index].bytes_per_s / 1e9));
        let _ = writeln!(out, "  {:<22}{}", kib(bytes), cells.collect::<String>());
    }
    let _ = writeln!(
        out,
        "\nfork and join {:.0} ns · clock read {:.1} ns · span {:.1} ns",
        profile.barrier_ns, profile.clock_read_ns, profile.span_ns
    );
    let _ = writeln!(out, "\nkernels");
    for entry in &profile.dispatch {
        let _ = writeln!(out, "  {:<24}{}", entry.operation, entry.variant);
    }
    if let Some(kernels) = &profile.kernels {
        out.push_str(&kernels::text(kernels));
    }
    if let Some(path) = machine::path() {
        let _ = writeln!(
            out,
            "\nkept in {}; --refresh measures again",
            path.display()
        );
    }
    out
}

fn threads_header(threads: impl Iterator<Item = u32>) -> String {
    threads
        .map(|count| {
            format!(
                "{:>12}",
                format!("{count} thread{}", if count == 1 { "" } else { "s" })
            )
        })
        .collect()
}

/// Caches and working sets come in powers of two: `48 KiB`, `2 MiB`.
fn kib(bytes: u64) -> String {
    match bytes {
        0..0x10_0000 => format!("{} KiB", bytes >> 10),
        0x10_0000..0x4000_0000 => format!("{} MiB", bytes >> 20),
        _ => format!("{} GiB", bytes >> 30),
    }
}
