// The loss waterfall: floor and losses end to end, from nothing to the wall time.
function drawWaterfall(accounting) {
  const { wall_ns, floor_ns, losses } = accounting;
  let end = floor_ns, widest = Math.max(1, wall_ns, floor_ns);
  for (const loss of losses) widest = Math.max(widest, (end += loss.ns));
  const scale = 100 / widest;
  const grid = element("div", { class: "fall" });
  let from = 0, kindBefore = "";
  const row = (kind, name, ns, note, fill) => {
    const bar = element("div");
    const [left, right] = ns < 0 ? [from + ns, from] : [from, from + ns];
    bar.style.left = `${left * scale}%`;
    bar.style.width = `${(right - left) * scale}%`;
    bar.style.background = colour(fill);
    from += ns;
    const track = element("div", { class: "track" }, bar);
    hint.on(track, name || kind, [["time", duration(ns)], ["share", percent(ratio(ns, wall_ns))], ["up to here", duration(from)]]);
    grid.append(
      element("div", { class: "kind" }, kind === kindBefore ? "" : kind), element("div", { title: name }, name), track,
      element("div", { class: "number", "data-loss": name ? `${kind}/${name}` : kind, "data-value": ns }, duration(ns)),
      element("div", { class: "number" }, percent(ratio(ns, wall_ns))), element("div", { class: "note", title: note }, note));
    kindBefore = kind;
  };
  row("floor", "", floor_ns, "", "floor");
  for (const loss of losses) row(loss.kind, loss.name, loss.ns, loss.note, loss.kind);
  grid.append(element("div", { class: "rule" }), element("div", { class: "sum" }, "wall"), element("div"), element("div"));
  grid.append(element("div", { class: "sum number" }, duration(wall_ns)));
  byId("waterfall").replaceChildren(grid);
}

function drawWaterfalls(analysis) {
  const phases = analysis.phases.filter((phase) => phase.counted);
  const all = [["all", analysis.total], ...phases.map((phase) => [phase.name, phase.accounting])];
  if (phases.length > 1) choice("waterfall-choice", all.map(([name]) => name), (index) => drawWaterfall(all[index][1]));
  drawWaterfall(analysis.total);
}
