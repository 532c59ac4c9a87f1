//! Models made in Rust, run by every engine that is there.

mod analysis;
mod engines;
mod external;
