//! Small work of each kind, for counting its instructions: `cargo xtask instructions` runs it under valgrind.
//!
//! ```text
//! instructions            lists the cases: an instruction set and a name
//! instructions SET NAME   does the work of one case once unseen and once inside `measured`
//! ```
//!
//! One thread, no clock, no randomness: the same program executes the same instructions every time. valgrind knows AVX2 and no
//! later set, so that and the scalar kernels are what is counted.
#![expect(clippy::print_stdout, reason = "an example prints its results")]

use std::error::Error;
use std::path::Path;
use std::sync::Arc;

use carnot_formats::{BlockType, ModelFile};
use carnot_kernels::blocks::quantize;
use carnot_kernels::{
    Activations, Compute, Forms, InstructionSet, KvLayer, KvShape, KvType, PackedMatrix, Product,
    Span,
};
use carnot_llm::{Batch, BatchSpan, Model};

const SETS: [InstructionSet; 2] = [InstructionSet::Scalar, InstructionSet::Avx2];
const TYPES: [BlockType; 5] = [
    BlockType::Q4_0,
    BlockType::Q4K,
    BlockType::Q8_0,
    BlockType::Q6K,
    BlockType::F16,
];
/// Outputs and inputs of the matmuls.
const SHAPE: (usize, usize) = (64, 1024);
/// Rows of the matmuls: a decode step's, and a prompt's.
const ROWS: [(&str, usize); 2] = [("gemv", 1), ("gemm", 32)];
/// Tokens and position of the attentions.
const ATTENTIONS: [(&str, usize, usize); 2] =
    [("attention_decode", 1, 255), ("attention_prefill", 32, 224)];
/// Values of the element-wise operations.
const WIDTH: usize = 4096;

/// What is counted is what happens in here. Its name is looked for, so it stays a function.
#[inline(never)]
fn measured(work: &mut dyn FnMut()) {
    work();
}

/// Once to fill caches of the program's own, once to be counted.
fn count(mut work: impl FnMut()) {
    work();
    measured(&mut work);
}

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [set, name] = arguments.as_slice() else {
        list();
        return Ok(());
    };
    let set: InstructionSet = set.parse()?;
    if !set.is_available() {
        return Err(format!("this processor has no {set}").into());
    }
    run(&Compute::with_instruction_set(1, set), name)
}

fn list() {
    for set in SETS {
        let set = set.name().to_lowercase();
        for (kind, _) in ROWS {
            for dtype in TYPES {
                println!("{set} {}", matmul_name(kind, dtype));
            }
        }
        for (name, ..) in ATTENTIONS {
            println!("{set} {name}");
        }
        for name in ["quantize", "rms_norm", "decode_step"] {
            println!("{set} {name}");
        }
    }
}

fn matmul_name(kind: &str, dtype: BlockType) -> String {
    format!("{kind}_{}", dtype.name().to_lowercase())
}

fn run(compute: &Compute, name: &str) -> Result<(), Box<dyn Error>> {
    for (kind, rows) in ROWS {
        for dtype in TYPES {
            if name == matmul_name(kind, dtype) {
                matmul(compute, dtype, rows);
                return Ok(());
            }
        }
    }
    for (attention_name, tokens, position) in ATTENTIONS {
        if name == attention_name {
            attention(compute, tokens, position);
            return Ok(());
        }
    }
    let int8 = Forms {
        int8: true,
        f32: false,
    };
    let x = values(WIDTH);
    let mut out = Activations::new(1, WIDTH);
    match name {
        "quantize" => count(|| compute.copy_into(&x, int8, &mut out)),
        "rms_norm" => count(|| compute.rms_norm_into(&x, &x, 1e-5, Forms::default(), &mut out)),
        "decode_step" => decode_step(compute.instruction_set())?,
        _ => return Err(format!("no case {name}; without arguments they are listed").into()),
    }
    Ok(())
}

/// Numbers of ordinary size, the same every time.
fn values(count: usize) -> Vec<f32> {
    (0..count)
        .map(|at| (at % 113) as f32 / 57.0 - 1.0)
        .collect()
}

fn matmul(compute: &Compute, dtype: BlockType, rows: usize) {
    let (outputs, inputs) = SHAPE;
    let mut row = vec![0; dtype.row_bytes(inputs)];
    quantize(dtype, &values(inputs), &mut row);
    let data = row.repeat(outputs);
    let weights = &PackedMatrix::pack(compute.pool(), dtype, outputs, inputs, &data);
    let mut x = Activations::new(rows, inputs);
    compute.copy_into(&values(rows * inputs), Forms::of([weights]), &mut x);
    let mut out = vec![0.0; rows * outputs];
    count(|| {
        let out = out.as_mut_slice();
        compute.matmul(&x, &mut [Product { weights, out }]);
    });
}

fn attention(compute: &Compute, tokens: usize, position: usize) {
    let (heads, shape) = (
        8,
        KvShape {
            heads: 2,
            head_dim: 64,
            dtype: KvType::F16,
        },
    );
    let blocks = (position + tokens).div_ceil(16);
    let cache = KvLayer::new(shape, blocks);
    let table: Vec<u32> = (0..blocks as u32).collect();
    let q = values(tokens * heads * shape.head_dim);
    let mut out = vec![0.0; q.len()];
    let span = Span {
        row: 0,
        tokens,
        position,
        table: &table,
        window: usize::MAX,
    };
    count(|| compute.attention(&cache, shape, heads, &q, &[span], &mut out));
}

/// One token of the embedded model after a prompt of 16.
fn decode_step(set: InstructionSet) -> Result<(), Box<dyn Error>> {
    const PROMPT: usize = 16;
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../models/embedded-q8_0.gguf");
    let file = Arc::new(ModelFile::open(&path)?);
    let compute = Compute::with_instruction_set(1, set);
    let mut model = Model::load(file, compute, 2, |_, _| ())?;
    let mut forward = |tokens: &[u32], position| {
        let span = BatchSpan {
            tokens,
            position,
            blocks: &[0, 1],
        };
        model.forward(Batch {
            spans: &[span],
            logits: &[tokens.len() - 1],
        });
    };
    forward(&[100; PROMPT], 0);
    count(|| forward(&[101], PROMPT));
    Ok(())
}
