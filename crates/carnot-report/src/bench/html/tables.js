// Metrics beside their limits, and losses beside each other.
const readable = (name) => name.replaceAll("_", " ");
function quantile(values, share) {
  if (values.length === 0) return null;
  const sorted = [...values].sort((a, b) => a - b);
  return sorted[Math.max(0, Math.ceil(share * sorted.length) - 1)];
}

function metricTable(record) {
  const head = ["", "median", "p95", "p99", "spread", "limit", "of it"];
  const rows = record.metrics.map((metric) => {
    const of = (share) => quantile(metric.values, share);
    const shown = (value) => (value === null ? NONE : written(metric.unit)(value));
    const tail = [0.95, 0.99].map((share) => (metric.quantiles.some((known) => known >= share) ? shown(of(share)) : NONE));
    const median = of(0.5);
    const spread = metric.values.length > 1 && median > 0 ? `±${percent((of(0.75) - of(0.25)) / 2 / median)}` : NONE;
    const share = median === null || metric.limit === null ? null : metric.better === "higher" ? median / metric.limit : metric.limit / median;
    const near = element("td", {}, share === null ? NONE : wholePercent(share));
    if (share !== null) {
      const bar = element("div");
      bar.style.width = `${100 * Math.min(1, share)}%`;
      near.append(element("div", { class: "gauge" }, bar));
    }
    const value = element("td", {}, shown(median));
    value.dataset.field = metric.name;
    value.dataset.value = median;
    const cells = [...tail, spread, shown(metric.limit)].map((text) => element("td", {}, text));
    return element("tr", {}, element("td", { class: "text" }, readable(metric.name)), value, ...cells, near);
  });
  const heading = element("tr", {}, ...head.map((text, index) => element("th", { class: index ? "" : "text" }, text)));
  return element("div", { class: "table" }, element("table", {}, element("thead", {}, heading), element("tbody", {}, ...rows)));
}

const lossKind = (name) => ["floor", "kernel", "wait", "engine", "probe"].find((kind) => name.startsWith(kind)) ?? "other";

// A column of bars for each record: what one has more of is longer.
function lossesSideBySide(records, names) {
  const medians = records.map((record) => new Map(record.losses.map(({ name, ns }) => [name, quantile(ns, 0.5)])));
  const all = [...new Set(records.flatMap((record) => record.losses.map(({ name }) => name)))];
  const largest = (name) => Math.max(...medians.map((of) => of.get(name) ?? 0));
  const total = Math.max(...medians.map((of) => [...of.values()].reduce((sum, ns) => sum + ns, 0)));
  const shown = all.filter((name) => largest(name) > 0.002 * total).sort((a, b) => (b === "floor") - (a === "floor") || largest(b) - largest(a));
  const most = Math.max(...shown.map(largest), 1);
  const grid = element("div", { class: "side" });
  grid.style.gridTemplateColumns = `200px repeat(${records.length}, minmax(0, 1fr))`;
  if (records.length > 1) grid.append(element("span"), ...names.map((name) => element("span", { class: "head" }, name)));
  for (const name of shown) {
    grid.append(element("span", { class: "name" }, name));
    for (const [index, of] of medians.entries()) {
      const ns = of.get(name) ?? 0, width = (70 * Math.max(0, ns)) / most;
      const wall = [...of.values()].reduce((sum, value) => sum + value, 0);
      const bar = element("div"), label = element("span", {}, `${duration(ns)} · ${percent(ratio(ns, wall))}`);
      bar.style.width = `${width}%`;
      bar.style.background = colour(lossKind(name));
      label.style.left = `${width}%`;
      const track = element("div", { class: "track" }, bar, label);
      hint.on(track, name, [["median", duration(ns)], ["of the wall", percent(ratio(ns, wall))], ["repetitions", records[index].losses[0].ns.length]]);
      grid.append(track);
    }
  }
  return grid;
}

// Functions and places of allocations: three numbers, a name, where it stands.
function placeTable(head, rows) {
  const cells = (tag, texts) => texts.map((text, index) => element(tag, { class: index > 2 ? "text" : "" }, text));
  const body = rows.slice(0, 15).map((row) => element("tr", {}, ...cells("td", row)));
  return element("div", { class: "table" }, element("table", {}, element("thead", {}, element("tr", {}, ...cells("th", head))), element("tbody", {}, ...body)));
}

function placeTables(record) {
  const tables = [];
  const functions = record.functions.map((one) => [percent(one.own), percent(one.total), "", one.function, one.file]);
  if (functions.length > 0) tables.push(placeTable(["self", "total", "", "where processor time went", ""], functions));
  const allocations = record.allocations.map((one) => [bytes(one.bytes), digits(one.allocations), bytes(one.kept_bytes), one.function, one.place]);
  if (allocations.length > 0) tables.push(placeTable(["allocated", "times", "kept", "where memory came from", ""], allocations));
  return tables;
}
