// Tables that sort on a click. A column: title, value for sorting, text, and whether it is text.
const FIRST_ROWS = 25;

function drawTable(id, columns, rows, sorted, indented = null, first = FIRST_ROWS) {
  let by = sorted, down = true, all = false;
  const paint = () => {
    const column = columns[by];
    const order = by === null ? rows : [...rows].sort((a, b) => {
      const [left, right] = [column.value(a), column.value(b)];
      const sign = typeof left === "string" ? String(left).localeCompare(String(right)) : (left ?? -1) - (right ?? -1);
      return down ? -sign : sign;
    });
    const head = element("tr", {}, ...columns.map((one, index) => {
      const cell = element("th", { class: one.text ? "text" : "", scope: "col", tabindex: 0 }, one.title);
      if (index === by) cell.setAttribute("aria-sort", down ? "descending" : "ascending");
      const sort = () => { [by, down] = [index, index === by ? !down : !one.text]; paint(); };
      cell.addEventListener("click", sort);
      cell.addEventListener("keydown", (event) => { if (event.key === "Enter") sort(); });
      return cell;
    }));
    const shown = all ? order : order.slice(0, first);
    const body = shown.map((row) => element("tr", {}, ...columns.map((one, index) => {
      const cell = element("td", { class: one.text ? "text" : "", "data-value": one.value(row) ?? "" }, one.show(row));
      if (one.text) cell.title = one.show(row);
      if (one.bar) cell.append(shareBar(one.value(row)));
      if (index === 0 && by === null && indented) cell.style.paddingLeft = `${16 * indented(row)}px`;
      return cell;
    })));
    const table = element("table", {}, element("thead", {}, head), element("tbody", {}, ...body));
    const parts = [table];
    if (shown.length < order.length) {
      const more = element("button", { class: "more", type: "button" }, `show all ${count(order.length)}`);
      more.addEventListener("click", () => { all = true; paint(); });
      parts.push(more);
    }
    byId(id).replaceChildren(...parts);
  };
  paint();
}

function shareBar(share) {
  const bar = element("span", { class: "share" });
  bar.style.width = `${Math.max(0, Math.min(1, share)) * 60}px`;
  return element("span", { style: "display:inline-block;width:68px;text-align:left" }, bar);
}

const operationColumns = (place) => [
  { title: "operation", text: true, value: (o) => o.name, show: (o) => o.name || "(unnamed)" },
  place,
  { title: "count", value: (o) => o.times.count, show: (o) => count(o.times.count) },
  { title: "time", value: (o) => o.times.total_ns, show: (o) => duration(o.times.total_ns) },
  { title: "share", value: (o) => o.share, show: (o) => percent(o.share), bar: true },
  { title: "p50", value: (o) => o.times.p50_ns, show: (o) => duration(o.times.p50_ns) },
  { title: "p99", value: (o) => o.times.p99_ns, show: (o) => duration(o.times.p99_ns) },
  { title: "memory", value: (o) => ratio(o.bytes, o.times.total_ns), show: (o) => bytesPerSecond(ratio(o.bytes, o.times.total_ns) * 1e9) },
  { title: "arithmetic", value: (o) => ratio(o.flops, o.times.total_ns), show: (o) => operationsPerSecond(ratio(o.flops, o.times.total_ns) * 1e9) },
  { title: "floor", value: (o) => o.floor_ns, show: (o) => duration(o.floor_ns) },
  { title: "of limit", value: (o) => o.efficiency, show: (o) => wholePercent(o.efficiency) },
  { title: "bound", text: true, value: (o) => o.bound, show: (o) => o.bound },
];

// Of a tensor model: nodes one by one, by operator, by module. What was not timed has no time.
const nodeColumns = (first) => [
  ...first,
  { title: "time", value: (o) => o.total_ns, show: (o) => (o.count ? duration(o.total_ns) : NONE) },
  { title: "share", value: (o) => o.share, show: (o) => percent(o.share), bar: true },
  { title: "floor", value: (o) => o.floor_ns, show: (o) => (o.is_counted === false ? "unknown" : duration(o.floor_ns)) },
  { title: "of limit", value: (o) => ratio(o.floor_ns, o.total_ns), show: (o) => (o.count ? wholePercent(ratio(o.floor_ns, o.total_ns)) : NONE) },
  { title: "arithmetic", value: (o) => o.flops, show: (o) => (o.count ? operationsPerSecond(ratio(o.flops, o.total_ns) * 1e9) : NONE) },
  { title: "memory", value: (o) => o.bytes, show: (o) => (o.count ? bytesPerSecond(ratio(o.bytes, o.total_ns) * 1e9) : NONE) },
];

function drawNodes(tensors) {
  const text = (title, value) => ({ title, text: true, value, show: (o) => value(o) || NONE });
  const name = text("name", (o) => o.name), nodes = { title: "nodes", value: (o) => o.nodes, show: (o) => count(o.nodes) };
  const each = [name, text("operator", (o) => o.operator), text("shapes", (o) => `${o.inputs} → ${o.outputs}`)];
  const tables = [[each, tensors.nodes], [[name, nodes], tensors.operators], [[name, nodes], tensors.modules]];
  const draw = (index) => {
    const [first, rows] = tables[index];
    drawTable("operations", nodeColumns(first), rows, first.length + (rows.some((row) => row.count) ? 0 : 2));
  };
  choice("operations-choice", ["nodes", "by operator", "by module"], draw);
  draw(0);
}

function drawOperations(analysis) {
  if (analysis.tensors) {
    drawNodes(analysis.tensors);
    return;
  }
  const phase = { title: "phase", text: true, value: (o) => o.phase ?? "", show: (o) => o.phase ?? "" };
  const layer = { title: "layer", value: (o) => o.layer, show: (o) => (o.layer === null ? NONE : String(o.layer)) };
  const tables = [[analysis.operations_by_phase, phase], [analysis.operations_by_layer, layer]];
  const draw = (index) => drawTable("operations", operationColumns(tables[index][1]), tables[index][0], 3);
  choice("operations-choice", ["by phase", "by layer"], draw);
  draw(0);
}

function drawCalls(analysis) {
  const time = (title, of) => ({ title, value: of, show: (node) => duration(of(node)) });
  const columns = [
    { title: "call", text: true, value: (n) => n.name, show: (n) => n.name || "(unnamed)" },
    { title: "count", value: (n) => n.times.count, show: (n) => count(n.times.count) },
    time("total", (n) => n.times.total_ns), time("itself", (n) => n.self_ns),
    { title: "of parent", value: (n) => n.share_of_parent, show: (n) => percent(n.share_of_parent) },
    { title: "of thread", value: (n) => n.share_of_whole, show: (n) => percent(n.share_of_whole) },
    time("min", (n) => n.times.min_ns), time("mean", (n) => n.times.mean_ns), time("p50", (n) => n.times.p50_ns),
    time("p90", (n) => n.times.p90_ns), time("p95", (n) => n.times.p95_ns), time("p99", (n) => n.times.p99_ns), time("max", (n) => n.times.max_ns),
  ];
  drawTable("calls", columns, analysis.call_tree.nodes, null, (node) => node.depth);
}
