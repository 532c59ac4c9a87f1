//! Comparisons that can gate a merge, and load that tells the truth of a server.
//!
//! ```text
//! load             requests to a server when they are due, and what its clients saw
//! stress           the same among clients that leave, do not read, and send what is no request
//! fetch            a page of a server, once
//! exposition       the metrics of a server, read, asked, and written again
//! process          a command, once: its time, its processor time, its memory
//! comparison       pairs of runs in, a verdict out, and when to stop
//! signed_rank      by how much one of a pair is larger, with an interval that assumes nothing of how noise is distributed
//! mann_whitney     the same of two samples that are not paired
//! tails            the same of their quantiles
//! false_discovery  many of these at once
//! records          two records of a benchmark in, a verdict on each metric out
//! paired_records   the same of records that were measured in turns
//! profiles         the same of two profiles, which are single runs
//! targets          what has to be reached, and whether it is
//! baseline         records and targets as the three files that a baseline is
//! history          records over time, in a file
//! change_points    where a series of measurements changed its level
//! trend            whether values rise, with an interval that a step or a spike does not move
//! reuse            miss ratios of caches of all sizes from one pass over what was asked for
//! scalability      throughput over the number of clients, and what it cannot exceed
//! ```

pub mod baseline;
mod change_points;
mod comparison;
mod dice;
mod differences;
mod distributions;
pub mod exposition;
mod false_discovery;
mod fetch;
mod history;
pub mod load;
mod mann_whitney;
mod paired_records;
mod process;
mod profiles;
mod quantiles;
mod records;
mod reuse;
mod scalability;
mod signed_rank;
pub mod stress;
mod tails;
mod targets;
mod trend;

pub use change_points::{ChangePoint, Settings, change_points};
pub use comparison::{Comparison, LOOKS, Verdict, compare};
pub use dice::Dice;
pub use false_discovery::adjusted;
pub use fetch::{FetchError, Fetcher, Page};
pub use history::{Entry, History, HistoryError, MetricSeries, Point};
pub use mann_whitney::{MannWhitney, mann_whitney, shift_between};
pub use paired_records::{
    MeasuredPairs, PairedLoss, certain_growth, losses_in_pairs, metrics_in_pairs,
};
pub use process::{Failure, Run, run, run_with_output};
pub use profiles::{compare_profiles, profile_mismatches};
pub use quantiles::{median, quantile};
pub use records::{Mismatch, MovedLoss, RecordComparison, Row, compare_records, mismatches};
pub use reuse::Reuse;
pub use scalability::Scalability;
pub use signed_rank::{Shift, shift, signed_rank};
pub use tails::{TailShift, tail_shift};
pub use targets::{Compliance, Targets, TargetsError, share_met};
pub use trend::{Trend, trend};
