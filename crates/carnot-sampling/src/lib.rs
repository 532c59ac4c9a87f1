//! Call stacks of this process: where its processor time goes ([`cpu`]), and where its memory comes from ([`heap`]).
//!
//! Both give stacks of addresses, the innermost first; [`symbols`] makes names of them, which takes milliseconds and is left for afterwards.
//!
//! ```
//! # #[cfg(all(target_os = "linux", target_arch = "x86_64"))] {
//! use carnot_sampling::{cpu, symbols};
//!
//! let sampler = cpu::Sampler::start(cpu::RATE)?;
//! let sum: u64 = (0..3_000_000_u64).map(std::hint::black_box).sum();
//! let samples = sampler.stop();
//! let names = symbols::Names::of(samples.stacks.iter().flat_map(|stack| &stack.addresses));
//! for stack in &samples.stacks {
//!     let innermost = stack.addresses.first().map(|&address| names.frames(address));
//!     println!("{} ns in {innermost:?}", stack.cpu_ns);
//! }
//! # drop(sum);
//! # }
//! # Ok::<(), carnot_sampling::cpu::CannotSample>(())
//! ```

#![expect(
    unsafe_code,
    reason = "an allocator, a signal handler and the clocks of threads are made of it"
)]

pub mod cpu;
pub mod heap;
pub mod symbols;
