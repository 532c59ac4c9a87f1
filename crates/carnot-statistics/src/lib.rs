//! What measured values say, and how certainly: pure functions of numbers, without a dependency, so that anyone may link them.
//!
//! They assume nothing of how noise is distributed, since that of computers is skewed and has tails. Whoever has records or runs to compare asks `carnot-bench`,
//! which makes verdicts of these.
//!
//! ```text
//! quantiles        values that a share of others does not exceed
//! median_interval  where the median of what was sampled lies
//! signed_rank      by how much one of a pair is larger
//! mann_whitney     the same of two samples that are not paired
//! tails            the same of their quantiles
//! differences      quantiles of the differences of every two, for these
//! distributions    normal, Student's and binomial
//! false_discovery  many tests at once
//! batches          values that do not depend on each other
//! change_points    where a series of measurements changed its level
//! reuse            how large a cache has to be
//! reuse_sketch     the same of a sample, while the cache runs
//! trend            whether values rise, with an interval that a step or a spike does not move
//! dice             numbers that look like chance and are the same in every run
//! ```
//!
//! ```
//! use carnot_statistics::{mann_whitney, median, shift_between};
//!
//! let (before, after) = ([10.0, 11.0, 12.0, 13.0, 14.0], [20.0, 21.0, 22.0, 23.0, 24.0]);
//! assert_eq!(median(&after), Some(22.0));
//! // Of the 252 orders of ten values, two are as uneven as this.
//! assert!((mann_whitney(&before, &after).unwrap().p - 2.0 / 252.0).abs() < 1e-12);
//! let shift = shift_between(&before, &after, 0.05).unwrap();
//! assert!(shift.estimate == 10.0 && shift.low > 0.0);
//! ```

mod batches;
mod change_points;
pub mod dice;
mod differences;
mod distributions;
mod false_discovery;
mod mann_whitney;
mod median_interval;
mod quantiles;
mod reuse;
mod reuse_sketch;
mod signed_rank;
mod tails;
mod trend;

pub use batches::batch_medians;
pub use change_points::{ChangePoint, Settings, change_points};
pub use dice::Dice;
pub use false_discovery::adjusted;
pub use mann_whitney::{MannWhitney, mann_whitney, shift_between};
pub use median_interval::{Interval, median_interval};
pub use quantiles::{median, quantile};
pub use reuse::Reuse;
pub use reuse_sketch::ReuseSketch;
pub use signed_rank::{Shift, shift, signed_rank};
pub use tails::{TailShift, tail_shift};
pub use trend::{Trend, trend};
