// The call tree as an icicle: a box for each path, its children below it.
const FLAME_ROW = 22;

function drawFlame(analysis) {
  const nodes = analysis.call_tree.nodes;
  const children = nodes.map(() => []);
  const roots = [];
  nodes.forEach((node, index) => (node.parent === null ? roots : children[node.parent]).push(index));
  const deepest = Math.max(0, ...nodes.map((node) => node.depth));
  const svg = shape("svg", { role: "img", "aria-label": "Call tree" });
  const zoom = (index) => paintFlame(svg, { nodes, children, roots, deepest, zoomed: index, zoom });
  new ResizeObserver(() => zoom(svg.zoomed ?? null)).observe(byId("flame"));
  byId("flame").replaceChildren(svg);
  zoom(null);
}

function paintFlame(svg, { nodes, children, roots, deepest, zoomed, zoom }) {
  const width = byId("flame").clientWidth || 1120;
  svg.zoomed = zoomed;
  svg.setAttribute("viewBox", `0 0 ${width} ${(deepest + 1) * FLAME_ROW}`);
  svg.setAttribute("height", (deepest + 1) * FLAME_ROW);
  svg.replaceChildren();
  const box = (index, left, wide) => {
    if (wide < 0.4) return;
    const node = nodes[index], top = node.depth * FLAME_ROW;
    const rect = shape("rect", { x: left, y: top, width: Math.max(0.3, wide - 0.8), height: FLAME_ROW - 1, rx: 2, fill: flameColour(node.kind) });
    hint.on(rect, node.name || "(unnamed)", [
      ["total", duration(node.times.total_ns)], ["itself", duration(node.self_ns)], ["of its thread", percent(node.share_of_whole)],
      ["of its parent", percent(node.share_of_parent)], ["count", count(node.times.count)],
      ["p50 · p99", `${duration(node.times.p50_ns)} · ${duration(node.times.p99_ns)}`],
    ]);
    rect.addEventListener("click", () => { hint.hide(); zoom(index === svg.zoomed ? null : index); });
    svg.append(rect);
    const text = fitted(node.name, wide - 8, 7);
    if (text) svg.append(shape("text", { x: left + 5, y: top + 15, style: "fill: var(--text-on-bar); pointer-events: none" }, text));
  };
  const below = (index, left, wide) => {
    box(index, left, wide);
    let at = left;
    for (const child of children[index]) {
      const part = wide * ratio(nodes[child].times.total_ns, nodes[index].times.total_ns);
      if (part >= 0.4) below(child, at, part);
      at += part;
    }
  };
  if (zoomed !== null) {
    for (let above = nodes[zoomed].parent; above !== null; above = nodes[above].parent) box(above, 0, width);
    below(zoomed, 0, width);
    return;
  }
  const whole = roots.reduce((sum, root) => sum + nodes[root].times.total_ns, 0);
  let at = 0;
  for (const root of roots) {
    const part = width * ratio(nodes[root].times.total_ns, whole);
    below(root, at, part);
    at += part;
  }
}

const flameColour = (kind) => colour({ operation: "kernel", wait: "wait", engine: "engine", phase: "phase", step: "step", layer: "step", stage: "stage" }[kind] ?? (kind === null ? "thread" : "other"));
