//! Runs of a history by a name that people give them, and several runs as one record.

use carnot_record::{BenchRecord, LossSamples, Utc};

use crate::records::{mismatches, samples};

/// Digits of a commit below which a name is more probably a slip than a commit.
const LEAST_DIGITS: usize = 4;
const SECONDS_OF_A_DAY: u64 = 86_400;

/// Which runs are meant: `8c1e0f2`, `2026-11-01`, `2026-11-01..2026-11-07`, `8c1e0f2..`, `last:5`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Selection {
    /// Those that one name stands for.
    Of(Reference),
    /// From the first run of one name to the last of another, both with; an end that is not named is open.
    Range(Option<Reference>, Option<Reference>),
    /// The latest so many of those that were measured alike.
    Last(usize),
}

/// A name of some runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reference {
    /// The first digits of a commit.
    Commit(String),
    /// A day in UTC: the second in which it begins.
    Day(u64),
}

/// Why a name stands for no runs.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SelectionError {
    /// It has no form that names have.
    #[error(
        "expected a commit of at least {LEAST_DIGITS} digits, a day such as 2026-11-01, a range of these such as 2026-11-01..2026-11-07, or last:N, got {found:?}"
    )]
    Form {
        /// What was named.
        found: String,
    },
    /// Several commits begin so.
    #[error("{digits} is the begin of several commits: {}; name more digits", commits.join(", "))]
    Ambiguous {
        /// What was named.
        digits: String,
        /// These.
        commits: Vec<String>,
    },
    /// No run is of that commit.
    #[error(
        "no run is of a commit that begins with {digits}; `carnot history list` shows those that are kept"
    )]
    Unknown {
        /// What was named.
        digits: String,
    },
}

impl std::str::FromStr for Selection {
    type Err = SelectionError;

    fn from_str(text: &str) -> Result<Self, SelectionError> {
        let form = || SelectionError::Form {
            found: text.to_owned(),
        };
        if let Some(count) = text.strip_prefix("last:") {
            let count = count.parse().ok().filter(|count| *count > 0);
            return count.map(Self::Last).ok_or_else(form);
        }
        let reference = |text: &str| Reference::read(text).ok_or_else(form);
        let Some((from, to)) = text.split_once("..") else {
            return Ok(Self::Of(reference(text)?));
        };
        let end = |text: &str| (!text.is_empty()).then(|| reference(text)).transpose();
        let (from, to) = (end(from)?, end(to)?);
        if from.is_none() && to.is_none() {
            return Err(form());
        }
        Ok(Self::Range(from, to))
    }
}

impl Reference {
    fn read(text: &str) -> Option<Self> {
        if let Some(begin) = Utc::begin_of_day(text) {
            return Some(Self::Day(begin));
        }
        let is_hash = text.bytes().all(|byte| byte.is_ascii_hexdigit());
        (is_hash && text.len() >= LEAST_DIGITS).then(|| Self::Commit(text.to_ascii_lowercase()))
    }

    /// The seconds in which the first and the last of these runs began.
    fn times(&self, runs: &[BenchRecord]) -> Result<(u64, u64), SelectionError> {
        let digits = match self {
            Self::Day(begin) => return Ok((*begin, begin + SECONDS_OF_A_DAY - 1)),
            Self::Commit(digits) => digits,
        };
        let found = runs
            .iter()
            .filter(|run| is_of(run, digits))
            .collect::<Vec<_>>();
        let mut commits: Vec<String> = found.iter().filter_map(|run| run.commit.clone()).collect();
        commits.sort();
        commits.dedup();
        if commits.len() > 1 {
            return Err(SelectionError::Ambiguous {
                digits: digits.clone(),
                commits,
            });
        }
        let times = || found.iter().map(|run| run.begun_unix_s);
        let ends = times().min().zip(times().max());
        ends.ok_or_else(|| SelectionError::Unknown {
            digits: digits.clone(),
        })
    }

    fn has(&self, run: &BenchRecord) -> bool {
        match self {
            Self::Day(begin) => (*begin..begin + SECONDS_OF_A_DAY).contains(&run.begun_unix_s),
            Self::Commit(digits) => is_of(run, digits),
        }
    }
}

impl Selection {
    /// The places of the runs that are meant. `runs` are in the order in which they began.
    pub fn of(&self, runs: &[BenchRecord]) -> Result<Vec<usize>, SelectionError> {
        let places = 0..runs.len();
        Ok(match self {
            Self::Of(reference) => {
                reference.times(runs)?;
                places.filter(|&at| reference.has(&runs[at])).collect()
            }
            Self::Range(from, to) => {
                let times =
                    |end: &Option<Reference>| end.as_ref().map(|end| end.times(runs)).transpose();
                let first = times(from)?.map_or(0, |(first, _)| first);
                let last = times(to)?.map_or(u64::MAX, |(_, last)| last);
                let is_within = |at: &usize| (first..=last).contains(&runs[*at].begun_unix_s);
                places.filter(is_within).collect()
            }
            Self::Last(count) => {
                let is_late = |at: &usize| {
                    let later = runs[at + 1..].iter();
                    later.filter(|run| are_alike(run, &runs[*at])).count() < *count
                };
                places.filter(is_late).collect()
            }
        })
    }
}

fn is_of(run: &BenchRecord, digits: &str) -> bool {
    let commit = run.commit.as_deref().unwrap_or_default();
    commit.to_ascii_lowercase().starts_with(digits)
}

fn are_alike(one: &BenchRecord, other: &BenchRecord) -> bool {
    mismatches(one, other).is_empty()
}

/// One record of each group of runs that were measured alike, with the values of all of them.
pub fn pooled(runs: &[&BenchRecord]) -> Vec<BenchRecord> {
    let mut pools: Vec<BenchRecord> = Vec::new();
    for run in runs {
        match pools.iter_mut().find(|pool| are_alike(pool, run)) {
            None => pools.push((*run).clone()),
            Some(pool) => add(pool, run),
        }
    }
    pools
}

/// The values of a run to those of a pool; a metric or a loss that one of them has not is that of the other alone.
fn add(pool: &mut BenchRecord, run: &BenchRecord) {
    for metric in &run.metrics {
        let known = pool.metrics.iter_mut();
        match known
            .into_iter()
            .find(|known| known.name == metric.name && known.unit == metric.unit)
        {
            Some(known) => known.values.extend(&metric.values),
            None => pool.metrics.push(metric.clone()),
        }
    }
    let mut names: Vec<&String> = pool.losses.iter().map(|loss| &loss.name).collect();
    for loss in &run.losses {
        if !names.contains(&&loss.name) {
            names.push(&loss.name);
        }
    }
    let losses = names.into_iter().map(|name| LossSamples {
        name: name.clone(),
        ns: [samples(&pool.losses, name), samples(&run.losses, name)].concat(),
    });
    pool.losses = losses.collect();
    for warning in &run.warnings {
        if !pool.warnings.contains(warning) {
            pool.warnings.push(warning.clone());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use carnot_record::{Better, Metric};

    /// A run on a day of November 2026.
    fn run(day: u64, commit: &str, threads: u32) -> BenchRecord {
        let mut record = BenchRecord {
            suite: "inference".to_owned(),
            begun_unix_s: 1_793_491_200 + (day - 1) * SECONDS_OF_A_DAY + 3_600,
            commit: Some(commit.to_owned()),
            metrics: vec![Metric::repeated(
                "decode",
                "tokens/s",
                Better::Higher,
                vec![day as f64],
            )],
            ..BenchRecord::default()
        };
        record.machine.threads = threads;
        record
    }

    fn runs() -> Vec<BenchRecord> {
        vec![
            run(1, "aaaa1111", 4),
            run(2, "bbbb1111", 4),
            run(2, "bbbb1111", 8),
            run(4, "bbbb2222", 4),
            run(7, "cccc3333", 4),
        ]
    }

    #[test]
    fn names_stand_for_runs() {
        let cases: [(&str, &[usize]); 11] = [
            ("aaaa", &[0]),
            ("BBBB1", &[1, 2]),
            ("2026-11-02", &[1, 2]),
            ("2026-11-03", &[]),
            ("2026-11-02..2026-11-04", &[1, 2, 3]),
            ("2026-11-03..", &[3, 4]),
            ("..bbbb1", &[0, 1, 2]),
            ("bbbb1..2026-11-05", &[1, 2, 3]),
            ("cccc..aaaa", &[]),
            ("last:1", &[2, 4]),
            ("last:9", &[0, 1, 2, 3, 4]),
        ];
        for (name, expected) in cases {
            let selection: Selection = name.parse().unwrap();
            assert_eq!(selection.of(&runs()).unwrap(), expected, "{name}");
        }
    }

    #[test]
    fn names_that_stand_for_none_say_why() {
        for form in [
            "",
            "..",
            "abc",
            "main",
            "last:0",
            "last:",
            "2026-02-30",
            "aaaa..xyz",
        ] {
            let told = form.parse::<Selection>().unwrap_err().to_string();
            assert!(
                told.starts_with("expected a commit") && told.contains(form),
                "{told}"
            );
        }
        let of = |name: &str| name.parse::<Selection>().unwrap().of(&runs()).unwrap_err();
        let told = of("bbbb").to_string();
        assert!(
            told.contains("bbbb1111, bbbb2222; name more digits"),
            "{told}"
        );
        let told = of("..dddd").to_string();
        assert!(told.contains("begins with dddd"), "{told}");
    }

    #[test]
    fn what_was_measured_alike_is_one_record() {
        let mut runs = runs();
        let loss = |name: &str, ns: &[f64]| LossSamples {
            name: name.to_owned(),
            ns: ns.to_vec(),
        };
        runs[0].losses = vec![loss("floor", &[1.0, 2.0])];
        runs[1].losses = vec![loss("floor", &[3.0]), loss("wait", &[9.0])];
        let pools = pooled(&[&runs[0], &runs[1], &runs[2]]);
        let values: Vec<&[f64]> = pools
            .iter()
            .map(|pool| &pool.metrics[0].values[..])
            .collect();
        assert_eq!(values, [&[1.0, 2.0][..], &[2.0]], "four threads, and eight");
        let expected = [
            loss("floor", &[1.0, 2.0, 3.0]),
            loss("wait", &[0.0, 0.0, 9.0]),
        ];
        assert_eq!(pools[0].losses, expected);
    }
}
