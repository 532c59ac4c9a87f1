//! Which blocks of the key/value cache are free, and which belong to a sequence.

use carnot_kernels::kv::BLOCK_TOKENS;

use crate::Error;

/// Blocks of 16 tokens that sequences take and give back.
#[derive(Debug)]
pub struct KvPool {
    free: Vec<u32>,
    blocks: usize,
}

/// The blocks of one sequence, in order.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct BlockTable {
    blocks: Vec<u32>,
}

impl BlockTable {
    /// The physical numbers.
    pub fn blocks(&self) -> &[u32] {
        &self.blocks
    }
}

impl KvPool {
    /// A pool of `blocks` free blocks.
    pub fn new(blocks: usize) -> Self {
        Self {
            free: (0..blocks as u32).rev().collect(),
            blocks,
        }
    }

    /// Blocks in all.
    pub fn blocks(&self) -> usize {
        self.blocks
    }

    /// Blocks that nobody holds.
    pub fn free_blocks(&self) -> usize {
        self.free.len()
    }

    /// Makes `table` cover `tokens` tokens, or changes nothing and says what is missing.
    pub fn grow(&mut self, table: &mut BlockTable, tokens: usize) -> Result<(), Error> {
        let needed = tokens
            .div_ceil(BLOCK_TOKENS)
            .saturating_sub(table.blocks.len());
        if needed > self.free.len() {
            return Err(Error::CacheFull {
                free: self.free.len(),
                needed,
            });
        }
        let kept = self.free.len() - needed;
        table.blocks.extend(self.free.drain(kept..).rev());
        Ok(())
    }

    /// Takes back all blocks of `table`.
    pub fn release(&mut self, table: &mut BlockTable) {
        self.free.extend(table.blocks.drain(..).rev());
        debug_assert!(self.free.len() <= self.blocks, "no block is released twice");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_are_owned_once_and_come_back() {
        let mut pool = KvPool::new(4);
        let (mut a, mut b) = (BlockTable::default(), BlockTable::default());
        pool.grow(&mut a, 17).unwrap();
        pool.grow(&mut b, 16).unwrap();
        assert_eq!(
            (a.blocks().len(), b.blocks().len(), pool.free_blocks()),
            (2, 1, 1)
        );
        let mut owned: Vec<u32> = a.blocks().iter().chain(b.blocks()).copied().collect();
        owned.sort_unstable();
        owned.dedup();
        assert_eq!(owned.len(), 3);
        assert!(matches!(
            pool.grow(&mut b, 49),
            Err(Error::CacheFull { free: 1, needed: 3 })
        ));
        assert_eq!(b.blocks().len(), 1, "a refused growth changes nothing");
        pool.release(&mut a);
        pool.release(&mut b);
        assert_eq!(pool.free_blocks(), 4);
    }

    #[test]
    fn growth_is_by_whole_blocks() {
        let mut pool = KvPool::new(8);
        let mut table = BlockTable::default();
        for tokens in 1..=128 {
            pool.grow(&mut table, tokens).unwrap();
            assert_eq!(table.blocks().len(), tokens.div_ceil(16));
        }
    }
}
