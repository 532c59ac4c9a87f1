// The head of the page: the model, the tiles, what to look at.
function drawHeader(analysis) {
  const { run, ceilings } = analysis;
  const { model } = run;
  byId("model").textContent = model.name || "unnamed model";
  document.title = `carnot profile: ${model.name}`;
  const facts = [
    model.architecture, model.parameters && `${amount(model.parameters)} parameters`, model.file_type,
    model.bytes && bytes(model.bytes), run.threads && `${run.threads} thread${run.threads === 1 ? "" : "s"}`,
    run.instructions, ceilings.cpu,
    ...(run.tensors?.inputs ?? []).map((input) => `${input.name} ${input.data_type} ${input.shape.join("×")} ${input.values}`),
    ...(run.tensors?.assumed ?? []),
  ];
  byId("facts").replaceChildren(...facts.filter(Boolean).flatMap((fact, index) => [index ? " · " : "", element("bdi", {}, fact)]));
  byId("warnings").hidden = analysis.warnings.length === 0;
  byId("warnings").replaceChildren(...analysis.warnings.map((text) => element("li", {}, text)));
}

function tile(name, value, under, { field, raw, share, wide } = {}) {
  const shown = element("div", { class: "value" }, value);
  if (field) { shown.dataset.field = field; shown.dataset.value = raw; }
  const parts = [element("div", { class: "name" }, name), shown, element("div", { class: "under" }, under)];
  if (share !== undefined) {
    const bar = element("div");
    bar.style.width = `${100 * Math.min(1, Math.max(0, share))}%`;
    parts.push(element("div", { class: "gauge" }, bar));
  }
  return element("div", { class: wide ? "tile wide" : "tile" }, ...parts);
}

function phaseTile(phase) {
  const { wall_ns, floor_ns } = phase.accounting;
  const rate = ratio(phase.tokens, wall_ns) * 1e9, limit = ratio(phase.tokens, floor_ns) * 1e9;
  const share = ratio(floor_ns, wall_ns);
  const under = [`${count(phase.tokens)} tokens in ${duration(wall_ns)}`];
  if (limit > 0) under.unshift(`limit ${tokensPerSecond(limit)}`);
  return tile(phase.name, tokensPerSecond(rate), `${under.join(" · ")} · ${wholePercent(share)} of the limit`, {
    field: `${phase.name}_tokens_per_s`, raw: rate, share, wide: true,
  });
}

function drawTiles(analysis) {
  const { wall_ns, floor_ns } = analysis.total;
  const efficiency = ratio(floor_ns, wall_ns);
  const counted = analysis.phases.filter((phase) => phase.counted);
  const tiles = [
    tile("efficiency", wholePercent(efficiency), "floor over wall time", { field: "efficiency", raw: efficiency, share: efficiency }),
    tile("wall", duration(wall_ns), counted.map((phase) => phase.name).join(" + "), { field: "wall_ns", raw: wall_ns }),
    tile("floor", duration(floor_ns), `at most ${digits(ratio(wall_ns, floor_ns))}× faster`, { field: "floor_ns", raw: floor_ns }),
  ];
  const { first_token: first, inter_token: inter } = analysis.latency;
  if (first.count > 0) {
    const between = inter.count ? `then ${duration(inter.p50_ns)} a token · p95 ${duration(inter.p95_ns)} · p99 ${duration(inter.p99_ns)}` : "";
    tiles.push(tile("first token", duration(first.p50_ns), between, { field: "first_token_ns", raw: first.p50_ns }));
  }
  const runs = analysis.tensors?.runs;
  if (runs?.count) {
    tiles.push(tile("a run", duration(runs.p50_ns), `p90 ${duration(runs.p90_ns)} · p99 ${duration(runs.p99_ns)} of ${count(runs.count)}, not recorded`, { field: "run_p50_ns", raw: runs.p50_ns }));
  }
  tiles.push(...counted.filter((phase) => phase.tokens > 0).map(phaseTile));
  byId("tiles").replaceChildren(...tiles);
}

function drawBottlenecks(analysis) {
  const rows = analysis.bottlenecks.map((found) => element("div", { class: "bottleneck" },
    element("span", { class: `severity ${found.severity}` }, found.severity),
    element("b", {}, found.name),
    element("span", { class: "gain" }, `${percent(found.share)} of the wall · at most ${found.speedup_at_limit.toFixed(2)}× faster without it`),
    element("span", { class: "advice" }, found.advice)));
  if (rows.length === 0) rows.push(element("p", { class: "empty" }, "No loss is a tenth of the wall time."));
  byId("bottlenecks").replaceChildren(...rows);
}
