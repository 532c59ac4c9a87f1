//! The right-hand side of a matmul: rows of activations as `f32`, and quantised to int8 in groups of 32.
//!
//! A row is quantised once for all the weights that read it (q, k and v; gate and up). Beside the codes stand, per group, the
//! scale and the sums of the codes that the unsigned weight codes need: `Σ (w − zero)·a = Σ w·a − zero·Σ a`.

use crate::aligned::AlignedBytes;

/// Inputs that share one activation scale.
pub const GROUP: usize = 32;
/// Rows are padded to a multiple of this, the largest superblock.
pub(crate) const PAD: usize = 256;

/// Rows of activations, as the matmul kernels want them.
#[derive(Clone, Debug, Default)]
pub struct Activations {
    rows: usize,
    columns: usize,
    padded: usize,
    pub(crate) floats: Vec<f32>,
    pub(crate) codes: AlignedBytes,
    pub(crate) scales: Vec<f32>,
    /// `−8 · Σ codes`, per group of 32.
    pub(crate) sums32: Vec<i32>,
    /// `−8 · Σ codes`, per group of 16.
    pub(crate) sums16: Vec<i32>,
    /// `scale · Σ codes`, per group of 32.
    pub(crate) weighted32: Vec<f32>,
    /// `scale · Σ codes`, per group of 16.
    pub(crate) weighted16: Vec<f32>,
}

impl Activations {
    /// Room for `rows` rows of `columns` inputs, zeroed.
    pub fn new(rows: usize, columns: usize) -> Self {
        let mut activations = Self::default();
        activations.reshape(rows, columns);
        activations
    }

    /// Changes the shape, keeping the memory; contents are unspecified but padding is zero after the next fill.
    pub fn reshape(&mut self, rows: usize, columns: usize) {
        let padded = columns.next_multiple_of(PAD);
        if self.rows == rows && self.columns == columns {
            return;
        }
        let capacity = rows * padded;
        (self.rows, self.columns, self.padded) = (rows, columns, padded);
        self.floats.clear();
        self.floats.resize(capacity, 0.0);
        self.codes = AlignedBytes::zeroed(capacity);
        for values in [&mut self.scales, &mut self.weighted32] {
            values.clear();
            values.resize(capacity / GROUP, 0.0);
        }
        self.weighted16.clear();
        self.weighted16.resize(capacity / 16, 0.0);
        self.sums32.clear();
        self.sums32.resize(capacity / GROUP, 0);
        self.sums16.clear();
        self.sums16.resize(capacity / 16, 0);
    }

    /// Number of rows.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Inputs per row, without padding.
    pub fn columns(&self) -> usize {
        self.columns
    }

    /// Inputs per row, padded.
    pub(crate) fn padded(&self) -> usize {
        self.padded
    }

    /// One row as `f32`.
    pub fn row(&self, row: usize) -> &[f32] {
        &self.floats[row * self.padded..row * self.padded + self.columns]
    }
}

/// One row's quantised form, to write.
pub(crate) struct QuantizedRow<'a> {
    pub codes: &'a mut [i8],
    pub scales: &'a mut [f32],
    pub sums32: &'a mut [i32],
    pub sums16: &'a mut [i32],
    pub weighted32: &'a mut [f32],
    pub weighted16: &'a mut [f32],
}

/// Pointers into [`Activations`] at one row, for the kernels.
#[derive(Clone, Copy)]
pub(crate) struct RowPointers {
    pub codes: *const i8,
    pub floats: *const f32,
    pub scales: *const f32,
    pub sums32: *const i32,
    pub sums16: *const i32,
    pub weighted32: *const f32,
    pub weighted16: *const f32,
    /// Inputs from one row to the next.
    pub stride: usize,
}

impl Activations {
    /// # Safety
    /// `row` must be a row; the pointers live as long as the borrow of `self` that the caller holds.
    pub(crate) unsafe fn pointers(&self, row: usize) -> RowPointers {
        let at = row * self.padded;
        debug_assert!(row < self.rows.max(1));
        // SAFETY: every array has `rows × padded` entries, or that divided by its group.
        unsafe {
            RowPointers {
                codes: self.codes.as_slice().as_ptr().add(at).cast(),
                floats: self.floats.as_ptr().add(at),
                scales: self.scales.as_ptr().add(at / GROUP),
                sums32: self.sums32.as_ptr().add(at / GROUP),
                sums16: self.sums16.as_ptr().add(at / 16),
                weighted32: self.weighted32.as_ptr().add(at / GROUP),
                weighted16: self.weighted16.as_ptr().add(at / 16),
                stride: self.padded,
            }
        }
    }
}
