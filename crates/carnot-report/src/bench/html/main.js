// A section for each record; where several have losses of one suite, these stand side by side.
const parted = (axis) => { const [label, unit = ""] = axis.split(", "); return { label, unit, from: 0 }; };
// All that is told over the time of a load is drawn over the same time, so that one plot can be held under another.
function timed(x, { series }) {
  if (!x.startsWith("since ")) return parted(x);
  const ends = series.filter((line) => line.x === x).flatMap(({ points }) => points.slice(-1).map(([at]) => at));
  return { ...parted(x), to: Math.max(0.001, ...ends) };
}

function drawSuite(record) {
  const section = element("section", { class: "suite" }, element("h2", {}, record.suite));
  const conditions = Object.entries(record.conditions).map(([name, value]) => `${name} ${value}`).join(" · ");
  const taken = `${conditions} · took ${duration(1e9 * record.took_s)}`;
  section.append(element("p", { class: "lead" }, taken));
  if (record.void !== null) section.append(element("p", { class: "void" }, `Void: ${record.void}`));
  section.append(metricTable(record));
  const plots = element("div", { class: "plots" });
  const latencies = record.metrics.filter(({ unit, quantiles, values }) => unit === "s" && quantiles.length > 1 && values.length > 1);
  if (latencies.length > 0) plots.append(distribution(latencies.slice(0, FILLS.length)));
  const drawn = new Map();
  for (const line of record.series) drawn.set(line.plot, [...(drawn.get(line.plot) ?? []), line]);
  for (const [title, lines] of drawn) {
    const isOf = (...beginnings) => beginnings.some((beginning) => title.startsWith(beginning));
    const usual = isOf("Requests under way") ? "steps" : isOf("Server: ", "Tokens received") || lines.length > 1 || lines[0].points.length < 60 ? "line" : "dots";
    const kind = (name) => (name.startsWith("fit") || name.startsWith("limit") ? "line" : usual);
    plots.append(plot(title, "", timed(lines[0].x, record), parted(lines[0].y), lines.map(({ name, points }) => ({ name, points, kind: kind(name) }))));
  }
  for (const metric of record.metrics.filter(({ values }) => values.length >= 8).slice(0, 4)) plots.append(overTime(metric));
  if (plots.children.length > 0) section.append(element("h2", {}, ""), plots);
  section.append(...placeTables(record));
  return section;
}

function drawLosses(records) {
  const with_losses = records.filter(({ losses }) => losses.length > 0);
  if (with_losses.length === 0) return [];
  const names = with_losses.map(({ suite, commit, begun_unix_s: at }) => `${suite} · ${commit?.slice(0, 10) ?? new Date(1000 * at).toISOString()}`);
  return [element("section", {}, element("h2", {}, "Where the time went"),
    element("p", { class: "lead" }, "From the least time that this machine needs for the work, up to the wall time; the median of the repetitions."),
    lossesSideBySide(with_losses, names))];
}

document.addEventListener("DOMContentLoaded", () => {
  const records = JSON.parse(byId("carnot-data").textContent);
  const [first] = records;
  byId("subject").textContent = first?.model?.name ?? first?.url ?? "nothing was measured";
  document.title = `carnot bench: ${byId("subject").textContent}`;
  const facts = first && [
    first.model && `${amount(first.model.parameters)} parameters`, first.model?.file_type, first.machine.threads && `${first.machine.threads} threads`,
    first.machine.cpu, new Date(1000 * first.begun_unix_s).toISOString().replace(".000", ""), `carnot ${first.carnot}`, first.commit?.slice(0, 10),
  ];
  byId("facts").textContent = (facts ?? []).filter(Boolean).join(" · ");
  const warnings = records.flatMap((record) => record.warnings);
  byId("warnings").hidden = warnings.length === 0;
  byId("warnings").replaceChildren(...warnings.map((text) => element("li", {}, text)));
  byId("suites").replaceChildren(...records.map(drawSuite), ...drawLosses(records));
  document.documentElement.dataset.drawn = "true";
});
