//! From a trace to insight: pure functions
