// The timeline: a lane for each thread, spans by depth. Spans narrower than a pixel are drawn as one.
const ROW = 17, LANE_GAP = 12, AXIS = 24, LABEL = 84;
// A page that is served has more: what is asked for here is drawn in place of what came with the page.
const ASK_AFTER_MS = 150;

function timelineRows(data) {
  const rows = new Map();
  for (let i = 0; i < data.start_ns.length; i++) {
    const key = data.lane[i] * 4096 + Math.min(data.depth[i], 4095);
    if (!rows.has(key)) rows.set(key, []);
    rows.get(key).push(i);
  }
  const keys = [...rows.keys()].sort((a, b) => a - b);
  let top = AXIS + 6, lane = -1;
  const placed = [], labels = [];
  for (const key of keys) {
    const mine = Math.floor(key / 4096);
    if (mine !== lane) {
      if (lane >= 0) top += LANE_GAP;
      labels.push([data.lanes[mine], top]);
      lane = mine;
    }
    placed.push({ top, spans: rows.get(key) });
    top += ROW;
  }
  return { placed, labels, height: top + 8 };
}

function drawTimeline(data, analysis) {
  const hidden = data.hidden > 0 ? ` ${count(data.hidden)} spans of at most ${duration(data.hidden_below_ns)} are left out.` : "";
  byId("timeline-lead").textContent = `Drag to move, Ctrl and wheel to zoom, double-click a span to fill the view with it.${hidden}`;
  if (data.start_ns.length === 0) {
    byId("timeline").replaceChildren(element("p", { class: "empty" }, "No spans were recorded."));
    return null;
  }
  const layout = timelineRows(data);
  const canvas = element("canvas", { tabindex: 0, "aria-label": "Timeline" });
  canvas.style.height = `${layout.height}px`;
  const kinds = (analysis.phases ? ["operation", "wait", "engine", "step", "phase"] : ["stage", "block", "step", "layer", "wait"]).map((kind) => [kind, KIND_FILLS[kind]]);
  byId("timeline").replaceChildren(canvas, legend(kinds.map(([name, fill]) => [name, colour(fill)])));
  const view = { from: 0, to: data.end_ns, data, layout, canvas, wanted: "" };
  const redraw = () => { paintTimeline(view); view.shown?.(); askForMore(view, data); };
  const zoom = (factor, at = (view.from + view.to) / 2) => {
    const span = Math.min(data.end_ns, Math.max(50, (view.to - view.from) * factor));
    const from = at - ((at - view.from) / (view.to - view.from)) * span;
    view.from = Math.max(0, Math.min(from, data.end_ns - span));
    view.to = view.from + span;
    redraw();
  };
  timelineButtons(view, analysis, zoom, redraw);
  timelinePointer(view, zoom, redraw);
  new ResizeObserver(redraw).observe(canvas);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", redraw);
  redraw();
  return { view, redraw };
}

// Once the view has stood still for a moment, whoever serves the page is asked for the spans that can be seen in it.
function askForMore(view, first) {
  if (!view.source || first.hidden === 0 || view.asked === `${view.from} ${view.to}`) return;
  view.asked = `${view.from} ${view.to}`;
  clearTimeout(view.timer);
  view.timer = setTimeout(async () => {
    const { from, to } = view;
    const answer = await fetch(`${view.source}?from=${Math.floor(from)}&to=${Math.ceil(to)}`);
    if (!answer.ok || from !== view.from || to !== view.to) return;
    const data = await answer.json();
    if (data.start_ns.length === 0) return;
    [view.data, view.layout] = [{ ...data, end_ns: first.end_ns }, timelineRows(data)];
    view.canvas.style.height = `${view.layout.height}px`;
    paintTimeline(view);
    view.shown?.();
  }, ASK_AFTER_MS);
}

function timelineButtons(view, analysis, zoom, redraw) {
  const { data } = view;
  const show = (from, to) => { view.from = from; view.to = Math.max(to, from + 50); redraw(); };
  const buttons = [["all", () => show(0, data.end_ns)]];
  for (const phase of analysis.phases ?? []) {
    const index = data.site.findIndex((site) => data.sites[site]?.kind === "phase" && data.sites[site].name === phase.name);
    if (index >= 0) buttons.push([phase.name, () => show(data.start_ns[index], data.start_ns[index] + data.duration_ns[index])]);
  }
  buttons.push(["+", () => zoom(0.5)], ["−", () => zoom(2)]);
  byId("timeline-choice").replaceChildren(...buttons.map(([name, act]) => {
    const button = element("button", { type: "button" }, name);
    button.addEventListener("click", act);
    return button;
  }));
}

function timelinePointer(view, zoom, redraw) {
  const { canvas } = view, first = view.data;
  const timeAt = (event) => view.from + ((event.offsetX - LABEL) / (canvas.clientWidth - LABEL)) * (view.to - view.from);
  let drag = null;
  canvas.addEventListener("pointerdown", (event) => { drag = { x: event.offsetX, from: view.from }; canvas.setPointerCapture(event.pointerId); });
  canvas.addEventListener("pointerup", () => { drag = null; });
  canvas.addEventListener("pointerleave", hint.hide);
  canvas.addEventListener("pointermove", (event) => {
    if (drag) {
      const span = view.to - view.from;
      const moved = ((drag.x - event.offsetX) / (canvas.clientWidth - LABEL)) * span;
      view.from = Math.max(0, Math.min(drag.from + moved, first.end_ns - span));
      view.to = view.from + span;
      hint.hide();
      redraw();
      return;
    }
    const found = spanAt(view, timeAt(event), event.offsetY), { data } = view;
    if (found === null) { hint.hide(); return; }
    const site = data.sites[data.site[found]];
    const rows = [["time", duration(data.duration_ns[found])], ["from", duration(data.start_ns[found])], ["kind", site?.kind ?? ""]];
    if (data.layer[found] !== null) rows.push([numberName(site?.kind), data.layer[found]]);
    hint.show(event, site?.name ?? "(unnamed)", rows);
  });
  canvas.addEventListener("wheel", (event) => {
    if (!event.ctrlKey && !event.metaKey) return;
    event.preventDefault();
    zoom(event.deltaY > 0 ? 1.25 : 0.8, timeAt(event));
  }, { passive: false });
  canvas.addEventListener("dblclick", (event) => {
    const found = spanAt(view, timeAt(event), event.offsetY), { data } = view;
    if (found === null) return;
    const margin = data.duration_ns[found] * 0.04 + 20;
    view.from = Math.max(0, data.start_ns[found] - margin);
    view.to = Math.min(data.end_ns, data.start_ns[found] + data.duration_ns[found] + margin);
    redraw();
  });
  canvas.addEventListener("keydown", (event) => {
    const move = { ArrowLeft: -0.2, ArrowRight: 0.2 }[event.key];
    if (event.key === "+") zoom(0.7); else if (event.key === "-") zoom(1.4);
    else if (move !== undefined) {
      const span = view.to - view.from;
      view.from = Math.max(0, Math.min(view.from + move * span, first.end_ns - span));
      view.to = view.from + span;
      redraw();
    }
  });
}

// The first span of a row that ends after a moment: spans of one row do not overlap.
function firstAfter(data, spans, time) {
  let low = 0, high = spans.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (data.start_ns[spans[middle]] + data.duration_ns[spans[middle]] < time) low = middle + 1; else high = middle;
  }
  return low;
}

function spanAt({ data, layout }, time, y) {
  const row = layout.placed.find((one) => y >= one.top && y < one.top + ROW);
  const found = row?.spans[firstAfter(data, row.spans, time)];
  return found !== undefined && data.start_ns[found] <= time ? found : null;
}

function paintTimeline(view) {
  const { canvas, data, layout, from, to } = view;
  const width = canvas.clientWidth, scale = window.devicePixelRatio || 1;
  canvas.width = width * scale;
  canvas.height = layout.height * scale;
  const ink = canvas.getContext("2d");
  ink.scale(scale, scale);
  const style = getComputedStyle(document.documentElement);
  const fill = (name) => style.getPropertyValue(`--${name}`).trim();
  const fills = Object.fromEntries(Object.entries(KIND_FILLS).map(([kind, name]) => [kind, fill(name)]));
  ink.font = `11.5px ${style.fontFamily || "sans-serif"}`;
  const x = (time) => LABEL + ((time - from) / (to - from)) * (width - LABEL);
  timelineAxis(ink, view, x, fill);
  ink.save();
  ink.beginPath();
  ink.rect(LABEL, 0, width - LABEL, layout.height);
  ink.clip();
  for (const { top, spans } of layout.placed) {
    let painted = -1;
    for (let n = firstAfter(data, spans, from); n < spans.length && data.start_ns[spans[n]] <= to; n++) {
      const index = spans[n], site = data.sites[data.site[index]];
      const left = Math.max(x(data.start_ns[index]), LABEL - 2);
      const right = Math.min(x(data.start_ns[index] + data.duration_ns[index]), width + 2);
      if (right - painted < 0.5) continue;
      const isWanted = view.wanted === "" || (site?.name ?? "").toLowerCase().includes(view.wanted);
      ink.globalAlpha = isWanted ? 1 : 0.15;
      ink.fillStyle = fills[site?.kind] ?? fills.other;
      ink.fillRect(left, top, Math.max(0.6, right - left - (right - left > 3 ? 0.8 : 0)), ROW - 2);
      painted = right;
      const text = right - left > 24 ? fitted(site?.name ?? "", right - left - 5, 6.9) : "";
      if (text) { ink.fillStyle = fill("text-on-bar"); ink.fillText(text, left + 3, top + ROW - 6); }
    }
  }
  ink.globalAlpha = 1;
  ink.restore();
}

const KIND_FILLS = {
  operation: "kernel", wait: "wait", engine: "engine", phase: "phase", step: "step", layer: "kernel", stage: "stage", prompt: "phase", chunk: "phase", block: "floor", other: "other",
};
const numberName = (kind) => (["prompt", "chunk", "block", "step"].includes(kind) ? "number" : "layer");

// A moment, with as many decimals as tell it from its neighbours.
function moment(at, step) {
  const [scale, unit] = [[1, "ns"], [1e3, "µs"], [1e6, "ms"], [1e9, "s"]].filter(([n], i) => i === 0 || at >= n).pop();
  const decimals = Math.max(0, -Math.floor(Math.log10((step || at || 1) / scale) + 1e-9));
  return `${(at / scale).toFixed(Math.min(6, decimals))} ${unit}`;
}

function timelineAxis(ink, { from, to, layout }, x, fill) {
  ink.fillStyle = fill("soft");
  for (const [name, top] of layout.labels) ink.fillText(fitted(name, LABEL - 14, 7), 10, top + ROW - 6);
  const marks = ticks(from, to, 9);
  for (const at of marks) {
    ink.fillStyle = fill("line");
    ink.fillRect(x(at), 0, 1, layout.height);
    ink.fillStyle = fill("soft");
    ink.fillText(moment(at, marks[1] - marks[0]), x(at) + 5, 16);
  }
}
