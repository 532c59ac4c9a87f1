//! Every form, from one fixed trace.

mod fixture;
mod snapshots;
