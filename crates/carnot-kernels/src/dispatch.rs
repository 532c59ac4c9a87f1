//! One table of function pointers per instruction set, chosen once.

use std::cell::UnsafeCell;
use std::ops::Range;

use crate::activations::{Activations, QuantizedRow, TileRows};
use crate::cpu::InstructionSet;
use crate::generic::attention::{Blocks, Query, Scratch};
use crate::generic::format::{
    Affine, Byte, ByteK16, FiveBitK, Nibble, NibbleK, PanelFormat, SixBitK,
};
use crate::generic::matmul_float::{self, Brain, FloatFormat, Half, Single, Widened};
use crate::generic::matmul_int::{self, Expanded, Output, Partial, Tiles, TilesFn};
use crate::generic::{attention, elementwise, quantize};
use crate::pack::{Layout, PackedMatrix};
use crate::reference::Scalar;
use crate::simd::{LANES, Simd};

/// A matmul of all rows of `activations`, in the form and tiling of the table, with some panels of `weights`.
#[derive(Clone, Copy)]
pub(crate) struct Job<'a> {
    pub weights: &'a PackedMatrix,
    pub activations: &'a Activations,
    pub out: *mut f32,
    pub out_stride: usize,
}

/// # Safety
/// The processor has the table's instruction set; the job's pointers are valid; no two calls at once write the same panels.
type PanelsFn = unsafe fn(&Job<'_>, Range<usize>);

/// A row, the size of a head, cosines and sines, whether neighbours rotate together.
///
/// # Safety
/// The processor has the table's instruction set; there are as many sines as cosines, and no more pairs than a head holds.
type RopeFn = unsafe fn(&mut [f32], usize, (&[f32], &[f32]), bool);

/// Every kernel of one instruction set.
pub(crate) struct Table {
    pub set: InstructionSet,
    pub tile: TileRows,
    pub float_tile: TileRows,
    matmul: fn(Layout) -> PanelsFn,
    pub quantize_row: unsafe fn(&[f32], &QuantizedRow),
    pub rms_norm: unsafe fn(&[f32], &[f32], f32, &mut [f32]),
    pub silu_gate: unsafe fn(&[f32], &[f32], &mut [f32]),
    pub add: unsafe fn(&mut [f32], &[f32]),
    pub largest: unsafe fn(&[f32]) -> f32,
    pub exp_minus: unsafe fn(&mut [f32], f32) -> f32,
    pub scale: unsafe fn(&mut [f32], f32),
    /// Rounds to half floats; lengths are equal, multiples of 16.
    pub narrow: unsafe fn(&[f32], &mut [u16]),
    pub rope: RopeFn,
    /// The number is of the most query rows that use keys and values as they come from memory.
    pub attend: unsafe fn(&[Query], &Blocks<'_>, usize, &mut Scratch),
    pub read: unsafe fn(&[u8]) -> f32,
    pub peak_int8: unsafe fn(u64) -> f32,
    pub peak_f32: unsafe fn(u64) -> f32,
}

impl Table {
    /// The kernel for weights in `layout`.
    pub fn matmul(&self, layout: Layout) -> PanelsFn {
        (self.matmul)(layout)
    }
}

/// The table of `set`, or of the best available set below it.
pub(crate) fn table(set: InstructionSet) -> &'static Table {
    match set {
        #[cfg(target_arch = "x86_64")]
        InstructionSet::Avx512Vnni if set.is_available() => &avx512::TABLE,
        #[cfg(target_arch = "x86_64")]
        InstructionSet::AvxVnni if set.is_available() => &avx_vnni::TABLE,
        #[cfg(target_arch = "x86_64")]
        InstructionSet::Avx2 if set.is_available() => &avx2::TABLE,
        _ => &scalar::TABLE,
    }
}

thread_local! {
    static PAIR: UnsafeCell<(Box<Expanded>, Partial)> = UnsafeCell::new((Expanded::zeroed(), Vec::new()));
    static WIDENED: UnsafeCell<(Box<Widened>, Partial)> = UnsafeCell::new((Widened::zeroed(), Vec::new()));
}

/// Panels of an integer layout: one after another when rows are few, expanded pairs when many.
///
/// No kernel is called from a closure: a closure would not inherit the target features of the instantiation.
#[inline(always)]
unsafe fn int_panels<S: Simd, P: PanelFormat>(job: &Job<'_>, panels: Range<usize>, tiles: TilesFn) {
    let superblocks = job.weights.columns().div_ceil(P::INPUTS);
    let rows = job.activations.rows();
    // SAFETY: as `PanelsFn` demands; the scratch memory belongs to this thread and is not borrowed elsewhere.
    unsafe {
        if job.activations.int_tiling.is_streamed() {
            let tile = job.activations.int_tile(0, 0);
            let wide = S::TILE.few == 8;
            for panel in panels {
                let (mut target, from) = FewRows::of(job, panel);
                let (out, stride) = target.out();
                match rows {
                    1 => matmul_int::gemv::<S, P, 1>(from, superblocks, tile, out, stride),
                    2 => matmul_int::gemv::<S, P, 2>(from, superblocks, tile, out, stride),
                    3 => matmul_int::gemv::<S, P, 3>(from, superblocks, tile, out, stride),
                    4 => matmul_int::gemv::<S, P, 4>(from, superblocks, tile, out, stride),
                    5 if wide => matmul_int::gemv::<S, P, 5>(from, superblocks, tile, out, stride),
                    6 if wide => matmul_int::gemv::<S, P, 6>(from, superblocks, tile, out, stride),
                    7 if wide => matmul_int::gemv::<S, P, 7>(from, superblocks, tile, out, stride),
                    8 if wide => matmul_int::gemv::<S, P, 8>(from, superblocks, tile, out, stride),
                    _ => unreachable!("no kernel for {rows} rows"),
                }
                target.finish(rows);
            }
            return;
        }
        let (expanded, partial) = &mut *PAIR.with(std::cell::UnsafeCell::get);
        for panel in panels.clone().step_by(2) {
            let (pair, out) = pair_of(job, &panels, panel);
            matmul_int::gemm::<S, P>(
                (expanded, partial),
                pair,
                superblocks,
                tiles,
                (job.activations, out),
            );
        }
    }
}

/// Panels of a float layout.
#[inline(always)]
unsafe fn float_panels<S: Simd, P: FloatFormat>(
    job: &Job<'_>,
    panels: Range<usize>,
    tiles: matmul_float::TilesFn,
) {
    let inputs = job.weights.columns().next_multiple_of(64);
    let rows = job.activations.rows();
    // SAFETY: as in `int_panels`.
    unsafe {
        if job.activations.float_tiling.is_streamed() {
            let floats = job.activations.float_tile(0, 0);
            for panel in panels {
                let (mut target, from) = FewRows::of(job, panel);
                let (out, stride) = target.out();
                match rows {
                    1 => matmul_float::gemv::<S, P, 1>(from, inputs, floats, out, stride),
                    2 => matmul_float::gemv::<S, P, 2>(from, inputs, floats, out, stride),
                    3 => matmul_float::gemv::<S, P, 3>(from, inputs, floats, out, stride),
                    4 => matmul_float::gemv::<S, P, 4>(from, inputs, floats, out, stride),
                    _ => unreachable!("no kernel for {rows} rows"),
                }
                target.finish(rows);
            }
            return;
        }
        let (widened, partial) = &mut *WIDENED.with(std::cell::UnsafeCell::get);
        for panel in panels.clone().step_by(2) {
            let (pair, out) = pair_of(job, &panels, panel);
            matmul_float::gemm::<S, P>(
                (widened, partial),
                pair,
                inputs,
                tiles,
                (job.activations, out),
            );
        }
    }
}

/// The two panels from `panel` on; an odd last panel is multiplied beside itself, and stored once.
unsafe fn pair_of(job: &Job<'_>, panels: &Range<usize>, panel: usize) -> ([*const u8; 2], Output) {
    let pair =
        [panel, (panel + 1).min(panels.end - 1)].map(|panel| job.weights.panel(panel).as_ptr());
    // SAFETY: `panel` is a panel of the weights.
    let mut out = unsafe { output(job, panel) };
    out.columns = out.columns.min((panels.end - panel) * LANES);
    (pair, out)
}

/// Where the outputs of the panels from `panel` on go.
unsafe fn output(job: &Job<'_>, panel: usize) -> Output {
    // SAFETY: `panel` is a panel of the weights, so its first row is an output column.
    let start = unsafe { job.out.add(panel * LANES) };
    Output {
        start,
        stride: job.out_stride,
        columns: job.weights.rows() - panel * LANES,
    }
}

/// Where a kernel for few rows writes whole vectors: the outputs themselves, or a buffer where padding would be written.
struct FewRows {
    target: Output,
    buffer: [f32; 8 * LANES],
}

impl FewRows {
    fn of(job: &Job<'_>, panel: usize) -> (Self, *const u8) {
        let target = output_checked(job, panel);
        (
            Self {
                target,
                buffer: [0.0; 8 * LANES],
            },
            job.weights.panel(panel).as_ptr(),
        )
    }

    fn out(&mut self) -> (*mut f32, usize) {
        if self.target.columns >= LANES {
            (self.target.start, self.target.stride)
        } else {
            (self.buffer.as_mut_ptr(), LANES)
        }
    }

    /// # Safety
    /// The target must have room for `rows` rows.
    unsafe fn finish(&self, rows: usize) {
        let columns = self.target.columns;
        if columns >= LANES {
            return;
        }
        for row in 0..rows {
            let from = &self.buffer[row * LANES..row * LANES + columns];
            // SAFETY: `columns` values of each row are the job's to write.
            unsafe {
                std::ptr::copy_nonoverlapping(
                    from.as_ptr(),
                    self.target.start.add(row * self.target.stride),
                    columns,
                );
            };
        }
    }
}

fn output_checked(job: &Job<'_>, panel: usize) -> Output {
    assert!(
        panel < job.weights.panels(),
        "panel {panel} of {}",
        job.weights.panels()
    );
    // SAFETY: just checked.
    unsafe { output(job, panel) }
}

macro_rules! instantiate {
    ($module:ident, $set:expr, $simd:ty $(, $features:literal)?) => {
        #[expect(clippy::undocumented_unsafe_blocks, reason = "each function forwards its contract to the algorithm it instantiates")]
        mod $module {
            use super::*;

            type S = $simd;

            $(#[target_feature(enable = $features)])?
            unsafe fn tiles<const GROUP: usize, const MIN: bool>(chunk: &Expanded, all: Tiles<'_>) {
                unsafe { matmul_int::tiles::<S, GROUP, MIN>(chunk, all) }
            }
            $(#[target_feature(enable = $features)])?
            unsafe fn int<P: PanelFormat>(job: &Job<'_>, panels: Range<usize>) {
                let tiles: TilesFn = match (P::GROUP, P::HAS_MIN) {
                    (32, false) => tiles::<32, false>,
                    (32, true) => tiles::<32, true>,
                    (_, false) => tiles::<16, false>,
                    (_, true) => tiles::<16, true>,
                };
                unsafe { int_panels::<S, P>(job, panels, tiles) }
            }
            $(#[target_feature(enable = $features)])?
            unsafe fn float_tiles(chunk: &Widened, all: matmul_float::Tiles<'_>) {
                unsafe { matmul_float::tiles::<S>(chunk, all) }
            }
            $(#[target_feature(enable = $features)])?
            unsafe fn float<P: FloatFormat>(job: &Job<'_>, panels: Range<usize>) {
                unsafe { float_panels::<S, P>(job, panels, float_tiles) }
            }
            $(#[target_feature(enable = $features)])?
            unsafe fn quantize_row(values: &[f32], row: &QuantizedRow) {
                unsafe { quantize::quantize_row::<S>(values, row) }
            }
            $(#[target_feature(enable = $features)])?
            unsafe fn rms_norm(x: &[f32], weight: &[f32], epsilon: f32, out: &mut [f32]) {
                unsafe { elementwise::rms_norm::<S>(x, weight, epsilon, out) }
            }
            $(#[target_feature(enable = $features)])?
            unsafe fn silu_gate(gate: &[f32], up: &[f32], out: &mut [f32]) {
                unsafe { elementwise::silu_gate::<S>(gate, up, out) }
            }
            $(#[target_feature(enable = $features)])?
            unsafe fn add(x: &mut [f32], y: &[f32]) {
                unsafe { elementwise::add::<S>(x, y) }
            }
            $(#[target_feature(enable = $features)])?
            unsafe fn largest(x: &[f32]) -> f32 {
                unsafe { elementwise::largest::<S>(x) }
            }
            $(#[target_feature(enable = $features)])?
            unsafe fn exp_minus(x: &mut [f32], max: f32) -> f32 {
                unsafe { elementwise::exp_minus::<S>(x, max) }
            }
            $(#[target_feature(enable = $features)])?
            unsafe fn scale(x: &mut [f32], factor: f32) {
                unsafe { elementwise::scale::<S>(x, factor) }
            }
            $(#[target_feature(enable = $features)])?
            unsafe fn narrow(x: &[f32], out: &mut [u16]) {
                unsafe { elementwise::narrow::<S>(x, out) }
            }
            $(#[target_feature(enable = $features)])?
            unsafe fn rope(row: &mut [f32], head_dim: usize, angles: (&[f32], &[f32]), interleaved: bool) {
                unsafe { elementwise::rope(row, head_dim, angles, interleaved) }
            }
            $(#[target_feature(enable = $features)])?
            unsafe fn attend(queries: &[Query], blocks: &Blocks<'_>, few: usize, scratch: &mut Scratch) {
                unsafe { attention::attend::<S>(queries, blocks, few, scratch) }
            }
            $(#[target_feature(enable = $features)])?
            unsafe fn read(bytes: &[u8]) -> f32 {
                unsafe { crate::generic::peak::read::<S>(bytes) }
            }
            $(#[target_feature(enable = $features)])?
            unsafe fn peak_int8(rounds: u64) -> f32 {
                unsafe { crate::generic::peak::int8::<S>(rounds) }
            }
            $(#[target_feature(enable = $features)])?
            unsafe fn peak_f32(rounds: u64) -> f32 {
                unsafe { crate::generic::peak::f32::<S>(rounds) }
            }

            fn matmul(layout: Layout) -> PanelsFn {
                match layout {
                    Layout::Nibble => int::<Nibble>,
                    Layout::NibbleK => int::<NibbleK>,
                    Layout::FiveBitK => int::<FiveBitK>,
                    Layout::SixBitK => int::<SixBitK>,
                    Layout::Byte { zero: 16 } => int::<Byte<16>>,
                    Layout::Byte { zero: 128 } => int::<Byte<128>>,
                    Layout::ByteK16 { zero: 4 } => int::<ByteK16<4>>,
                    Layout::Byte { zero } | Layout::ByteK16 { zero } => unreachable!("no layout has the zero code {zero}"),
                    Layout::Affine32 => int::<Affine<32>>,
                    Layout::Affine16 => int::<Affine<16>>,
                    Layout::F16 => float::<Half>,
                    Layout::Bf16 => float::<Brain>,
                    Layout::F32 => float::<Single>,
                }
            }

            pub(super) static TABLE: Table = Table {
                set: $set,
                tile: S::TILE,
                float_tile: S::FLOAT_TILE,
                matmul,
                quantize_row,
                rms_norm,
                silu_gate,
                add,
                largest,
                exp_minus,
                scale,
                narrow,
                rope,
                attend,
                read,
                peak_int8,
                peak_f32,
            };
        }
    };
}

instantiate!(scalar, InstructionSet::Scalar, Scalar);
#[cfg(target_arch = "x86_64")]
instantiate!(
    avx2,
    InstructionSet::Avx2,
    crate::x86_64::avx2::Avx2<false>,
    "avx2,fma,f16c"
);
#[cfg(target_arch = "x86_64")]
instantiate!(
    avx_vnni,
    InstructionSet::AvxVnni,
    crate::x86_64::avx2::Avx2<true>,
    "avx2,fma,f16c,avxvnni"
);
#[cfg(target_arch = "x86_64")]
instantiate!(
    avx512,
    InstructionSet::Avx512Vnni,
    crate::x86_64::avx512::Avx512,
    "avx2,fma,f16c,avx512f,avx512bw,avx512dq,avx512vl,avx512vnni"
);
