//! Records over time, in one `SQLite` file: the whole of each, and the quantiles of its metrics to be looked up by.
//!
//! Only what was measured alike makes a series: the same suite, model, processor, threads and conditions.

use std::path::{Path, PathBuf};

use carnot_record::{BenchRecord, Better, Metric, Record};
use rusqlite::{Connection, OptionalExtension, params};

use carnot_statistics::quantile;

/// Says that a file of `SQLite` is a history: `Crnt`.
const APPLICATION: i32 = 0x4372_6e74;
/// Of the tables.
const VERSION: i32 = 1;

const TABLES: &str = "
CREATE TABLE runs (
    id INTEGER PRIMARY KEY,
    begun_unix_s INTEGER NOT NULL,
    suite TEXT NOT NULL,
    model TEXT NOT NULL,
    cpu TEXT NOT NULL,
    threads INTEGER NOT NULL,
    conditions TEXT NOT NULL,
    carnot TEXT NOT NULL,
    commit_id TEXT,
    record TEXT NOT NULL
);
CREATE INDEX runs_by_time ON runs (begun_unix_s);
CREATE TABLE metrics (
    run INTEGER NOT NULL REFERENCES runs (id),
    place INTEGER NOT NULL,
    name TEXT NOT NULL,
    unit TEXT NOT NULL,
    higher_is_better INTEGER NOT NULL,
    quantile REAL NOT NULL,
    value REAL NOT NULL,
    PRIMARY KEY (run, name, quantile)
) WITHOUT ROWID;
CREATE INDEX metrics_by_name ON metrics (name);
";

/// A file of records.
pub struct History {
    connection: Connection,
    path: PathBuf,
}

/// Why a history cannot be read or written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HistoryError {
    /// The file is no database, or cannot be opened or written.
    #[error("the history {}: {source}", path.display())]
    Database {
        /// The file.
        path: PathBuf,
        /// What `SQLite` said.
        source: rusqlite::Error,
    },
    /// The file is a database of somebody else's.
    #[error("{} is a database of another program, expected a history of carnot; name another file with --file", path.display())]
    Foreign {
        /// The file.
        path: PathBuf,
    },
    /// The file was written by a newer Carnot.
    #[error("the history {} has version {found}, the newest that this carnot reads is {VERSION}; a newer carnot reads it", path.display())]
    NewerVersion {
        /// The file.
        path: PathBuf,
        /// Its version.
        found: i32,
    },
    /// What is kept of a run cannot be read.
    #[error("run {run} of the history {}: {source}", path.display())]
    Record {
        /// The file.
        path: PathBuf,
        /// The run's `id`.
        run: i64,
        /// What is wrong.
        source: carnot_record::Error,
    },
    /// A record that says nothing of what was to be measured.
    #[error("the record is void: {why}; measure again")]
    Void {
        /// What it says itself.
        why: String,
    },
}

/// A run that was added.
#[derive(Clone, Debug, PartialEq)]
pub struct Entry {
    /// When it began, in seconds since 1970.
    pub begun_unix_s: u64,
    /// What was measured.
    pub suite: String,
    /// The model's name and type; empty where none ran.
    pub model: String,
    /// The commit of the working directory, if it had one.
    pub commit: Option<String>,
    /// The metric that is listed, or the first.
    pub metric: String,
    /// Its unit.
    pub unit: String,
    /// Its median.
    pub value: f64,
}

/// A metric over time, of what was measured alike.
#[derive(Clone, Debug, PartialEq)]
pub struct MetricSeries {
    /// What all runs have in common: suite, model, processor, threads and conditions.
    pub alike: [String; 5],
    /// Of the values.
    pub unit: String,
    /// Which direction is good.
    pub better: Better,
    /// The runs, in the order in which they began.
    pub points: Vec<Point>,
}

/// One run of a series.
#[derive(Clone, Debug, PartialEq)]
pub struct Point {
    /// When it began, in seconds since 1970.
    pub begun_unix_s: u64,
    /// The commit of the working directory, if it had one.
    pub commit: Option<String>,
    /// The quantile that was asked for.
    pub value: f64,
}

impl History {
    /// Opens the history at `path`; makes it if there is no file.
    pub fn open(path: &Path) -> Result<Self, HistoryError> {
        let failed = |source| HistoryError::Database {
            path: path.to_owned(),
            source,
        };
        let connection = Connection::open(path).map_err(failed)?;
        let number = |name: &str| {
            connection
                .pragma_query_value(None, name, |row| row.get::<_, i32>(0))
                .map_err(failed)
        };
        let (application, version) = (number("application_id")?, number("user_version")?);
        let tables: i64 = connection
            .query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))
            .map_err(failed)?;
        if application == APPLICATION && version > VERSION {
            return Err(HistoryError::NewerVersion {
                path: path.to_owned(),
                found: version,
            });
        }
        if application != APPLICATION && tables > 0 {
            return Err(HistoryError::Foreign {
                path: path.to_owned(),
            });
        }
        if application != APPLICATION {
            let begin = format!(
                "BEGIN;{TABLES}PRAGMA application_id = {APPLICATION};PRAGMA user_version = {VERSION};COMMIT;"
            );
            connection.execute_batch(&begin).map_err(failed)?;
        }
        Ok(Self {
            connection,
            path: path.to_owned(),
        })
    }

    /// Adds a record, whole or not at all; false if it is there already.
    pub fn add(&mut self, record: &BenchRecord) -> Result<bool, HistoryError> {
        if let Some(why) = &record.void {
            return Err(HistoryError::Void { why: why.clone() });
        }
        let path = self.path.clone();
        self.insert(record)
            .map_err(|source| HistoryError::Database { path, source })
    }

    fn insert(&mut self, record: &BenchRecord) -> rusqlite::Result<bool> {
        let text = record.to_json();
        let transaction = self.connection.transaction()?;
        let known = "SELECT id FROM runs WHERE begun_unix_s = ?1 AND record = ?2";
        let begun = record.begun_unix_s as i64;
        let found: Option<i64> = transaction
            .query_row(known, params![begun, text], |row| row.get(0))
            .optional()?;
        if found.is_some() {
            return Ok(false);
        }
        let model = record.model.as_ref();
        let model = model.map_or_else(String::new, |model| {
            format!("{} {}", model.name, model.file_type)
        });
        let conditions: Vec<String> = record
            .conditions
            .iter()
            .map(|(name, value)| format!("{name}={value}"))
            .collect();
        transaction.execute(
            "INSERT INTO runs (begun_unix_s, suite, model, cpu, threads, conditions, carnot, commit_id, record)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)",
            params![begun, record.suite, model, record.machine.cpu, record.machine.threads, conditions.join(" "), record.carnot, record.commit, text],
        )?;
        let run = transaction.last_insert_rowid();
        for (place, metric) in record.metrics.iter().enumerate() {
            for (share, value) in quantiles(metric) {
                transaction.execute(
                    "INSERT OR IGNORE INTO metrics (run, place, name, unit, higher_is_better, quantile, value) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
                    params![run, place as i64, metric.name, metric.unit, metric.better == Better::Higher, share, value],
                )?;
            }
        }
        transaction.commit()?;
        Ok(true)
    }

    /// The runs, the latest last: of one suite, with one metric, if these are given.
    pub fn list(
        &self,
        suite: Option<&str>,
        metric: Option<&str>,
    ) -> Result<Vec<Entry>, HistoryError> {
        let read = || -> rusqlite::Result<Vec<Entry>> {
            let mut statement = self.connection.prepare(
                "SELECT begun_unix_s, suite, model, commit_id, name, unit, value FROM runs JOIN metrics ON run = id
                 WHERE quantile = 0.5 AND (?1 IS NULL OR suite = ?1)
                   AND (name = ?2 OR (?2 IS NULL AND place = (SELECT min(place) FROM metrics WHERE run = id)))
                 ORDER BY begun_unix_s, id",
            )?;
            let entries = statement.query_map(params![suite, metric], |row| {
                Ok(Entry {
                    begun_unix_s: row.get::<_, i64>(0)? as u64,
                    suite: row.get(1)?,
                    model: row.get(2)?,
                    commit: row.get(3)?,
                    metric: row.get(4)?,
                    unit: row.get(5)?,
                    value: row.get(6)?,
                })
            })?;
            entries.collect()
        };
        read().map_err(|source| self.failed(source))
    }

    /// The quantile `share` of a metric over time: a series for each group of runs that were measured alike.
    pub fn series(
        &self,
        metric: &str,
        suite: Option<&str>,
        share: f64,
    ) -> Result<Vec<MetricSeries>, HistoryError> {
        let read = || -> rusqlite::Result<Vec<MetricSeries>> {
            let mut statement = self.connection.prepare(
                "SELECT suite, model, cpu, threads, conditions, unit, higher_is_better, begun_unix_s, commit_id, value
                 FROM runs JOIN metrics ON run = id WHERE name = ?1 AND quantile = ?2 AND (?3 IS NULL OR suite = ?3)
                 ORDER BY suite, model, cpu, threads, conditions, unit, begun_unix_s, id",
            )?;
            let mut rows = statement.query(params![metric, share, suite])?;
            let mut found: Vec<MetricSeries> = Vec::new();
            while let Some(row) = rows.next()? {
                let threads: i64 = row.get(3)?;
                let alike = [
                    row.get(0)?,
                    row.get(1)?,
                    row.get(2)?,
                    threads.to_string(),
                    row.get(4)?,
                ];
                let unit: String = row.get(5)?;
                let point = Point {
                    begun_unix_s: row.get::<_, i64>(7)? as u64,
                    commit: row.get(8)?,
                    value: row.get(9)?,
                };
                match found
                    .last_mut()
                    .filter(|last| last.alike == alike && last.unit == unit)
                {
                    Some(last) => last.points.push(point),
                    None => found.push(MetricSeries {
                        alike,
                        unit,
                        better: if row.get(6)? {
                            Better::Higher
                        } else {
                            Better::Lower
                        },
                        points: vec![point],
                    }),
                }
            }
            Ok(found)
        };
        read().map_err(|source| self.failed(source))
    }

    /// The whole records, the latest last: of one suite, if it is given.
    pub fn records(&self, suite: Option<&str>) -> Result<Vec<BenchRecord>, HistoryError> {
        let read = || -> rusqlite::Result<Vec<(i64, String)>> {
            let mut statement = self.connection.prepare(
                "SELECT id, record FROM runs WHERE ?1 IS NULL OR suite = ?1 ORDER BY begun_unix_s, id",
            )?;
            let texts =
                statement.query_map(params![suite], |row| Ok((row.get(0)?, row.get(1)?)))?;
            texts.collect()
        };
        let texts = read().map_err(|source| self.failed(source))?;
        let record = |(run, text): (i64, String)| {
            BenchRecord::from_json(&text).map_err(|source| HistoryError::Record {
                path: self.path.clone(),
                run,
                source,
            })
        };
        texts.into_iter().map(record).collect()
    }

    /// The names of all metrics, for who asks for one that there is not.
    pub fn metrics(&self) -> Result<Vec<String>, HistoryError> {
        let read = || -> rusqlite::Result<Vec<String>> {
            let mut statement = self
                .connection
                .prepare("SELECT DISTINCT name FROM metrics ORDER BY name")?;
            statement.query_map([], |row| row.get(0))?.collect()
        };
        read().map_err(|source| self.failed(source))
    }

    fn failed(&self, source: rusqlite::Error) -> HistoryError {
        HistoryError::Database {
            path: self.path.clone(),
            source,
        }
    }
}

/// The median, and the quantiles that the record says matter.
fn quantiles(metric: &Metric) -> Vec<(f64, f64)> {
    let others = metric
        .quantiles
        .iter()
        .copied()
        .filter(|share| *share != 0.5);
    let shares = std::iter::once(0.5).chain(others);
    shares
        .filter_map(|share| Some((share, quantile(&metric.values, share)?)))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(at: u64, decode: f64, threads: u32) -> BenchRecord {
        let mut record = BenchRecord {
            suite: "inference".to_owned(),
            begun_unix_s: at,
            commit: Some(format!("c{at}")),
            metrics: vec![
                Metric::latencies("request", vec![1.0, 2.0, 9.0]),
                Metric::repeated("decode", "tokens/s", Better::Higher, vec![decode]),
            ],
            ..BenchRecord::default()
        };
        record.machine.threads = threads;
        record
    }

    fn open() -> (tempfile::TempDir, History) {
        let folder = tempfile::tempdir().unwrap();
        let history = History::open(&folder.path().join("history.db")).unwrap();
        (folder, history)
    }

    #[test]
    fn what_was_added_is_there_when_it_is_opened_again() {
        let (folder, mut history) = open();
        assert!(history.add(&record(2, 31.0, 4)).unwrap());
        assert!(history.add(&record(1, 30.0, 4)).unwrap());
        assert!(
            !history.add(&record(1, 30.0, 4)).unwrap(),
            "it is there already"
        );
        assert!(history.add(&record(3, 15.0, 2)).unwrap());
        drop(history);
        let history = History::open(&folder.path().join("history.db")).unwrap();
        let found = history.series("decode", None, 0.5).unwrap();
        let values: Vec<Vec<f64>> = found
            .iter()
            .map(|series| series.points.iter().map(|point| point.value).collect())
            .collect();
        assert_eq!(
            values,
            [vec![15.0], vec![30.0, 31.0]],
            "two threads, and four in the order of time"
        );
        assert_eq!(
            (found[0].better, found[1].points[0].commit.as_deref()),
            (Better::Higher, Some("c1"))
        );
        assert_eq!(
            history.series("request", Some("inference"), 0.99).unwrap()[0].points[0].value,
            9.0
        );
        assert_eq!(history.series("request", Some("cache"), 0.99).unwrap(), []);
        assert_eq!(history.metrics().unwrap(), ["decode", "request"]);
        let kept = history.records(Some("inference")).unwrap();
        assert_eq!(
            kept,
            [record(1, 30.0, 4), record(2, 31.0, 4), record(3, 15.0, 2)]
        );
        assert_eq!(history.records(Some("cache")).unwrap(), []);
    }

    #[test]
    fn a_list_has_the_first_metric_or_the_one_that_is_asked_for() {
        let (_folder, mut history) = open();
        history.add(&record(1, 30.0, 4)).unwrap();
        let listed = |suite, metric| -> Vec<(String, f64)> {
            let entries = history.list(suite, metric).unwrap();
            entries
                .into_iter()
                .map(|entry| (entry.metric, entry.value))
                .collect()
        };
        assert_eq!(listed(None, None), [("request".to_owned(), 2.0)]);
        assert_eq!(
            listed(Some("inference"), Some("decode")),
            [("decode".to_owned(), 30.0)]
        );
        assert_eq!(listed(Some("cache"), None), []);
    }

    #[test]
    fn what_is_no_history_is_refused() {
        let (folder, mut history) = open();
        let void = BenchRecord {
            void: Some("the client was late".to_owned()),
            ..record(1, 1.0, 1)
        };
        assert_eq!(
            history.add(&void).unwrap_err().to_string(),
            "the record is void: the client was late; measure again"
        );
        history
            .connection
            .pragma_update(None, "user_version", 9)
            .unwrap();
        drop(history);
        let told = |name: &str| History::open(&folder.path().join(name)).err().unwrap();
        assert!(matches!(
            told("history.db"),
            HistoryError::NewerVersion { found: 9, .. }
        ));
        std::fs::write(
            folder.path().join("text"),
            "not a database, but longer than its header would be".repeat(9),
        )
        .unwrap();
        assert!(
            told("text").to_string().contains("file is not a database"),
            "{}",
            told("text")
        );
        let other = Connection::open(folder.path().join("other")).unwrap();
        other.execute_batch("CREATE TABLE mine (x)").unwrap();
        assert!(matches!(told("other"), HistoryError::Foreign { .. }));
    }
}
