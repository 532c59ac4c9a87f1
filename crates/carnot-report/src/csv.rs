//! Operations as CSV after RFC 4180, one row for each operation and layer, with units in the column names.

use carnot_analyze::{Analysis, OperationGroup};

const HEADER: &str = "operation,layer,count,total_ns,busy_ns,mean_ns,p50_ns,p95_ns,p99_ns,max_ns,flops,bytes,\
flops_per_s,bytes_per_s,floor_ns,efficiency,bound,share\r\n";

/// The operations of an analysis.
pub fn render(analysis: &Analysis) -> String {
    let rows = analysis.operations_by_layer.iter().map(row);
    std::iter::once(HEADER.to_owned()).chain(rows).collect()
}

fn row(operation: &OperationGroup) -> String {
    let times = &operation.times;
    let layer = operation
        .layer
        .map(|layer| layer.to_string())
        .unwrap_or_default();
    let cells = [
        quoted(&operation.name),
        layer,
        times.count.to_string(),
        times.total_ns.to_string(),
        operation.busy_ns.to_string(),
        format!("{:.1}", times.mean_ns),
        times.p50_ns.to_string(),
        times.p95_ns.to_string(),
        times.p99_ns.to_string(),
        times.max_ns.to_string(),
        operation.flops.to_string(),
        operation.bytes.to_string(),
        format!("{:.0}", operation.flops_per_s()),
        format!("{:.0}", operation.bytes_per_s()),
        operation.floor_ns.to_string(),
        format!("{:.4}", operation.efficiency),
        operation.bound.name().to_owned(),
        format!("{:.4}", operation.share),
    ];
    cells.join(",") + "\r\n"
}

/// A field in quotes. A name that a spreadsheet would take for a formula is kept from it by an apostrophe.
pub(crate) fn quoted(text: &str) -> String {
    let guard = if text.starts_with(['=', '+', '-', '@', '\t', '\r']) {
        "'"
    } else {
        ""
    };
    format!("\"{guard}{}\"", text.replace('"', "\"\""))
}

#[cfg(test)]
mod tests {
    use super::quoted;

    #[test]
    fn names_cannot_break_out_of_their_field() {
        assert_eq!(quoted("a,\"b\"\n"), "\"a,\"\"b\"\"\n\"");
        assert_eq!(quoted("=HYPERLINK(1)"), "\"'=HYPERLINK(1)\"");
    }
}
