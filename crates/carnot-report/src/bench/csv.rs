//! What a benchmark measured as CSV after RFC 4180: a row for each value, so that any statistic can be had in a spreadsheet.

use carnot_record::{BenchRecord, Better};

use crate::csv::quoted;

const HEADER: &str = "suite,metric,unit,better,index,value,limit\r\n";

/// The values of a record.
pub fn render(record: &BenchRecord) -> String {
    let rows = record.metrics.iter().flat_map(|metric| {
        let better = match metric.better {
            Better::Lower => "lower",
            Better::Higher => "higher",
        };
        let limit = metric.limit.map(|limit| limit.to_string());
        let limit = limit.unwrap_or_default();
        let head = [&record.suite, &metric.name, &metric.unit].map(|cell| quoted(cell));
        let head = head.join(",");
        let row = move |(index, value)| format!("{head},{better},{index},{value},{limit}\r\n");
        metric.values.iter().enumerate().map(row)
    });
    std::iter::once(HEADER.to_owned()).chain(rows).collect()
}
