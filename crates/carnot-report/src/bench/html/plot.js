// Lines, steps and dots on two axes, each with its unit.
const FILLS = ["decode", "prefill", "floor", "wait", "probe", "kernel"];
const written = (unit) => ({
  s: (v) => duration(1e9 * v), ns: duration, bytes, share: percent, "tokens/s": tokensPerSecond, "requests/s": (v) => `${digits(v)} req/s`,
})[unit] ?? ((v) => (Number.isInteger(v) ? count(v) : digits(v)) + (unit ? ` ${unit}` : ""));

// `lines`: {name, points, kind: "line" | "dots" | "steps"}; `x` and `y`: {label, unit, from}.
function plot(title, note, x, y, lines) {
  const width = 540, height = 260, left = 78, right = 14, bottom = 40, top = 8;
  const svg = shape("svg", { viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": title });
  const all = lines.flatMap((line) => line.points);
  const reach = (axis, index) => {
    const values = all.map((point) => point[index]);
    const low = Math.min(axis.from ?? Infinity, ...values), high = Math.max(axis.to ?? -Infinity, ...values);
    return high > low ? [low, high + (axis.to === undefined ? 0.04 * (high - low) : 0)] : [low - 0.5, low + 0.5];
  };
  const [x0, x1] = reach(x, 0), [y0, y1] = reach(y, 1);
  const atX = (v) => left + ((v - x0) / (x1 - x0)) * (width - left - right);
  const atY = (v) => height - bottom - ((v - y0) / (y1 - y0)) * (height - bottom - top);
  for (const at of ticks(y0, y1, 5)) {
    svg.append(shape("line", { class: "grid", x1: left, x2: width - right, y1: atY(at), y2: atY(at) }));
    svg.append(shape("text", { x: left - 8, y: atY(at) + 4, "text-anchor": "end" }, written(y.unit)(at)));
  }
  for (const at of ticks(x0, x1, 5)) svg.append(shape("text", { x: atX(at), y: height - bottom + 17, "text-anchor": "middle" }, written(x.unit)(at)));
  svg.append(shape("text", { x: (left + width - right) / 2, y: height - 4, "text-anchor": "middle" }, x.label));
  svg.append(shape("line", { class: "axis", x1: left, x2: width - right, y1: height - bottom, y2: height - bottom }));
  lines.forEach(({ name, points, kind }, index) => {
    const paint = colour(FILLS[index % FILLS.length]);
    if (kind !== "dots") {
      const path = points.map(([px, py], i) => {
        const to = `${atX(px).toFixed(1)},${atY(py).toFixed(1)}`;
        return i === 0 ? `M${to}` : kind === "steps" ? `H${atX(px).toFixed(1)}V${atY(py).toFixed(1)}` : `L${to}`;
      });
      svg.append(shape("path", { d: path.join(""), fill: "none", stroke: paint, "stroke-width": 2, "stroke-linejoin": "round" }));
    }
    if (kind === "dots" || points.length <= 24) for (const [px, py] of points) {
      const dot = shape("circle", { cx: atX(px), cy: atY(py), r: points.length > 200 ? 1.6 : 3, fill: paint, "fill-opacity": kind === "dots" ? 0.6 : 1 });
      hint.on(dot, name, [[x.label, written(x.unit)(px)], [y.label, written(y.unit)(py)]]);
      svg.append(dot);
    }
  });
  const caption = element("figcaption", {}, title, " ", element("small", {}, note));
  const figure = element("figure", {}, caption, svg);
  if (lines.length > 1) figure.append(legend(lines.map(({ name }, index) => [name, colour(FILLS[index % FILLS.length])])));
  return figure;
}

// How many of the values are at most so large.
function distribution(metrics) {
  const lines = metrics.map(({ name, values }) => {
    const sorted = [...values].sort((a, b) => a - b);
    const step = Math.max(1, Math.floor(sorted.length / 400));
    const points = sorted.map((value, index) => [value, (index + 1) / sorted.length]).filter((_, index) => index % step === 0 || index === sorted.length - 1);
    return { name: readable(name), points: [[sorted[0], 0], ...points], kind: "steps" };
  });
  return plot("How many are at most so long", "cumulative share", { label: "latency", unit: "s", from: 0 }, { label: "share", unit: "share", from: 0, to: 1 }, lines);
}

function overTime({ name, unit, values, limit }) {
  const step = Math.max(1, Math.ceil(values.length / 1500));
  const points = values.map((value, index) => [index + 1, value]).filter((_, index) => index % step === 0);
  const lines = [{ name: readable(name), points, kind: "dots" }];
  if (limit !== null) lines.push({ name: "limit of the machine", points: [[1, limit], [values.length, limit]], kind: "line" });
  return plot(`${readable(name)}, one after another`, unit, { label: "measurement", unit: "" }, { label: readable(name), unit, from: 0 }, lines);
}
