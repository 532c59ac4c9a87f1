//! Spans as columns in JSON.
//!
//! A span as an object repeats thirteen names; a decode of a thousand tokens has a hundred thousand spans. Columns cost
//! a fifth of that, and a data-frame library reads them as they are. A column that would hold only its default is left out.

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};

use crate::{Arithmetic, Span};

#[derive(Default, Serialize, Deserialize)]
#[serde(default)]
struct Columns {
    site: Vec<u32>,
    thread: Vec<u32>,
    parent: Vec<Option<u32>>,
    start_ns: Vec<u64>,
    duration_ns: Vec<u64>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    layer: Vec<Option<u32>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    sequence: Vec<Option<u64>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    request: Vec<Option<u64>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    tokens: Vec<u64>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    flops: Vec<u64>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    bytes: Vec<u64>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    working_set_bytes: Vec<u64>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    arithmetic: Vec<Arithmetic>,
}

pub(crate) fn serialize<S: Serializer>(spans: &[Span], serializer: S) -> Result<S::Ok, S::Error> {
    let columns = Columns {
        site: spans.iter().map(|s| s.site).collect(),
        thread: spans.iter().map(|s| s.thread).collect(),
        parent: spans.iter().map(|s| s.parent).collect(),
        start_ns: spans.iter().map(|s| s.start_ns).collect(),
        duration_ns: spans.iter().map(Span::duration_ns).collect(),
        layer: sparse(spans, |s| s.layer),
        sequence: sparse(spans, |s| s.sequence),
        request: sparse(spans, |s| s.request),
        tokens: sparse(spans, |s| s.tokens),
        flops: sparse(spans, |s| s.flops),
        bytes: sparse(spans, |s| s.bytes),
        working_set_bytes: sparse(spans, |s| s.working_set_bytes),
        arithmetic: sparse(spans, |s| s.arithmetic),
    };
    columns.serialize(serializer)
}

fn sparse<T: Default + PartialEq>(spans: &[Span], field: impl Fn(&Span) -> T) -> Vec<T> {
    if spans.iter().all(|span| field(span) == T::default()) {
        return Vec::new();
    }
    spans.iter().map(field).collect()
}

pub(crate) fn deserialize<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Vec<Span>, D::Error> {
    let columns = Columns::deserialize(deserializer)?;
    let count = columns.site.len();
    columns.check_lengths(count).map_err(D::Error::custom)?;
    (0..count)
        .map(|row| columns.span(row).map_err(D::Error::custom))
        .collect()
}

impl Columns {
    fn check_lengths(&self, count: usize) -> Result<(), String> {
        let required = [
            ("thread", self.thread.len()),
            ("parent", self.parent.len()),
            ("start_ns", self.start_ns.len()),
            ("duration_ns", self.duration_ns.len()),
        ];
        let optional = [
            ("layer", self.layer.len()),
            ("sequence", self.sequence.len()),
            ("request", self.request.len()),
            ("tokens", self.tokens.len()),
            ("flops", self.flops.len()),
            ("bytes", self.bytes.len()),
            ("working_set_bytes", self.working_set_bytes.len()),
            ("arithmetic", self.arithmetic.len()),
        ];
        let wrong = required
            .into_iter()
            .chain(optional.into_iter().filter(|(_, length)| *length != 0))
            .find(|(_, length)| *length != count);
        match wrong {
            None => Ok(()),
            Some((name, length)) => Err(format!(
                "spans.{name}: expected {count} rows as in spans.site, found {length}"
            )),
        }
    }

    fn span(&self, row: usize) -> Result<Span, String> {
        let start_ns = self.start_ns[row];
        let end_ns = start_ns.checked_add(self.duration_ns[row]).ok_or_else(|| {
            format!("spans.duration_ns[{row}]: expected an end below 2^64 ns, found an overflow")
        })?;
        Ok(Span {
            site: self.site[row],
            thread: self.thread[row],
            parent: self.parent[row],
            start_ns,
            end_ns,
            layer: cell(&self.layer, row),
            sequence: cell(&self.sequence, row),
            request: cell(&self.request, row),
            tokens: cell(&self.tokens, row),
            flops: cell(&self.flops, row),
            bytes: cell(&self.bytes, row),
            working_set_bytes: cell(&self.working_set_bytes, row),
            arithmetic: cell(&self.arithmetic, row),
        })
    }
}

fn cell<T: Copy + Default>(column: &[T], row: usize) -> T {
    column.get(row).copied().unwrap_or_default()
}
