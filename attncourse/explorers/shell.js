// What all figures share: elements, groups of radio buttons, and the start. Every output brings its
// own copy inside one function, so that it needs no ids and leaves no globals.
const make = (tag, attributes, ...children) => {
  const element = document.createElement(tag);
  Object.entries(attributes).forEach(([name, value]) => element.setAttribute(name, value));
  element.append(...children);
  return element;
};
const plain = (text) => make("span", {}, text);
const note = (text) => make("p", { class: "av-note", "aria-hidden": "true" }, text);

// a list of which one item is in the order of Tab; arrows, Home and End move inside
const roving = (box, items, next, reach) => {
  box.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.altKey || event.metaKey) return;
    const now = items.indexOf(event.target);
    const to = now < 0 ? undefined : next(event.key, now);
    if (to === undefined) return;
    // a notebook's own shortcuts must not hear these keys
    event.stopPropagation();
    event.preventDefault();
    reach(to);
    items[to].focus();
  });
  return box;
};
const mark = (items, chosen, state) => items.forEach((item, n) => {
  if (state) item.setAttribute(state, n === chosen);
  item.tabIndex = n === chosen ? 0 : -1;
});
const radio = (attributes, ...children) => make("button", { type: "button", role: "radio", ...attributes }, ...children);
const group = (name, kind, items, choose) => {
  items.forEach((item, n) => item.addEventListener("click", () => choose(n)));
  const moves = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1, Enter: 0, " ": 0 };
  const next = (key, now) => {
    if (key === "Home") return 0;
    if (key === "End") return items.length - 1;
    return key in moves ? (now + moves[key] + items.length) % items.length : undefined;
  };
  return roving(make("div", { class: kind, role: "radiogroup", "aria-label": name }, ...items), items, next, choose);
};

const start = (figure, build) => document.querySelectorAll(`[data-figure="${figure}"]:not([data-on])`).forEach((root) => {
  root.dataset.on = "1";
  const data = JSON.parse(root.querySelector('script[type="application/json"]').textContent);
  const live = root.querySelector("[data-live]");
  const says = root.querySelector("[data-says]");
  let free = 0;
  let waiting;
  // a slider that is drawn along must not flood a screen reader: at most one sentence in 0.6 s, and the last
  const say = (text, calm) => {
    clearTimeout(waiting);
    const speak = () => {
      free = Date.now() + 600;
      says.textContent = text;
    };
    if (calm && Date.now() < free) waiting = setTimeout(speak, free - Date.now());
    else speak();
  };
  build({ root, data, live, says, say });
  live.hidden = false;
  root.querySelectorAll("[data-table]").forEach((part) => { part.open = false; });
});
