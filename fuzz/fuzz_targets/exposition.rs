//! A page of metrics: what is read can be written in both forms, and read again.
#![no_main]

use carnot_bench::exposition::Exposition;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let Ok(read) = Exposition::parse(text) else {
        return;
    };
    for family in &read.families {
        let buckets = read.buckets(&family.name).unwrap_or_default();
        let _ = buckets.since(&buckets).quantile(0.99);
    }
    for written in [read.prometheus(), read.open_metrics()] {
        Exposition::parse(&written).expect("what is written can be read");
    }
});
