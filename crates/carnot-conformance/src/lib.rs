//! The test cases of ONNX's own operators against everything here that reads ONNX.
//!
//! The `onnx` Python package makes the cases: a model of one operator, inputs, and what comes out. `cases.py` writes them as files,
//! once for each version of it ([`Cases::prepare`]). What each subject makes of each case is in a ledger under `expected/`, a line for
//! each, and a test fails where a subject does better or worse than its ledger says. `CARNOT_BLESS=1` writes the ledgers anew.
//!
//! ```text
//! cargo nextest run -p carnot-conformance
//! CARNOT_BLESS=1 cargo nextest run -p carnot-conformance
//! ```

mod cases;
mod compare;
mod ledger;

pub use cases::{Case, Cases};
pub use compare::difference;
pub use ledger::{Ledger, Outcome};
