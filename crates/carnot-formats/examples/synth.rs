//! Writes a model of random weights:
//!
//! `cargo run --release -p carnot-formats --example synth -- 1b out.gguf --type Q4_0 --architecture llama`

use std::error::Error;
use std::path::Path;

use carnot_formats::synth::{self, Preset};
use carnot_formats::{Architecture, BlockType};

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [preset, target, options @ ..] = &arguments[..] else {
        return Err(
            "usage: synth PRESET OUT.gguf [--type Q4_0] [--architecture llama] [--seed 0]".into(),
        );
    };
    let option = |name: &str, default: &str| {
        let given = options.chunks_exact(2).find(|pair| pair[0] == name);
        given.map_or_else(|| default.to_owned(), |pair| pair[1].clone())
    };
    let preset = Preset::from_name(preset).ok_or("presets are 150m, 0.5b, 1b, 3b and 8b")?;
    let dtype = BlockType::from_name(&option("--type", "Q4_0")).ok_or("no such type")?;
    let architecture = match option("--architecture", "llama").as_str() {
        "llama" => Architecture::Llama,
        "qwen2" => Architecture::Qwen2,
        "qwen3" => Architecture::Qwen3,
        _ => return Err("architectures are llama, qwen2 and qwen3".into()),
    };
    synth::write(
        architecture,
        preset,
        dtype,
        option("--seed", "0").parse()?,
        Path::new(target),
        |_, _| {},
    )?;
    Ok(())
}
