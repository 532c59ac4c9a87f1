// The sections of a pipeline's report. Each hides its section where there is nothing to tell.
const PARTS = ["stage", "kernel", "engine", "floor", "probe", "prefill", "decode", "wait", "other"];
const readable = (name) => name;
const hideSection = (id) => { byId(id).closest("section").hidden = true; };
const whole = (title, of, show = (v) => v) => ({ title, value: of, show: (row) => show(of(row)) });
const words = (title, of) => ({ title, text: true, value: of, show: (row) => of(row) ?? "" });
const timed = (title, of) => whole(title, of, duration);

function drawHead({ session, wall_ns, items, items_per_s, warnings, lost, events }, ranks) {
  byId("title").textContent = session.id || "session";
  document.title = `${session.id} · carnot pipeline profile`;
  const facts = [new Date(session.started_unix_ns / 1e6).toISOString().slice(0, 19) + "Z", session.host, session.rank && `rank ${session.rank.rank} of ${session.rank.world_size}`];
  facts.push(...Object.entries(session.tags).map(([key, value]) => `${key}=${value}`));
  byId("facts").textContent = facts.filter(Boolean).join(" · ");
  const doubts = [...warnings, ...(ranks?.warnings ?? []), ...lost.map((one) => `${count(one.events)} events of ${one.name} were lost: ${one.section} is too low`)];
  byId("warnings").hidden = doubts.length === 0;
  byId("warnings").replaceChildren(...doubts.map((line) => element("li", {}, line)));
  const tile = (name, value, under) => element("div", { class: "tile" }, element("div", { class: "name" }, name), element("div", { class: "value" }, value), element("div", { class: "under" }, under));
  const outcome = session.outcome === "completed" ? "completed" : session.outcome ? `failed: ${session.outcome.failed}` : "did not end in order";
  const tiles = [tile("wall", duration(wall_ns), outcome), tile("events", count(events), "recorded")];
  if (items > 0) tiles.splice(1, 0, tile("made", count(items), session.unit), tile("throughput", `${digits(items_per_s)}/s`, `${session.unit} a second`));
  byId("tiles").replaceChildren(...tiles);
}

function drawFindings({ findings }, ranks) {
  const all = [...(ranks?.findings ?? []), ...findings];
  if (all.length === 0) { byId("findings").replaceChildren(element("p", { class: "empty" }, "Nothing stands out.")); return; }
  byId("findings").replaceChildren(...all.slice(0, 20).map((one) => element("div", { class: "bottleneck" },
    element("span", { class: `severity ${one.priority}` }, one.priority), element("b", {}, one.issue), element("span", { class: "gain" }, one.category),
    element("span", { class: "advice" }, one.suggestion))));
}

function drawLosses({ losses }) {
  if (losses.length === 0) { hideSection("losses"); return; }
  drawTable("losses", [words("loss", (l) => l.name), timed("time", (l) => l.ns), { ...whole("share", (l) => l.share, percent), bar: true }], losses, null);
}

function partsBar(parts) {
  const bar = element("div", { class: "parts" });
  parts.forEach(({ name, ns, share }, index) => {
    const box = element("div");
    box.style.flexGrow = Math.max(share, 0);
    box.style.background = colour(PARTS[index % PARTS.length]);
    hint.on(box, name, [["time", duration(ns)], ["share", percent(share)]]);
    bar.append(box);
  });
  const named = parts.map(({ name, ns, share }, index) => [`${name} ${duration(ns)}, ${percent(share)}`, colour(PARTS[index % PARTS.length])]);
  return [bar, legend(named)];
}

function drawStages({ overall, components }) {
  byId("overall").replaceChildren(...partsBar(overall));
  byId("components").replaceChildren(...components.flatMap((one) => {
    const title = element("p", { class: "lead" }, `within ${one.stage} (${duration(one.ns)})`);
    return [title, ...partsBar([...one.parts, one.pure])];
  }));
}

// What the timeline shows, as it was recorded: the spans in view whose name is looked for, by their begin.
const MOST_EVENTS = 2000, LIST_AFTER_MS = 120;

function listEvents(view) {
  const list = () => {
    const { data, from, to, wanted } = view;
    const found = [];
    for (let i = 0; i < data.start_ns.length; i++) {
      const isInView = data.start_ns[i] <= to && data.start_ns[i] + data.duration_ns[i] >= from;
      if (isInView && (data.sites[data.site[i]]?.name ?? "").toLowerCase().includes(wanted)) found.push(i);
    }
    found.sort((a, b) => data.start_ns[a] - data.start_ns[b] || data.duration_ns[b] - data.duration_ns[a]);
    const more = found.length > MOST_EVENTS ? `; the first ${count(MOST_EVENTS)} are listed` : "";
    const hidden = data.hidden > 0 ? ` ${count(data.hidden)} shorter ones are not in this page.` : "";
    byId("events-lead").textContent = `${count(found.length)} in view${wanted ? ` with “${wanted}” in their name` : ""}${more}.${hidden}`;
    const columns = [
      timed("begin", (i) => data.start_ns[i]), timed("length", (i) => data.duration_ns[i]), words("name", (i) => data.sites[data.site[i]]?.name), words("kind", (i) => data.sites[data.site[i]]?.kind),
      { title: "number", value: (i) => data.layer[i], show: (i) => (data.layer[i] === null ? "" : count(data.layer[i])) }, words("thread", (i) => data.lanes[data.lane[i]]),
    ];
    drawTable("events", columns, found.slice(0, MOST_EVENTS), null, null, MOST_EVENTS);
  };
  let timer = null;
  view.shown = () => { clearTimeout(timer); timer = setTimeout(list, LIST_AFTER_MS); };
  list();
}

function drawIterations({ iterations }) {
  const plots = iterations.filter((of) => of.rows.length > 1).map((of) => {
    const lines = [{ name: of.name, points: of.rows.map((row, index) => [index, row.ns]), kind: "dots" }];
    const note = `${count(of.time.count)} ${of.kind}s, ${duration(of.time.mean_ns)} in the mean, p99 ${duration(of.time.p99_ns)}${of.left_out > 0 ? `; ${count(of.left_out)} in the middle are left out` : ""}`;
    return plot(of.name, note, { label: of.kind, unit: "" }, { label: "time", unit: "ns", from: 0 }, lines);
  });
  if (plots.length === 0) { hideSection("iterations"); return; }
  byId("iterations").replaceChildren(...plots);
}

function drawStreaming({ streaming, session }) {
  if (streaming.length === 0) { hideSection("streaming"); return; }
  byId("streaming").replaceChildren(...streaming.flatMap((of) => {
    const facts = [
      ["delivered", `${count(of.frames)} ${session.unit} in ${count(of.deliveries)}`], ["given up", `${count(of.dropped)} (${percent(of.drop_share)})`], ["first frame", duration(of.first_frame_ns)],
      ["mean rate", `${digits(of.mean_fps)}/s`], ["rate at the end", `${digits(of.current_fps)}/s`], ["jitter p99 − p50", duration(of.jitter_ns)], ["encoding p50", duration(of.encode.p50_ns)], ["sending p50", duration(of.send.p50_ns)],
      ["buffer", of.occupancy ? `${of.occupancy.min} to ${of.occupancy.max}` : NONE],
      ["real time", of.playback ? `${digits(of.playback.real_time_factor)} ×, still ${duration(of.playback.stall_ns)}` : NONE],
    ];
    const box = element("div", { class: "table", id: `stream-${of.stream}` });
    const lines = [{ name: "frames a second", points: of.rate.points.map((point) => [point.time_ns, point.last]), kind: "line" }];
    const list = element("table", {}, element("tbody", {}, ...facts.map(([name, value]) => element("tr", {}, element("td", { class: "text" }, name), element("td", { class: "text" }, value)))));
    box.append(list);
    const figure = of.rate.points.length > 1 ? plot(of.stream, "over the last two seconds", { label: "time", unit: "ns" }, { label: "frames a second", unit: "", from: 0 }, lines) : element("div");
    return [element("div", { class: "plots" }, box, figure)];
  }));
}

function drawLayerTimes({ layers }) {
  if (layers.length === 0) { hideSection("layers"); return; }
  const columns = [
    words("layer", (l) => l.name), whole("calls", (l) => l.time.count, count), timed("time", (l) => l.time.total_ns), { ...whole("share", (l) => l.share, percent), bar: true },
    timed("p50", (l) => l.time.p50_ns), timed("p99", (l) => l.time.p99_ns), whole("arithmetic", (l) => l.flops_per_s, operationsPerSecond),
    whole("of limit", (l) => ratio(l.floor_ns, l.time.total_ns), (v) => (v > 0 ? wholePercent(v) : NONE)),
    { title: "of like", value: (l) => l.over_like, show: (l) => (l.over_like === null ? NONE : `${digits(l.over_like)}${l.is_slow ? " slow" : ""}`) },
  ];
  drawTable("layers", columns, layers, 2);
}

const curveOf = (name, curve) => ({ name, points: curve.points.map((point) => [point.time_ns, point.last]), kind: "steps" });

function drawMemoryOwners({ memory }) {
  if (memory.owners.length === 0) { hideSection("memory"); return; }
  const columns = [
    words("owner", (o) => o.owner), whole("peak", (o) => o.peak_bytes, bytes), whole("at the end", (o) => o.live_bytes, bytes), whole("taken", (o) => o.allocations, count), whole("given back", (o) => o.releases, count),
    whole("mean size", (o) => o.mean_bytes, bytes), whole("under 1 MiB", (o) => o.small_share, wholePercent), whole("lifetime p50", (o) => (o.lifetime.count > 0 ? o.lifetime.p50_ns : null), duration),
  ];
  drawTable("memory", columns, memory.owners, 1);
  const curves = memory.owners.filter((owner) => owner.live.points.length > 1).slice(0, 6);
  const time = { label: "time", unit: "ns" }, size = { label: "held", unit: "bytes", from: 0 };
  const plots = curves.length > 0 ? [plot("Held over time", `peak ${bytes(memory.peak_bytes)}`, time, size, curves.map((owner) => curveOf(owner.owner, owner.live)))] : [];
  const classes = memory.owners.slice(0, 4).filter((owner) => owner.size_classes.length > 1);
  if (classes.length > 0) {
    const lines = classes.map((owner) => ({ name: owner.owner, points: owner.size_classes.map(([size, times]) => [Math.log2(size), times]), kind: "dots" }));
    plots.push(plot("Sizes", "how many of each power of two", { label: "power of two of bytes", unit: "" }, { label: "allocations", unit: "", from: 0 }, lines));
  }
  byId("memory-plots").replaceChildren(...plots);
}

function drawPlaces({ places }) {
  if (places.places.length === 0) { hideSection("places"); return; }
  const how = places.mean_bytes > 0 ? `estimated from ${count(places.samples)} allocations, one for every ${bytes(places.mean_bytes)} that was asked for` : "as they were told";
  byId("places-lead").textContent = `${bytes(places.allocated_bytes)} in all, ${bytes(places.peak_bytes)} at the peak after ${duration(places.peak_time_ns)}; ${how}.`;
  const share = { ...whole("of the peak", (p) => ratio(p.at_peak_bytes, places.peak_bytes), percent), bar: true };
  const columns = [
    words("function", (p) => p.function), whole("at the peak", (p) => p.at_peak_bytes, bytes), share, whole("at the end", (p) => p.live_bytes, bytes),
    whole("allocated", (p) => p.allocated_bytes, bytes), whole("allocations", (p) => p.allocations, (v) => count(Math.round(v))), words("place", (p) => p.place),
  ];
  drawTable("places", columns, places.places, null);
}

function drawCacheTable({ caches }) {
  if (caches.length === 0) { hideSection("caches"); return; }
  const columns = [
    words("cache", (c) => c.cache), whole("look-ups", (c) => c.requests, count), whole("hits", (c) => c.hit_rate, percent), whole("misses", (c) => c.miss_rate, percent), whole("evictions", (c) => c.evictions, count),
    whole("entries at most", (c) => c.peak_entries, count), whole("bytes at most", (c) => c.peak_resident_bytes, bytes), { title: "entries advised", value: (c) => c.advised?.[0], show: (c) => (c.advised ? count(c.advised[0]) : NONE) },
  ];
  drawTable("caches", columns, caches, 1);
  byId("cache-plots").replaceChildren(...caches.filter((cache) => cache.miss_ratio_curve.length > 1).map((cache) =>
    plot(cache.cache, "misses of a cache of so many entries, the last used", { label: "entries", unit: "", from: 0 }, { label: "misses", unit: "share", from: 0, to: 1 }, [{ name: "misses", points: cache.miss_ratio_curve, kind: "line" }])));
}

function drawCounters({ counters }) {
  if (counters.length === 0) { hideSection("counters"); return; }
  const columns = [words("counter", (c) => c.name), whole("samples", (c) => c.samples, count), ...["min", "mean", "max", "last"].map((name) => whole(name, (c) => c[name], amount)), whole("energy, Wh", (c) => c.watt_hours, (v) => (v === null ? NONE : v.toFixed(3)))];
  drawTable("counters", columns, counters, null);
  const plots = counters.filter((counter) => counter.curve.points.length > 2 && counter.max > counter.min).slice(0, 12);
  byId("counter-plots").replaceChildren(...plots.map((counter) => {
    const unit = counter.name.endsWith("_bytes") ? "bytes" : "";
    return plot(counter.name, "", { label: "time", unit: "ns" }, { label: counter.name.split("/").pop(), unit, from: 0 }, [curveOf(counter.name, counter.curve)]);
  }));
}

function drawRanks(ranks) {
  if (!ranks) { byId("ranks-section").hidden = true; return; }
  const columns = [
    whole("rank", (r) => r.rank), words("host", (r) => r.host), timed("wall", (r) => r.wall_ns), timed("work", (r) => r.work_ns), timed("waits", (r) => r.wait_ns), whole("of median", (r) => r.over_median, digits),
    timed("clock ahead", (r) => r.clock_ahead_ns), words("end", (r) => r.outcome),
  ];
  drawTable("ranks", columns, ranks.ranks, null);
  const stages = [words("stage", (s) => s.name), timed("min", (s) => s.min_ns), timed("mean", (s) => s.mean_ns), timed("max", (s) => s.max_ns), timed("sum", (s) => s.sum_ns), whole("slowest rank", (s) => s.slowest)];
  drawTable("rank-stages", stages, ranks.stages, 4);
}

function drawSpans({ stages, session }) {
  if (stages.length === 0) { hideSection("spans"); return; }
  const columns = [
    words("name", (s) => s.name), words("kind", (s) => s.kind), whole("count", (s) => s.time.count, count), timed("total", (s) => s.time.total_ns), timed("itself", (s) => s.self_ns), { ...whole("of wall", (s) => s.self_share, percent), bar: true },
    timed("min", (s) => s.time.min_ns), timed("p50", (s) => s.time.p50_ns), timed("p95", (s) => s.time.p95_ns), timed("p99", (s) => s.time.p99_ns), timed("max", (s) => s.time.max_ns),
    whole(`${session.unit}/s`, (s) => s.items_per_s, (v) => (v > 0 ? digits(v) : NONE)),
  ];
  drawTable("spans", columns, stages, 4);
}

function drawTree({ tree, other_threads }) {
  const rows = [];
  const walk = (nodes, depth) => nodes.forEach((node) => { rows.push({ ...node, depth }); walk(node.children, depth + 1); });
  walk(tree, 0);
  for (const [name, nodes] of other_threads) { rows.push({ name, kind: "thread", count: null, depth: 0 }); walk(nodes, 1); }
  if (rows.length === 0) { hideSection("tree"); return; }
  const columns = [words("span", (n) => n.name), words("kind", (n) => n.kind), whole("count", (n) => n.count, (v) => (v === null ? "" : count(v))), timed("total", (n) => n.total_ns ?? null), timed("itself", (n) => n.self_ns ?? null), whole("of parent", (n) => n.share_of_parent ?? null, (v) => (v === null ? "" : percent(v)))];
  drawTable("tree", columns, rows, null, (row) => row.depth);
}

function drawNotes({ notes }) {
  if (notes.length === 0) { hideSection("notes"); return; }
  drawTable("notes", [timed("time", (n) => n.time), words("note", (n) => n.name), words("data", (n) => JSON.stringify(n.data))], notes, null);
}
