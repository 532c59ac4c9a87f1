//! The right-hand side of a matmul: rows of activations, cut into tiles, as `f32` and as int8 in groups of 32.
//!
//! A tile is as many rows as a kernel holds in registers. Inside a tile the values of all rows for one input (or four, for
//! int8) stand side by side. Along the inputs the tiles are cut into chunks, as long as what a kernel expands of the weights:
//!
//! ```text
//! chunk 0: tile 0, tile 1, … | chunk 1: tile 0, tile 1, … | …        a kernel reads one stream from front to back
//! ```
//!
//! A row is quantised once for all the weights that read it (q, k and v; gate and up). Beside the codes stand, per group, the
//! scale and the sums of the codes that the unsigned weight codes need: `Σ (w − zero)·a = Σ w·a − zero·Σ a`.

use std::ops::Range;

use crate::aligned::AlignedBytes;
use crate::pack::PackedMatrix;
use crate::pool::{Scattered, share_of};

/// Inputs that share one activation scale.
pub const GROUP: usize = 32;
/// Rows are padded to a multiple of this, the largest superblock.
pub(crate) const PAD: usize = 256;

/// Inputs in a chunk of the int8 form.
pub(crate) const INT_CHUNK: usize = 512;
/// Inputs in a chunk of the f32 form.
pub(crate) const FLOAT_CHUNK: usize = 128;

/// The forms in which a group of matmuls reads its activations.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Forms {
    /// Int8 codes with their scales, for quantised weights.
    pub int8: bool,
    /// Single floats, for float weights.
    pub f32: bool,
}

impl Forms {
    /// What `weights` read together.
    pub fn of<'a>(weights: impl IntoIterator<Item = &'a PackedMatrix>) -> Self {
        weights.into_iter().fold(Self::default(), |forms, matrix| {
            let integer = matrix.layout().is_integer();
            Self {
                int8: forms.int8 || integer,
                f32: forms.f32 || !integer,
            }
        })
    }

    /// Both.
    pub const BOTH: Self = Self {
        int8: true,
        f32: true,
    };
}

/// How many rows the kernels of an instruction set take at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TileRows {
    /// Up to this many rows are one tile, multiplied with weights as they come from memory.
    pub few: usize,
    /// Most rows of a tile when there are more.
    pub most: usize,
}

/// Rows cut into tiles of nearly equal height.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Tiling {
    rows: usize,
    tiles: usize,
    streamed: bool,
}

impl Tiling {
    pub fn new(rows: usize, TileRows { few, most }: TileRows) -> Self {
        let streamed = rows <= few;
        Self {
            rows,
            tiles: if streamed { 1 } else { rows.div_ceil(most) },
            streamed,
        }
    }

    /// Whether the rows are few enough to be multiplied with weights as they come from memory.
    pub fn is_streamed(self) -> bool {
        self.streamed
    }

    pub fn tiles(self) -> usize {
        self.tiles
    }

    /// The rows of `tile`.
    pub fn rows_of(self, tile: usize) -> Range<usize> {
        share_of(self.rows, tile, self.tiles)
    }

    /// The rows of the tile that `row` is in.
    pub fn around(self, row: usize) -> Range<usize> {
        self.rows_of(((row + 1) * self.tiles - 1) / self.rows)
    }
}

/// Rows of activations, as the matmul kernels want them.
#[derive(Clone, Debug, Default)]
pub struct Activations {
    rows: usize,
    columns: usize,
    forms: Forms,
    pub(crate) int_tiling: Tiling,
    pub(crate) float_tiling: Tiling,
    pub(crate) floats: Vec<f32>,
    pub(crate) codes: AlignedBytes,
    pub(crate) scales: Vec<f32>,
    /// `−128 · Σ codes`, per group of 32.
    pub(crate) sums32: Vec<i32>,
    /// `−128 · Σ codes`, per group of 16.
    pub(crate) sums16: Vec<i32>,
    /// `scale · Σ codes`, per group of 32.
    pub(crate) weighted32: Vec<f32>,
    /// `scale · Σ codes`, per group of 16.
    pub(crate) weighted16: Vec<f32>,
}

impl Activations {
    /// `rows` rows of `columns` inputs, to be filled.
    pub fn new(rows: usize, columns: usize) -> Self {
        let mut activations = Self::default();
        activations.reshape(rows, columns);
        activations
    }

    /// Changes the shape; contents are unspecified until the next fill.
    pub fn reshape(&mut self, rows: usize, columns: usize) {
        if (self.rows, self.columns) != (rows, columns) {
            (self.rows, self.columns) = (rows, columns);
            self.forms = Forms::default();
        }
    }

    /// Makes room for `forms` in tiles of the given heights; padding is zero.
    pub(crate) fn arrange(&mut self, forms: Forms, int: TileRows, float: TileRows) {
        let tilings = (Tiling::new(self.rows, int), Tiling::new(self.rows, float));
        if self.forms == forms && (self.int_tiling, self.float_tiling) == tilings {
            return;
        }
        self.forms = forms;
        (self.int_tiling, self.float_tiling) = tilings;
        let values = self.rows * self.padded();
        zeros(&mut self.floats, if forms.f32 { values } else { 0 });
        let values = if forms.int8 { values } else { 0 };
        self.codes = AlignedBytes::zeroed(values);
        zeros(&mut self.scales, values / GROUP);
        zeros(&mut self.weighted32, values / GROUP);
        zeros(&mut self.weighted16, values / 16);
        zeros(&mut self.sums32, values / GROUP);
        zeros(&mut self.sums16, values / 16);
    }

    /// # Panics
    /// If the last fill was for kernels with other tiles.
    pub(crate) fn check_arranged(&self, int: TileRows, float: TileRows) {
        assert_eq!(
            (self.int_tiling, self.float_tiling),
            (Tiling::new(self.rows, int), Tiling::new(self.rows, float)),
            "tiles of the activations and of the kernels"
        );
    }

    /// Number of rows.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Inputs per row, without padding.
    pub fn columns(&self) -> usize {
        self.columns
    }

    /// What the last fill wrote.
    pub fn forms(&self) -> Forms {
        self.forms
    }

    /// Inputs per row, padded.
    pub(crate) fn padded(&self) -> usize {
        self.columns.next_multiple_of(PAD)
    }

    /// One row of the `f32` form.
    ///
    /// # Panics
    /// If the last fill did not write that form.
    pub fn row(&self, row: usize) -> Vec<f32> {
        assert!(self.forms.f32, "the activations were not kept as f32");
        let tile = self.float_tiling.around(row);
        let mut values = Vec::with_capacity(self.padded());
        for (first, length) in chunks(self.padded(), FLOAT_CHUNK) {
            let start = first * self.rows + tile.start * length + row - tile.start;
            values.extend((0..length).map(|input| self.floats[start + input * tile.len()]));
        }
        values.truncate(self.columns);
        values
    }

    /// The tile that begins with row `row`, in the chunk of the int8 form that begins with input `first`.
    ///
    /// # Safety
    /// `row` must be the first of a tile, `first` a multiple of [`INT_CHUNK`], and the int8 form must have been filled.
    pub(crate) unsafe fn int_tile(&self, row: usize, first: usize) -> IntTile {
        let at = first * self.rows + row * INT_CHUNK.min(self.padded() - first);
        // SAFETY: every array has `rows × padded` entries, or that divided by its group.
        unsafe {
            IntTile {
                codes: self.codes.as_slice().as_ptr().add(at).cast(),
                scales: self.scales.as_ptr().add(at / GROUP),
                sums32: self.sums32.as_ptr().add(at / GROUP),
                sums16: self.sums16.as_ptr().add(at / 16),
                weighted32: self.weighted32.as_ptr().add(at / GROUP),
                weighted16: self.weighted16.as_ptr().add(at / 16),
            }
        }
    }

    /// The tile that begins with row `row`, in the chunk of the f32 form that begins with input `first`.
    ///
    /// # Safety
    /// `row` must be the first of a tile, `first` a multiple of [`FLOAT_CHUNK`], and the f32 form must have been filled.
    pub(crate) unsafe fn float_tile(&self, row: usize, first: usize) -> *const f32 {
        // SAFETY: there are `rows × padded` floats.
        unsafe {
            let at = first * self.rows + row * FLOAT_CHUNK.min(self.padded() - first);
            self.floats.as_ptr().add(at)
        }
    }
}

/// Start and length of each chunk of `inputs`.
fn chunks(inputs: usize, chunk: usize) -> impl Iterator<Item = (usize, usize)> {
    (0..inputs)
        .step_by(chunk)
        .map(move |first| (first, chunk.min(inputs - first)))
}

/// Writes rows of activations from several workers.
pub(crate) struct Target<'a> {
    rows: usize,
    padded: usize,
    int_tiling: Tiling,
    float_tiling: Tiling,
    floats: Scattered<'a, f32>,
    codes: Scattered<'a, u8>,
    scales: Scattered<'a, f32>,
    sums32: Scattered<'a, i32>,
    sums16: Scattered<'a, i32>,
    weighted32: Scattered<'a, f32>,
    weighted16: Scattered<'a, f32>,
}

impl<'a> Target<'a> {
    pub fn new(activations: &'a mut Activations) -> Self {
        Self {
            rows: activations.rows,
            padded: activations.padded(),
            int_tiling: activations.int_tiling,
            float_tiling: activations.float_tiling,
            floats: Scattered::new(&mut activations.floats),
            codes: Scattered::new(activations.codes.as_mut_slice()),
            scales: Scattered::new(&mut activations.scales),
            sums32: Scattered::new(&mut activations.sums32),
            sums16: Scattered::new(&mut activations.sums16),
            weighted32: Scattered::new(&mut activations.weighted32),
            weighted16: Scattered::new(&mut activations.weighted16),
        }
    }

    /// Writes `values` as `row` of the f32 form.
    ///
    /// # Safety
    /// The activations have that form and a row `row`, `values` are not more than its columns, and no other thread writes it.
    pub unsafe fn spread(&self, row: usize, values: &[f32]) {
        let tile = self.float_tiling.around(row);
        for (values, (first, length)) in values
            .chunks(FLOAT_CHUNK)
            .zip(chunks(self.padded, FLOAT_CHUNK))
        {
            let start = first * self.rows + tile.start * length + row - tile.start;
            // SAFETY: the row's values are `tile.len()` apart from `start` on.
            unsafe {
                let to = self.floats.as_ptr().add(start);
                for (input, value) in values.iter().enumerate() {
                    *to.add(input * tile.len()) = *value;
                }
            }
        }
    }

    /// The places of `row` in each chunk of the int8 form.
    ///
    /// # Safety
    /// The activations have that form and a row `row`.
    pub unsafe fn quantized(&self, row: usize) -> impl Iterator<Item = QuantizedRow> {
        let tile = self.int_tiling.around(row);
        let index = row - tile.start;
        chunks(self.padded, INT_CHUNK).map(move |(first, length)| {
            let at = first * self.rows + tile.start * length;
            // SAFETY: every array has `rows × padded` entries, or that divided by its group.
            unsafe {
                QuantizedRow {
                    codes: self.codes.as_ptr().add(at + index * 4).cast(),
                    scales: self.scales.as_ptr().add(at / GROUP + index),
                    sums32: self.sums32.as_ptr().add(at / GROUP + index),
                    sums16: self.sums16.as_ptr().add(at / 16 + index),
                    weighted32: self.weighted32.as_ptr().add(at / GROUP + index),
                    weighted16: self.weighted16.as_ptr().add(at / 16 + index),
                    height: tile.len(),
                }
            }
        })
    }
}

fn zeros<T: Clone + Default>(values: &mut Vec<T>, length: usize) {
    values.clear();
    values.resize(length, T::default());
}

/// One chunk of a tile of `H` rows in the int8 form, for the kernels: each pointer is followed by the chunk's groups, `H`
/// entries to a group, and the codes by its inputs, four of each row side by side. A tile that is alone goes on with the
/// next chunk.
#[derive(Clone, Copy)]
pub(crate) struct IntTile {
    pub codes: *const i8,
    pub scales: *const f32,
    pub sums32: *const i32,
    pub sums16: *const i32,
    pub weighted32: *const f32,
    pub weighted16: *const f32,
}

/// One row's place in a chunk of a tile of `height` rows, to write.
pub(crate) struct QuantizedRow {
    pub codes: *mut i8,
    pub scales: *mut f32,
    pub sums32: *mut i32,
    pub sums16: *mut i32,
    pub weighted32: *mut f32,
    pub weighted16: *mut f32,
    pub height: usize,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tiles_cover_all_rows_with_heights_that_kernels_have() {
        for (few, most, least) in [(8, 7, 4), (4, 12, 5), (4, 2, 1), (4, 3, 2)] {
            for rows in 1..200 {
                let tiling = Tiling::new(rows, TileRows { few, most });
                let mut next = 0;
                for tile in 0..tiling.tiles() {
                    let range = tiling.rows_of(tile);
                    assert_eq!(range.start, next);
                    assert!(
                        rows <= few || (least..=most).contains(&range.len()),
                        "{rows} rows, tile {tile}: {range:?}"
                    );
                    for row in range.clone() {
                        assert_eq!(tiling.around(row), range);
                    }
                    next = range.end;
                }
                assert_eq!(next, rows);
            }
        }
    }
}
