// Each part draws on its own: one that fails says so in its place and leaves the others alone.
document.addEventListener("DOMContentLoaded", () => {
  const { analysis, ranks, timeline, source } = JSON.parse(byId("carnot-data").textContent);
  const drawSpansOverTime = () => {
    const drawn = drawTimeline(timeline, analysis);
    if (!drawn) { byId("search").hidden = true; hideSection("events"); return; }
    drawn.view.source = source;
    // A page that is loaded again may still have what was looked for.
    const look = () => { drawn.view.wanted = byId("search").value.trim().toLowerCase(); };
    look();
    listEvents(drawn.view);
    byId("search").addEventListener("input", () => { look(); drawn.redraw(); });
  };
  const parts = [
    ["title", () => drawHead(analysis, ranks)], ["findings", () => drawFindings(analysis, ranks)], ["losses", () => drawLosses(analysis)], ["overall", () => drawStages(analysis)],
    ["timeline", drawSpansOverTime], ["iterations", () => drawIterations(analysis)], ["streaming", () => drawStreaming(analysis)], ["layers", () => drawLayerTimes(analysis)],
    ["memory", () => drawMemoryOwners(analysis)], ["places", () => drawPlaces(analysis)], ["caches", () => drawCacheTable(analysis)], ["counters", () => drawCounters(analysis)], ["ranks", () => drawRanks(ranks)],
    ["spans", () => drawSpans(analysis)], ["tree", () => drawTree(analysis)], ["notes", () => drawNotes(analysis)],
  ];
  for (const [id, draw] of parts) {
    try { draw(); } catch (error) {
      byId(id).replaceChildren(element("p", { class: "failed" }, `This part could not be drawn: ${error.message}`));
    }
  }
  document.documentElement.dataset.drawn = "true";
});
