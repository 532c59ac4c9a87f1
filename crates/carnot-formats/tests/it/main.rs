//! The crate from outside, on the model that is built into Carnot.

mod embedded;

use std::path::PathBuf;

use carnot_formats::ModelFile;

fn models() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../models")
}

fn embedded() -> ModelFile {
    ModelFile::open(&models().join("embedded")).expect("the embedded model is sound")
}
