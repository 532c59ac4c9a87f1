//! Models made in Rust, run by every engine that is there.

mod engines;
mod external;
