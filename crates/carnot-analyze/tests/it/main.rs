//! The analysis as its users see it: the invariant on random traces, and worked examples.

mod invariant;
mod pipeline;
mod worked_example;
