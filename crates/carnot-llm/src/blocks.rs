//! Blocks of the key/value cache: which are free, and who holds the others.
//!
//! A [`Block`] is a counted handle. Sequences and the prefix cache share blocks by cloning it, and a block is free again when the last
//! of them lets go, however that comes about. There is no call to give one back, so none can be given back twice.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use carnot_kernels::kv::BLOCK_TOKENS;

use crate::faults;

/// All blocks of a cache.
#[derive(Debug)]
pub struct BlockPool {
    free: Arc<FreeList>,
    blocks: usize,
}

/// The numbers of free blocks; the last one is taken first, because its memory is the likeliest to be resident.
#[derive(Debug)]
struct FreeList(Mutex<Vec<u32>>);

impl FreeList {
    fn numbers(&self) -> MutexGuard<'_, Vec<u32>> {
        // A push or a pop that panics leaves the list whole.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A block that somebody holds.
#[derive(Clone, Debug)]
pub struct Block(Arc<Held>);

#[derive(Debug)]
struct Held {
    number: u32,
    home: Arc<FreeList>,
}

impl Drop for Held {
    fn drop(&mut self) {
        self.home.numbers().push(self.number);
    }
}

impl Block {
    /// Where it lies in the cache of each layer.
    pub fn number(&self) -> u32 {
        self.0.number
    }

    /// Whether `other` is the same block.
    pub fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl BlockPool {
    /// A pool of `blocks` free blocks of 16 tokens.
    pub fn new(blocks: usize) -> Self {
        let numbers = (0..blocks as u32).rev().collect();
        Self {
            free: Arc::new(FreeList(Mutex::new(numbers))),
            blocks,
        }
    }

    /// Blocks in all.
    pub fn blocks(&self) -> usize {
        self.blocks
    }

    /// Blocks that nobody holds.
    pub fn free_blocks(&self) -> usize {
        self.free.numbers().len()
    }

    /// A block, if one is free. What it holds is whatever was last written there.
    pub fn take(&self) -> Option<Block> {
        let number = self.free.numbers().pop()?;
        let home = Arc::clone(&self.free);
        Some(Block(Arc::new(Held { number, home })))
    }
}

/// Blocks that `tokens` tokens need.
pub fn blocks_for(tokens: usize) -> usize {
    tokens.div_ceil(BLOCK_TOKENS)
}

/// The blocks of one sequence, in the order of its tokens.
#[derive(Clone, Debug, Default)]
pub struct BlockTable {
    held: Vec<Block>,
    /// The same, as the kernels read them.
    numbers: Vec<u32>,
}

impl BlockTable {
    /// The handles.
    pub fn held(&self) -> &[Block] {
        &self.held
    }

    /// Where the blocks lie.
    pub fn numbers(&self) -> &[u32] {
        &self.numbers
    }

    /// Blocks that are missing to cover `tokens` tokens.
    pub fn missing(&self, tokens: usize) -> usize {
        blocks_for(tokens).saturating_sub(self.held.len())
    }

    /// Adds a block at the end.
    pub fn push(&mut self, block: Block) {
        self.numbers.push(block.number());
        self.held.push(block);
    }

    /// Covers `tokens` tokens with blocks of `pool`, or changes nothing and says how many it lacks.
    pub fn grow(&mut self, pool: &BlockPool, tokens: usize) -> Result<(), usize> {
        let missing = self.missing(tokens);
        if missing > 0 && faults::denies("allocate") {
            return Err(missing);
        }
        let lacking = missing.saturating_sub(pool.free_blocks());
        if lacking > 0 {
            return Err(lacking);
        }
        (0..missing)
            .map_while(|_| pool.take())
            .for_each(|block| self.push(block));
        Ok(())
    }

    /// Lets go of all blocks.
    pub fn clear(&mut self) {
        self.held.clear();
        self.numbers.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_block_is_free_when_its_last_holder_lets_go() {
        let pool = BlockPool::new(2);
        let first = pool.take().unwrap();
        let shared = first.clone();
        let second = pool.take().unwrap();
        assert!(shared.is(&first) && !second.is(&first));
        assert_ne!(first.number(), second.number());
        assert!(pool.take().is_none());
        drop(first);
        assert_eq!(pool.free_blocks(), 0, "still shared");
        drop(shared);
        assert_eq!(pool.free_blocks(), 1);
        drop(second);
        assert_eq!(pool.free_blocks(), 2);
    }

    #[test]
    fn a_table_grows_by_whole_blocks_or_not_at_all() {
        let pool = BlockPool::new(4);
        let mut table = BlockTable::default();
        for tokens in 1..=48 {
            table.grow(&pool, tokens).unwrap();
            assert_eq!(table.numbers().len(), tokens.div_ceil(16));
        }
        let mut other = BlockTable::default();
        assert_eq!(other.grow(&pool, 33), Err(2));
        assert_eq!(
            (other.held().len(), pool.free_blocks()),
            (0, 1),
            "nothing changed"
        );
        table.clear();
        assert_eq!(pool.free_blocks(), 4);
    }

    #[test]
    fn handles_may_outlive_the_pool() {
        let block = BlockPool::new(1).take().unwrap();
        assert_eq!(block.number(), 0);
    }
}
