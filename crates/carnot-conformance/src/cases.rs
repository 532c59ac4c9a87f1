//! The cases as files: made once, by one process, whole.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context, bail};
use carnot_engine::Tensor;
use carnot_onnx::TensorProto;

/// What writes the cases; a part of their folder's name.
const SCRIPT: &str = include_str!("../cases.py");
/// The versions of Python packages; another part.
const REQUIREMENTS: &str = include_str!("../../../tools/requirements.txt");

/// All cases, written.
#[derive(Debug)]
pub struct Cases {
    /// Where they are.
    pub folder: PathBuf,
    /// In the order of their names.
    pub cases: Vec<Case>,
}

/// A model of one operator, with what goes in and what comes out.
#[derive(Clone, Debug, PartialEq)]
pub struct Case {
    /// Its name.
    pub name: String,
    /// How far results may be from what is expected, as a share of it.
    pub relative: f64,
    /// How far they may be beside that.
    pub absolute: f64,
    /// How many tensors go in; none where some value is no tensor.
    pub inputs: Option<usize>,
    /// How many come out; none where some value is no tensor.
    pub outputs: Option<usize>,
    folder: PathBuf,
}

impl Cases {
    /// The cases below `target`, written by its `venv` unless they are there. Processes that come at once wait for the one that writes;
    /// it writes into a folder of its own, which is given its name when all is there, so that nobody reads half of it.
    ///
    /// # Errors
    /// Where the folder cannot be made, or Python or `onnx` fails: the error says with what.
    pub fn prepare(target: &Path) -> anyhow::Result<Self> {
        let all = target.join("onnx-cases");
        fs::create_dir_all(&all).with_context(|| format!("making {}", all.display()))?;
        let folder = all.join(version());
        let lock = File::create(all.join("lock")).context("making the lock of the cases")?;
        lock.lock().context("waiting for the lock of the cases")?;
        if !folder.exists() {
            write(&target.join("venv/bin/python"), &folder)?;
        }
        Self::read(&folder)
    }

    fn read(folder: &Path) -> anyhow::Result<Self> {
        let path = folder.join("cases.txt");
        let index =
            fs::read_to_string(&path).with_context(|| format!("reading {}", path.display()))?;
        let case = |line: &str| {
            let case = Case::parse(line, folder);
            case.with_context(|| format!("{}: no case: {line}", path.display()))
        };
        Ok(Self {
            folder: folder.to_owned(),
            cases: index.lines().map(case).collect::<Result<_, _>>()?,
        })
    }
}

/// What the cases depend on, as a name: FNV-1a of the script and the line of `onnx`.
fn version() -> String {
    let is_onnx = |line: &&str| line.starts_with("onnx==") || line.starts_with("numpy==");
    let lines: Vec<&str> = REQUIREMENTS.lines().filter(is_onnx).collect();
    let bytes = SCRIPT.bytes().chain(lines.join("\n").into_bytes());
    let step = |hash: u64, byte: u8| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
    format!("{:016x}", bytes.fold(0xcbf2_9ce4_8422_2325, step))
}

fn write(python: &Path, folder: &Path) -> anyhow::Result<()> {
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    let name = format!("{}-{}", std::process::id(), now.as_nanos());
    let unfinished = folder.with_file_name(name);
    fs::create_dir(&unfinished)?;
    let mut command = Command::new(python);
    // The order of Python's sets follows from this, and with it the order of random numbers.
    command
        .env("PYTHONHASHSEED", "0")
        .args(["-W", "ignore", "-c", SCRIPT]);
    let output = command.arg(&unfinished).output();
    let output = output.with_context(|| format!("starting {}", python.display()))?;
    if !output.status.success() {
        let _ = fs::remove_dir_all(&unfinished);
        let said = String::from_utf8_lossy(&output.stderr);
        bail!(
            "{} cases.py: {}",
            python.display(),
            said.lines().last().unwrap_or("it failed")
        );
    }
    fs::rename(&unfinished, folder).context("naming the folder of the cases")
}

impl Case {
    fn parse(line: &str, folder: &Path) -> Option<Self> {
        let mut parts = line.split(' ');
        let name = parts.next()?.to_owned();
        Some(Self {
            relative: parts.next()?.parse().ok()?,
            absolute: parts.next()?.parse().ok()?,
            inputs: parts.next()?.parse().ok(),
            outputs: parts.next()?.parse().ok(),
            folder: folder.join(&name),
            name,
        })
    }

    /// Its model's file.
    pub fn model(&self) -> PathBuf {
        self.folder.join("model.onnx")
    }

    /// What goes in, and what is to come out; none where some value is no tensor, or of a type that the contract of engines has not.
    ///
    /// # Errors
    /// Where a file cannot be read.
    pub fn tensors(&self) -> anyhow::Result<Option<(Vec<Tensor>, Vec<Tensor>)>> {
        let (Some(inputs), Some(outputs)) = (self.inputs, self.outputs) else {
            return Ok(None);
        };
        let read = |kind: &str, count: usize| {
            (0..count)
                .map(|index| self.tensor(&format!("{kind}_{index}.pb")))
                .collect::<anyhow::Result<Option<Vec<Tensor>>>>()
        };
        let inputs = read("input", inputs)?;
        let outputs = read("output", outputs)?;
        Ok(inputs.zip(outputs))
    }

    fn tensor(&self, file: &str) -> anyhow::Result<Option<Tensor>> {
        let path = self.folder.join(file);
        let bytes = fs::read(&path).with_context(|| format!("reading {}", path.display()))?;
        let proto = TensorProto::parse(bytes).with_context(|| path.display().to_string())?;
        if proto.data_type.tensor_type().is_none() {
            return Ok(None);
        }
        Ok(Some(
            proto
                .to_tensor()
                .with_context(|| path.display().to_string())?,
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_cases() {
        let case = Case::parse("test_abs 0.001 1e-07 1 -", Path::new("/c")).expect("a case");
        assert_eq!((case.inputs, case.outputs), (Some(1), None));
        assert_eq!(case.model(), Path::new("/c/test_abs/model.onnx"));
        assert_eq!(case.absolute, 1e-7);
        assert!(Case::parse("test_abs 0.001", Path::new("/c")).is_none());
    }
}
