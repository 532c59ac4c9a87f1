//! Algorithms written once over [`crate::simd::Simd`]; every instruction set instantiates them.

pub(crate) mod attention;
pub(crate) mod elementwise;
pub(crate) mod format;
pub(crate) mod matmul_float;
pub(crate) mod matmul_int;
pub(crate) mod peak;
pub(crate) mod quantize;
