//! Comparisons that can gate a merge, and load that tells the truth of a server.
//!
//! ```text
//! load             requests to a server when they are due, and what its clients saw
//! stress           the same among clients that leave, do not read, and send what is no request
//! fetch            a page of a server, once
//! exposition       the metrics of a server, read, asked, and written again
//! process          a command, once: its time, its processor time, its memory
//! comparison       pairs of runs in, a verdict out, and when to stop
//! records          two records of a benchmark in, a verdict on each metric out
//! paired_records   the same of records that were measured in turns
//! operations       which operation of two runs moved most
//! profiles         the same of two profiles, which are single runs
//! targets          what has to be reached, and whether it is
//! baseline         records and targets as the three files that a baseline is
//! history          records over time, in a file
//! selection        runs of it by a name, and several as one record
//! scalability      throughput over the number of clients, and what it cannot exceed
//! ```
//!
//! What they rest on is `carnot-statistics`; those of its names that callers need come through here.

pub mod baseline;
mod comparison;
pub mod exposition;
mod fetch;
mod history;
pub mod load;
mod moved_sites;
mod operations;
mod paired_records;
mod process;
mod profiles;
mod records;
mod scalability;
mod selection;
pub mod stress;
mod targets;

use carnot_statistics::dice;

pub use carnot_statistics::{
    ChangePoint, Dice, Settings, Shift, Trend, batch_medians, change_points, median, quantile,
    trend,
};
pub use comparison::{Comparison, LOOKS, Verdict, compare};
pub use fetch::{FetchError, Fetcher, Page};
pub use history::{Entry, History, HistoryError, MetricSeries, Point};
pub use moved_sites::{MovedSite, moved_sites};
pub use operations::{MovedOperation, OperationTimes, moved_operations};
pub use paired_records::{
    MeasuredPairs, PairedLoss, certain_growth, losses_in_pairs, metrics_in_pairs,
};
pub use process::{Failure, Run, run, run_with_output};
pub use profiles::{compare_profiles, profile_mismatches};
pub use records::{Mismatch, MovedLoss, RecordComparison, Row, compare_records, mismatches};
pub use scalability::Scalability;
pub use selection::{Reference, Selection, SelectionError, pooled};
pub use targets::{Compliance, Targets, TargetsError, share_met};
