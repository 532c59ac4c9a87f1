//! Packed weights: the panel layout that every matmul kernel reads.
//!
//! A panel is 16 output rows. Along the input dimension it is cut into superblocks of 64 or 256 inputs; a superblock holds
//! its scales first, then its codes, four consecutive inputs of each of the 16 rows to a 64-byte line:
//!
//! ```text
//! line q:  row 0: k=4q..4q+3 | row 1: k=4q..4q+3 | … | row 15       one vector register, one dot-product instruction
//! ```
//!
//! Every superblock starts on a cache line. Rows and inputs are padded with zeros; a zero scale makes padding vanish.
//! Codes are unsigned: `value = scale × (code − zero)` or `scale × code − min`, so that the activations can be the signed side.

mod codes;
mod direct;
mod layout;

pub use layout::Layout;

use crate::aligned::AlignedBytes;
use crate::blocks::BlockType;
use crate::pool::{Pool, Scattered, share_of};
use crate::simd::LANES;

/// A weight matrix of `rows` outputs and `columns` inputs, repacked for the matmul kernels.
#[derive(Clone, Debug)]
pub struct PackedMatrix {
    dtype: BlockType,
    layout: Layout,
    rows: usize,
    columns: usize,
    data: AlignedBytes,
}

impl PackedMatrix {
    /// Repacks row-major `data` of `dtype` in parallel. Lossless: the packed codes and scales stand for the same numbers.
    ///
    /// # Panics
    /// If `data` is not `rows × dtype.row_bytes(columns)` bytes, or `columns` is not a multiple of the block length.
    pub fn pack(pool: &Pool, dtype: BlockType, rows: usize, columns: usize, data: &[u8]) -> Self {
        assert_eq!(
            columns % dtype.block_len(),
            0,
            "columns of {} come in blocks of {}",
            dtype.name(),
            dtype.block_len()
        );
        assert_eq!(
            data.len(),
            rows * dtype.row_bytes(columns),
            "bytes of a {rows} × {columns} {} matrix",
            dtype.name()
        );
        let layout = Layout::of(dtype);
        let panel_bytes = layout.panel_bytes(columns);
        let panels = rows.div_ceil(LANES);
        let mut packed = AlignedBytes::zeroed(panels * panel_bytes);
        {
            let target = Scattered::new(packed.as_mut_slice());
            pool.run(|worker| {
                for panel in share_of(panels, worker, pool.threads()) {
                    // SAFETY: each panel belongs to one worker.
                    let bytes =
                        unsafe { target.part(panel * panel_bytes..(panel + 1) * panel_bytes) };
                    let lanes = panel * LANES..rows.min((panel + 1) * LANES);
                    let row_bytes = dtype.row_bytes(columns);
                    let rows = &data[lanes.start * row_bytes..lanes.end * row_bytes];
                    codes::pack_panel(dtype, layout, rows, row_bytes, bytes);
                }
            });
        }
        Self {
            dtype,
            layout,
            rows,
            columns,
            data: packed,
        }
    }

    /// The type the weights came in.
    pub fn dtype(&self) -> BlockType {
        self.dtype
    }

    /// Outputs.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Inputs.
    pub fn columns(&self) -> usize {
        self.columns
    }

    /// How the panels are laid out.
    pub fn layout(&self) -> Layout {
        self.layout
    }

    /// Number of panels of 16 rows.
    pub fn panels(&self) -> usize {
        self.rows.div_ceil(LANES)
    }

    /// Bytes that the packed form occupies.
    pub fn packed_bytes(&self) -> usize {
        self.data.as_slice().len()
    }

    /// Bytes of the same matrix in its file: what an algorithm must read at least.
    pub fn file_bytes(&self) -> usize {
        self.rows * self.dtype.row_bytes(self.columns)
    }

    /// The bytes of one panel.
    pub(crate) fn panel(&self, panel: usize) -> &[u8] {
        let bytes = self.layout.panel_bytes(self.columns);
        &self.data.as_slice()[panel * bytes..(panel + 1) * bytes]
    }
}
