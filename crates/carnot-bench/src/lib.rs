//! Comparisons that can gate a merge, and load that tells the truth of a server.
//!
//! ```text
//! load         requests to a server when they are due, and what its clients saw
//! stress       the same among clients that leave, do not read, and send what is no request
//! trend        whether values rise, with an interval that a step or a spike does not move
//! process      a command, once: its time, its processor time, its memory
//! comparison   pairs of runs in, a verdict out, and when to stop
//! fetch        a page of a server, once
//! exposition   the metrics of a server, read, asked, and written again
//! signed_rank  by how much one of a pair is larger, with an interval that assumes nothing of how noise is distributed
//! reuse        miss ratios of caches of all sizes from one pass over what was asked for
//! scalability  throughput over the number of clients, and what it cannot exceed
//! ```

mod comparison;
pub mod exposition;
mod fetch;
pub mod load;
mod process;
mod reuse;
mod scalability;
mod signed_rank;
pub mod stress;
mod trend;

pub use comparison::{Comparison, LOOKS, Verdict, compare};
pub use fetch::{FetchError, Fetcher, Page};
pub use process::{Failure, Run, run};
pub use reuse::Reuse;
pub use scalability::Scalability;
pub use signed_rank::{Shift, shift};
pub use trend::{Trend, trend};
