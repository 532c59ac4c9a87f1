//! The analysis as its users see it: the invariant on random traces, and worked examples.

mod invariant;
mod worked_example;
