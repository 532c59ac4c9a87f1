//! Slices in, slices out: reference and SIMD kernels, quantised blocks, the compute pool

pub mod blocks;
