//! Spans, counters and events with a cost of nanoseconds, for any pipeline
