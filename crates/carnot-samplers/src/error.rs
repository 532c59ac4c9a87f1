//! What can be wrong with what is asked for.

/// Why there is nothing to watch.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Readings without time between them would take a whole processor.
    #[error("interval of {what}: expected more than 0, got 0")]
    NoInterval {
        /// Such as `host`.
        what: &'static str,
    },
    /// The driver knows no device of this number.
    #[error(
        "graphics processor {index}: expected one of {there:?}, which are all that the driver names"
    )]
    NoSuchGpu {
        /// That was asked for.
        index: u32,
        /// That there are; none where there is no driver.
        there: Vec<u32>,
    },
}
