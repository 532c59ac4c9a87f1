// Memory over time, owners stacked, the largest at the bottom.
function drawMemory(analysis, end) {
  const { owners, peak_bytes: peak } = analysis.memory;
  if (owners.length === 0) {
    byId("memory").replaceChildren(element("p", { class: "empty" }, "No memory events were recorded."));
    return;
  }
  byId("memory-lead").textContent = `At most ${bytes(peak)} at once.`;
  const width = 540, height = 240, left = 64, bottom = 24;
  const svg = shape("svg", { viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": "Memory over time" });
  const until = Math.max(end, ...owners.flatMap((owner) => owner.points.map((point) => point.time_ns)), 1);
  const most = peak * 1.06 || 1;
  const x = (time) => left + (time / until) * (width - left);
  const y = (value) => height - bottom - (value / most) * (height - bottom - 8);
  for (const at of ticks(0, most, 5)) {
    svg.append(shape("line", { class: "grid", x1: left, x2: width, y1: y(at), y2: y(at) }));
    svg.append(shape("text", { x: left - 8, y: y(at) + 4, "text-anchor": "end" }, bytes(Math.round(at))));
  }
  for (const at of ticks(0, until, 5)) svg.append(shape("text", { x: x(at), y: height - 6, "text-anchor": at === 0 ? "start" : "middle" }, duration(Math.round(at))));
  const fills = ["engine", "kernel", "probe", "floor", "wait", "other"];
  stackedSteps(owners, until).forEach((steps, index) => {
    const upper = steps.map((step) => `${x(step.from)},${y(step.top)} ${x(step.to)},${y(step.top)}`);
    const lower = [...steps].reverse().map((step) => `${x(step.to)},${y(step.base)} ${x(step.from)},${y(step.base)}`);
    const area = shape("polygon", { points: [...upper, ...lower].join(" "), fill: colour(fills[index % fills.length]), "fill-opacity": 0.75 });
    hint.on(area, owners[index].owner, [["peak", bytes(owners[index].peak_bytes)]]);
    svg.append(area);
  });
  svg.append(shape("line", { class: "axis", x1: left, x2: width, y1: height - bottom, y2: height - bottom }));
  byId("memory").replaceChildren(svg, legend(owners.map((owner, index) => [`${owner.owner || "(unnamed)"} ${bytes(owner.peak_bytes)}`, colour(fills[index % fills.length])])));
}

// For each owner its steps over all moments at which any owner changed.
function stackedSteps(owners, until) {
  const times = [...new Set([0, ...owners.flatMap((owner) => owner.points.map((point) => point.time_ns)), until])].sort((a, b) => a - b);
  const kept = times.length > 2000 ? times.filter((_, index) => index % Math.ceil(times.length / 2000) === 0 || index === times.length - 1) : times;
  const bases = kept.map(() => 0);
  return owners.map((owner) => {
    let at = 0, level = 0;
    return kept.map((from, index) => {
      while (at < owner.points.length && owner.points[at].time_ns <= from) level = owner.points[at++].bytes;
      const base = bases[index];
      bases[index] += level;
      return { from, to: kept[index + 1] ?? until, base, top: base + level };
    });
  });
}
