//! The metrics of a server, as text: read from what Prometheus reads, asked for sums, quantiles and rates, and written again.
//!
//! ```text
//! parse      the text format 0.0.4, and OpenMetrics ──▶ Exposition: families of samples
//! buckets    a histogram's quantiles, and what was counted between two scrapes
//! write      the text format 0.0.4, OpenMetrics 1.0
//! ```

mod buckets;
mod parse;
mod write;

pub use buckets::{Buckets, Quantile};
pub use parse::ParseError;

/// What a server says of itself at one moment.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Exposition {
    /// In the order in which they came.
    pub families: Vec<Family>,
}

/// Samples of one name.
#[derive(Clone, Debug, PartialEq)]
pub struct Family {
    /// That of a counter ends in `_total`.
    pub name: String,
    /// What the values are.
    pub kind: Kind,
    /// A sentence, or nothing.
    pub help: String,
    /// With their labels.
    pub samples: Vec<Sample>,
}

/// What values are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Rises, and is 0 at the start of the server.
    Counter,
    /// Rises and falls.
    Gauge,
    /// Counts by upper bounds.
    Histogram,
    /// Quantiles that the server computed.
    Summary,
    /// Nobody says.
    Untyped,
}

/// One value.
#[derive(Clone, Debug, PartialEq)]
pub struct Sample {
    /// The family's, or with `_bucket`, `_sum` or `_count` behind it.
    pub name: String,
    /// Names and values, in the order in which they came.
    pub labels: Vec<(String, String)>,
    /// May be infinite, or no number.
    pub value: f64,
}

impl Kind {
    /// As the text format writes it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram => "histogram",
            Self::Summary => "summary",
            Self::Untyped => "untyped",
        }
    }
}

impl Sample {
    /// The value of a label; nothing where there is none of that name.
    pub fn label(&self, name: &str) -> Option<&str> {
        let found = self.labels.iter().find(|(label, _)| label == name)?;
        Some(&found.1)
    }
}

impl Exposition {
    /// The family of that name.
    pub fn family(&self, name: &str) -> Option<&Family> {
        self.families.iter().find(|family| family.name == name)
    }

    /// The sum over all labels; nothing where there is no sample.
    pub fn sum(&self, name: &str) -> Option<f64> {
        self.sum_where(name, |_| true)
    }

    /// The sum of the samples that are `wanted`; nothing where there is none.
    pub fn sum_where(&self, name: &str, wanted: impl Fn(&Sample) -> bool) -> Option<f64> {
        let samples = self.family(name)?.samples.iter();
        samples
            .filter(|sample| sample.name == name && wanted(sample))
            .map(|sample| sample.value)
            .reduce(|sum, value| sum + value)
    }

    /// The values by a label, those of equal labels summed, in the order in which they came.
    pub fn by(&self, name: &str, label: &str) -> Vec<(String, f64)> {
        let mut sums: Vec<(String, f64)> = Vec::new();
        let samples = self.family(name).map(|family| family.samples.as_slice());
        for sample in samples.unwrap_or_default() {
            let of = sample.label(label).unwrap_or_default();
            match sums.iter_mut().find(|(known, _)| known == of) {
                Some((_, sum)) => *sum += sample.value,
                None => sums.push((of.to_owned(), sample.value)),
            }
        }
        sums
    }

    /// The counts of a histogram, over all labels.
    pub fn buckets(&self, name: &str) -> Option<Buckets> {
        Buckets::of(self.family(name)?)
    }
}
