// Sliders, bars and numbers of the explorers.
// a slider with its name before it and the words for its value behind; `words` also serves screen readers
const slider = (name, ends, limits, words, change) => {
  const input = make("input", { type: "range", "aria-label": name, ...limits });
  const value = make("b", { "aria-hidden": "true" });
  const show = () => {
    const said = words(Number(input.value));
    input.setAttribute("aria-valuetext", said);
    value.textContent = said;
  };
  input.addEventListener("input", () => { show(); change(Number(input.value)); });
  input.addEventListener("keydown", (event) => event.stopPropagation());
  show();
  const edge = (text) => make("small", { "aria-hidden": "true" }, text);
  return make("div", { class: "av-slider" }, make("span", { "aria-hidden": "true" }, name, " ", value), edge(ends[0]), input, edge(ends[1]));
};

// one row a key: its name, a bar, its weight
const bars = (labels, name) => {
  const rows = labels.map((label) => make("div", { role: "listitem" }, make("span", {}, label), make("i", {}, make("i", {})), make("b", {})));
  const show = (weights) => rows.forEach((row, j) => {
    const [, track, number] = row.children;
    track.firstElementChild.style.width = `${(100 * weights[j]).toFixed(2)}%`;
    number.textContent = fixed(weights[j], 2);
  });
  return [make("div", { class: "av-bars", role: "list", "aria-label": name }, ...rows), show];
};
// numbers with names, side by side
const facts = (names) => {
  const numbers = names.map(() => make("b", {}));
  const box = make("p", { class: "av-facts" }, ...names.map((name, n) => make("span", {}, `${name} `, numbers[n])));
  return [box, (texts) => texts.forEach((text, n) => { numbers[n].textContent = text; })];
};
