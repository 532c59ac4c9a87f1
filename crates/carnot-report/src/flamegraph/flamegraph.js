// Zoom: the clicked box takes the full width; its ancestors do too, what lies outside is hidden.
const groups = [...document.querySelectorAll("g[data-x]")].map((g) => ({
  g, x: +g.dataset.x, w: +g.dataset.w, depth: +g.dataset.d,
  rect: g.querySelector("rect"), text: g.querySelector("text"), name: g.dataset.n,
}));
const left = 12, width = 1176, character = 6.6;
function zoom(to) {
  const scale = width / to.w;
  for (const one of groups) {
    const ancestor = one.depth < to.depth && one.x <= to.x + 0.01 && one.x + one.w >= to.x + to.w - 0.01;
    const inside = one.depth >= to.depth && one.x >= to.x - 0.01 && one.x + one.w <= to.x + to.w + 0.01;
    one.g.style.display = ancestor || inside ? "" : "none";
    const x = ancestor ? left : left + (one.x - to.x) * scale;
    const w = ancestor ? width : one.w * scale;
    one.rect.setAttribute("x", x);
    one.rect.setAttribute("width", w);
    one.text.setAttribute("x", x + 3);
    const fits = Math.floor((w - 6) / character);
    one.text.textContent = fits < 3 ? "" : one.name.length <= fits ? one.name : one.name.slice(0, fits - 1) + "…";
  }
}
for (const one of groups) one.g.addEventListener("click", () => zoom(one));
document.querySelector(".title").addEventListener("click", () => zoom({ x: left, w: width, depth: 0 }));
