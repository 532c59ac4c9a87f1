// The roofline plot (Williams, Waterman and Patterson, 2009): operations a second over operations a byte, both logarithmic.
const PHASES = ["prefill", "decode"];
const phaseColour = (name) => colour(PHASES.includes(name) ? name : "engine");

function roofs(analysis, points) {
  const { ceilings } = analysis;
  const slopes = [], levels = [];
  if (ceilings.read_bandwidth_bytes_per_s > 0) slopes.push(["memory", ceilings.read_bandwidth_bytes_per_s, true]);
  const main = points.find((point) => point.floor.memory_ns > 0);
  if (main) {
    const rate = (main.bytes / main.floor.memory_ns) * 1e9;
    const differs = Math.abs(rate / ceilings.read_bandwidth_bytes_per_s - 1) > 0.05;
    if (differs) slopes.push([`working set of ${bytes(main.working_set_bytes)}`, rate, false]);
  }
  const used = new Set(points.map((point) => point.arithmetic));
  const peaks = [["int8", ceilings.peak_int8_ops_per_s], ["f32", ceilings.peak_f32_flops], ["bf16", ceilings.peak_bf16_flops]];
  for (const [name, rate] of peaks) if (rate > 0 && used.has(name)) levels.push([name, rate]);
  return { slopes, levels };
}

function drawRoofline(analysis) {
  const all = analysis.operations_by_phase;
  const points = all.filter((o) => o.flops > 0 && o.bytes > 0 && o.times.total_ns > 0).map((o) => ({
    ...o, x: o.flops / o.bytes, y: (o.flops / o.times.total_ns) * 1e9,
  }));
  if (points.length === 0) {
    byId("roofline").replaceChildren(element("p", { class: "empty" }, "No operation has both arithmetic and bytes."));
    return;
  }
  const { slopes, levels } = roofs(analysis, points);
  const width = 1120, height = 440, edge = { left: 74, right: 24, top: 16, bottom: 44 };
  const top = Math.max(...levels.map((level) => level[1]), ...points.map((point) => point.y)) * 2;
  const bottom = Math.min(...points.map((point) => point.y)) / 2.5;
  const low = Math.min(...points.map((point) => point.x)) / 3, high = Math.max(...points.map((point) => point.x)) * 6;
  const place = (value, from, to, start, end) => start + ((Math.log(value) - Math.log(from)) / (Math.log(to) - Math.log(from))) * (end - start);
  const x = (value) => place(value, low, high, edge.left, width - edge.right);
  const y = (value) => place(value, bottom, top, height - edge.bottom, edge.top);
  const svg = shape("svg", { viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": "Roofline plot" });
  rooflineAxes(svg, { low, high, bottom, top, x, y, width, height, edge });
  const peak = Math.max(...levels.map((level) => level[1]), 0) || top;
  for (const [name, rate, faint] of slopes) rooflineSlope(svg, name, rate, faint, { low, peak, bottom, x, y });
  for (const [name, rate] of levels) rooflineLevel(svg, name, rate, slopes, { high, x, y, width, edge });
  rooflinePoints(svg, points, x, y);
  const phases = [...new Set(points.map((point) => point.phase))];
  const left = all.length - points.length;
  const parts = [svg, legend(phases.map((name) => [name, phaseColour(name)]))];
  if (left > 0) parts.push(element("p", { class: "lead" }, `${left} operations without counted arithmetic or bytes are not shown.`));
  byId("roofline").replaceChildren(...parts);
}

function rooflineAxes(svg, { low, high, bottom, top, x, y, width, height, edge }) {
  for (let power = Math.ceil(Math.log10(low)); 10 ** power <= high; power++) {
    const at = x(10 ** power);
    svg.append(shape("line", { class: "grid", x1: at, x2: at, y1: edge.top, y2: height - edge.bottom }));
    const label = power < 0 ? (10 ** power).toFixed(-power) : count(10 ** power);
    svg.append(shape("text", { x: at, y: height - edge.bottom + 18, "text-anchor": "middle" }, label));
  }
  for (let power = Math.ceil(Math.log10(bottom)); 10 ** power <= top; power++) {
    const at = y(10 ** power);
    svg.append(shape("line", { class: "grid", x1: edge.left, x2: width - edge.right, y1: at, y2: at }));
    const label = operationsPerSecond(10 ** power).replace(/\.0+ /, " ");
    svg.append(shape("text", { x: edge.left - 10, y: at + 4, "text-anchor": "end" }, label));
  }
  svg.append(shape("line", { class: "axis", x1: edge.left, x2: width - edge.right, y1: height - edge.bottom, y2: height - edge.bottom }));
  svg.append(shape("text", { x: (edge.left + width - edge.right) / 2, y: height - 6, "text-anchor": "middle" }, "operations a byte"));
}

function rooflineSlope(svg, name, rate, faint, { low, peak, bottom, x, y }) {
  const from = Math.max(low, bottom / rate), ridge = peak / rate;
  const dash = faint ? { "stroke-dasharray": "5 5" } : {};
  svg.append(shape("line", { x1: x(from), y1: y(from * rate), x2: x(ridge), y2: y(peak), stroke: colour("floor"), "stroke-width": 1.6, ...dash }));
  const at = Math.exp(0.74 * Math.log(from) + 0.26 * Math.log(ridge));
  const angle = (Math.atan2(y(ridge * rate) - y(from * rate), x(ridge) - x(from)) * 180) / Math.PI;
  svg.append(shape("text", { "text-anchor": "middle", transform: `translate(${x(at)} ${y(at * rate) + (faint ? 16 : -7)}) rotate(${angle})` }, `${name} ${bytesPerSecond(rate)}`));
}

function rooflineLevel(svg, name, rate, slopes, { high, x, y, width, edge }) {
  const fastest = Math.max(...slopes.map((slope) => slope[1]), 0);
  const from = fastest > 0 ? Math.max(edge.left, x(rate / fastest)) : edge.left;
  svg.append(shape("line", { x1: from, x2: x(high), y1: y(rate), y2: y(rate), stroke: colour("floor"), "stroke-width": 1.6 }));
  svg.append(shape("text", { x: width - edge.right, y: y(rate) - 7, "text-anchor": "end" }, `${name} ${operationsPerSecond(rate)}`));
}

function rooflinePoints(svg, points, x, y) {
  const labels = [];
  for (const point of [...points].sort((a, b) => b.share - a.share)) {
    const [cx, cy] = [x(point.x), y(point.y)], radius = Math.max(3, Math.sqrt(Math.max(0, point.share)) * 34);
    const fill = phaseColour(point.phase);
    const circle = shape("circle", { cx, cy, r: radius, fill, "fill-opacity": 0.42, stroke: fill, "data-operation": point.name });
    hint.on(circle, `${point.name} · ${point.phase}`, [
      ["of the limit", wholePercent(point.efficiency)], ["bound by", point.bound], ["time", duration(point.times.total_ns)],
      ["share", percent(point.share)], ["arithmetic", operationsPerSecond(point.y)],
      ["memory", bytesPerSecond((point.bytes / point.times.total_ns) * 1e9)], ["operations a byte", digits(point.x)],
    ]);
    svg.append(circle);
    const box = { left: cx + radius + 4, right: cx + radius + 4 + point.name.length * 6.6, top: cy - 9, bottom: cy + 9 };
    const free = labels.every((other) => box.left > other.right || box.right < other.left || box.top > other.bottom || box.bottom < other.top);
    if (point.share < 0.02 || !free || box.right > 1100) continue;
    labels.push(box);
    svg.append(shape("text", { class: "ink", x: box.left, y: cy + 4 }, point.name));
  }
}
