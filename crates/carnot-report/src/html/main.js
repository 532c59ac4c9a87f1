// Each part draws on its own: one that fails says so in its place and leaves the others alone.
document.addEventListener("DOMContentLoaded", () => {
  const { analysis, timeline } = JSON.parse(byId("carnot-data").textContent);
  const parts = [
    ["model", () => drawHeader(analysis)], ["tiles", () => drawTiles(analysis)], ["waterfall", () => drawWaterfalls(analysis)],
    ["bottlenecks", () => drawBottlenecks(analysis)], ["roofline", () => drawRoofline(analysis)],
    ["timeline", () => drawTimeline(timeline, analysis)], ["flame", () => drawFlame(analysis)], ["layers", () => drawLayers(analysis)],
    ["memory", () => drawMemory(analysis, timeline.end_ns)], ["operations", () => drawOperations(analysis)], ["calls", () => drawCalls(analysis)],
  ];
  for (const [id, draw] of parts) {
    try { draw(); } catch (error) {
      byId(id).replaceChildren(element("p", { class: "failed" }, `This part could not be drawn: ${error.message}`));
    }
  }
  document.documentElement.dataset.drawn = "true";
});
