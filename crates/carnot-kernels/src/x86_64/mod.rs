//! The instruction sets of x86-64, each an implementation of [`crate::simd::Simd`].

pub(crate) mod avx2;
pub(crate) mod avx512;
