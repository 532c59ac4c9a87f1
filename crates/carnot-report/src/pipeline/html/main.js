// Each part draws on its own: one that fails says so in its place and leaves the others alone.
document.addEventListener("DOMContentLoaded", () => {
  const { analysis, ranks, timeline, source } = JSON.parse(byId("carnot-data").textContent);
  const drawSpansOverTime = () => {
    const drawn = drawTimeline(timeline, analysis);
    if (!drawn) { byId("search").hidden = true; return; }
    drawn.view.source = source;
    byId("search").addEventListener("input", (event) => { drawn.view.wanted = event.target.value.trim().toLowerCase(); drawn.redraw(); });
  };
  const parts = [
    ["title", () => drawHead(analysis, ranks)], ["findings", () => drawFindings(analysis, ranks)], ["losses", () => drawLosses(analysis)], ["overall", () => drawStages(analysis)],
    ["timeline", drawSpansOverTime], ["iterations", () => drawIterations(analysis)], ["streaming", () => drawStreaming(analysis)], ["layers", () => drawLayerTimes(analysis)],
    ["memory", () => drawMemoryOwners(analysis)], ["caches", () => drawCacheTable(analysis)], ["counters", () => drawCounters(analysis)], ["ranks", () => drawRanks(ranks)],
    ["spans", () => drawSpans(analysis)], ["tree", () => drawTree(analysis)], ["notes", () => drawNotes(analysis)],
  ];
  for (const [id, draw] of parts) {
    try { draw(); } catch (error) {
      byId(id).replaceChildren(element("p", { class: "failed" }, `This part could not be drawn: ${error.message}`));
    }
  }
  document.documentElement.dataset.drawn = "true";
});
