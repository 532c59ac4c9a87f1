// A column for each layer: floor, kernel, wait.
function drawLayers(analysis) {
  // Of a tensor model, modules stand for layers: they do not wait, and have names.
  const modules = analysis.tensors?.modules.filter((one) => one.count).map((one) => (
    { ...one, layer: one.name || "(no module)", busy_ns: one.total_ns, efficiency: ratio(one.floor_ns, one.total_ns), largest_loss: "" }));
  const layers = modules ?? analysis.layers;
  const label = (layer) => (modules ? layer : `layer ${layer}`);
  if (layers.length === 0) {
    byId("layers").replaceChildren(element("p", { class: "empty" }, "No operation belongs to a layer."));
    return;
  }
  const width = 540, height = 240, left = 64, bottom = 24;
  const svg = shape("svg", { viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": "Time by layer" });
  const most = Math.max(...layers.map((layer) => layer.total_ns)) * 1.05;
  const y = (ns) => height - bottom - (ns / most) * (height - bottom - 8);
  for (const at of ticks(0, most, 5)) {
    svg.append(shape("line", { class: "grid", x1: left, x2: width, y1: y(at), y2: y(at) }));
    svg.append(shape("text", { x: left - 8, y: y(at) + 4, "text-anchor": "end" }, duration(Math.round(at))));
  }
  const step = (width - left) / layers.length, wide = Math.min(46, step * 0.72);
  const labelled = Math.ceil(layers.length / 16);
  layers.forEach((layer, index) => {
    const x = left + step * (index + 0.5) - wide / 2;
    const parts = [["floor", 0, Math.min(layer.floor_ns, layer.busy_ns)], ["kernel", layer.floor_ns, layer.busy_ns], ["wait", layer.busy_ns, layer.total_ns]];
    for (const [name, from, to] of parts) {
      if (to <= from) continue;
      const rect = shape("rect", { x, y: y(to), width: wide, height: Math.max(0.5, y(from) - y(to)), fill: colour(name) });
      hint.on(rect, label(layer.layer), [
        ["time", duration(layer.total_ns)], ["floor", duration(layer.floor_ns)], ["kernel", duration(layer.busy_ns - layer.floor_ns)],
        ["wait", duration(layer.total_ns - layer.busy_ns)], ["of the limit", wholePercent(layer.efficiency)], ["largest loss", layer.largest_loss],
      ]);
      svg.append(rect);
    }
    if (!modules && index % labelled === 0) svg.append(shape("text", { x: x + wide / 2, y: height - 6, "text-anchor": "middle" }, layer.layer));
  });
  svg.append(shape("line", { class: "axis", x1: left, x2: width, y1: height - bottom, y2: height - bottom }));
  byId("layers").replaceChildren(svg, legend(["floor", "kernel", "wait"].map((name) => [name, colour(name)])));
}
