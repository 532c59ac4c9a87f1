//! Converts any model that Carnot reads into one GGUF file:
//!
//! `cargo run --release -p carnot-formats --example convert -- models/embedded out.gguf --type Q8_0`

use std::error::Error;
use std::fs::File;
use std::io::BufWriter;
use std::path::Path;

use carnot_formats::{BlockType, ModelFile, convert};

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let (source, target, dtype) = match &arguments[..] {
        [source, target] => (source, target, "F16"),
        [source, target, flag, dtype] if flag == "--type" => (source, target, dtype.as_str()),
        _ => return Err("usage: convert MODEL OUT.gguf [--type Q8_0]".into()),
    };
    let dtype = BlockType::from_name(dtype).ok_or_else(|| format!("no type {dtype}"))?;
    let model = ModelFile::open(Path::new(source))?;
    convert::to_gguf(&model, dtype, BufWriter::new(File::create(target)?))?;
    Ok(())
}
