// Elements, the hint that follows the pointer, scales. Text is always set as text.
function element(name, attributes = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  made.append(...children);
  return made;
}
function shape(name, attributes = {}, text = null) {
  const made = document.createElementNS("http://www.w3.org/2000/svg", name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  if (text !== null) made.textContent = text;
  return made;
}
const byId = (id) => document.getElementById(id);
const colour = (name) => `var(--${name})`;

const hint = {
  show(event, title, rows) {
    const list = element("dl");
    for (const [name, value] of rows) list.append(element("dt", {}, name), element("dd", {}, value));
    const box = byId("hint");
    box.replaceChildren(element("b", {}, title), list);
    box.hidden = false;
    const { innerWidth: width, innerHeight: height } = window;
    box.style.left = `${Math.max(8, Math.min(event.clientX + 14, width - box.offsetWidth - 8))}px`;
    const below = event.clientY + 14 + box.offsetHeight < height;
    box.style.top = `${below ? event.clientY + 14 : Math.max(8, event.clientY - 14 - box.offsetHeight)}px`;
  },
  hide() { byId("hint").hidden = true; },
  on(target, title, rows) {
    target.addEventListener("pointermove", (event) => hint.show(event, title, rows));
    target.addEventListener("pointerleave", hint.hide);
  },
};

// A row of buttons of which one is pressed.
function choice(id, names, chosen) {
  const buttons = names.map((name, index) => {
    const button = element("button", { type: "button", "aria-pressed": index === 0 }, name);
    button.addEventListener("click", () => {
      buttons.forEach((other) => other.setAttribute("aria-pressed", other === button));
      chosen(index);
    });
    return button;
  });
  byId(id).replaceChildren(...buttons);
}

function legend(entries) {
  const items = entries.map(([name, fill]) => {
    const mark = element("i");
    mark.style.background = fill;
    return element("span", {}, mark, name);
  });
  return element("div", { class: "legend" }, ...items);
}

// Round steps of a linear axis: 1, 2 or 5 times a power of ten.
function ticks(from, to, about) {
  const span = to - from;
  if (!(span > 0)) return [];
  const power = 10 ** Math.floor(Math.log10(span / about));
  const step = [1, 2, 5, 10].map((n) => n * power).find((s) => span / s <= about);
  const found = [];
  for (let at = Math.ceil(from / step) * step; at <= to; at += step) found.push(at);
  return found;
}
const fitted = (text, width, character) => {
  const most = Math.floor(width / character);
  return most < 3 ? "" : text.length <= most ? text : `${text.slice(0, most - 1)}…`;
};
