//! What a step has to do, as whoever computes it is told.

use std::ops::Range;

use carnot_engine::RequestId;

use super::sequence::Account;
use crate::blocks::Block;

/// Tokens of a sequence that a step computes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chunk {
    /// The sequence.
    pub id: RequestId,
    /// Positions of the tokens.
    pub positions: Range<usize>,
    /// Whether the next token is wanted.
    pub samples: bool,
    /// Whether these are tokens of its prompt, or tokens that have to be computed again.
    pub is_prefill: bool,
    /// Tokens that may follow, at the positions after these; the next token is wanted after each of them too. With a drafter these are places
    /// that it fills.
    pub draft: Vec<u32>,
}

/// What a step has to do, in this order.
#[derive(Debug, Default)]
pub struct Step {
    /// Requests that ended before it: cancelled, or too late.
    pub dropped: Vec<Ended>,
    /// Requests that got their place, with the tokens that the cache had of each.
    pub begun: Vec<(RequestId, usize)>,
    /// Blocks whose content goes into others.
    pub copies: Vec<BlockCopy>,
    /// What to compute.
    pub chunks: Vec<Chunk>,
}

/// A request that ended before its last token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ended {
    /// Its name.
    pub id: RequestId,
    /// Why.
    pub why: Dropped,
    /// Tokens that it had generated.
    pub generated: usize,
    /// What became of its tokens.
    pub account: Account,
}

/// Why a request ended without its last token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dropped {
    /// It was cancelled.
    Cancelled,
    /// Its deadline came.
    Late,
}

/// The content of one block for another.
#[derive(Clone, Debug)]
pub struct BlockCopy {
    /// Held until the copy is made.
    pub from: Block,
    /// Number of the other.
    pub to: u32,
}
