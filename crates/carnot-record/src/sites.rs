//! Places in the code: where processor time goes, and where memory comes from.

use serde::{Deserialize, Serialize};

/// A function and its shares of processor time.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct FunctionShare {
    /// Its path.
    pub function: String,
    /// Where it stands; empty where nobody knows it.
    pub file: String,
    /// Where it was the innermost: a share of all that was sampled.
    pub own: f64,
    /// Where it was on the stack.
    pub total: f64,
}

/// Allocations of one place in the code.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct AllocationSite {
    /// The innermost function that is not a library's.
    pub function: String,
    /// Where it allocates: the file and the line; empty where nobody knows it.
    pub place: String,
    /// How often, in one of what was repeated.
    pub allocations: f64,
    /// How many bytes.
    pub bytes: f64,
    /// How many of them were not freed at its end.
    pub kept_bytes: f64,
}
