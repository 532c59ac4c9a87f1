//! Slices in, slices out: quantised blocks, packed weights, kernels for each instruction set, the compute pool.
//!
//! ```text
//! blocks      how files store weights        pack         how kernels want them (panels of 16 rows)
//! activations int8 and f32 tiles             kv           keys and values in blocks of 16 tokens
//! compute     the operations of a forward pass, split over `pool`, done by `dispatch`'s table
//! simd        the trait that makes instruction sets equal; `generic` algorithms over it; `reference`, `x86_64` implement it
//! ceiling     what this machine can do at most; `measure`: which kernel is fastest on it
//! ```
//!
//! Nothing here knows a model, a file or a clock's unit.
//!
//! ```
//! use carnot_kernels::{Activations, BlockType, Compute, Forms, PackedMatrix, Product};
//!
//! let compute = Compute::new(2);
//! let weights: Vec<u8> = [1.0_f32, 2.0, 3.0, 4.0].iter().flat_map(|x| x.to_le_bytes()).collect();
//! let weights = PackedMatrix::pack(compute.pool(), BlockType::F32, 2, 2, &weights);
//! let mut x = Activations::new(1, 2);
//! compute.copy_into(&[10.0, 1.0], Forms::of([&weights]), &mut x);
//! let mut out = [0.0; 2];
//! compute.matmul(&x, &mut [Product { weights: &weights, out: &mut out }]);
//! assert_eq!(out, [12.0, 34.0]);
//! ```
#![expect(
    unsafe_code,
    reason = "vector intrinsics and the disjoint writes of a thread pool need it; each block says why it is sound"
)]
#![expect(
    clippy::inline_always,
    reason = "an algorithm over `Simd` must inline into the function that has the target features"
)]

pub mod activations;
pub mod aligned;
pub mod blocks;
pub mod ceiling;
pub mod clock;
pub mod compute;
pub mod cpu;
mod dispatch;
mod generic;
pub mod kv;
pub mod measure;
pub mod pack;
pub mod pool;
mod reference;
mod simd;
#[cfg(target_arch = "x86_64")]
mod x86_64;

pub use activations::{Activations, Forms};
pub use blocks::BlockType;
pub use compute::{Compute, Product, Rotation, Span, Tuning};
pub use cpu::InstructionSet;
pub use kv::{KvLayer, KvShape, KvType};
pub use pack::{Layout, PackedMatrix};
pub use pool::Pool;
