// One word asks, every word answers: lines, weights that fill their boxes, and the mixture of the values.
start("sentence", ({ data, live, say }) => {
  const { words, scores, values, ends } = data;
  const count = words.length;
  let query = data.query;
  let warmth = 1;
  const asks = words.map((word) => radio({}, word));
  const lines = make("div", { "aria-hidden": "true" });
  const keys = words.map((word) => make("div", { class: "av-key", role: "listitem" }, plain(word), make("b", {}), make("i", {}, make("i", {}))));
  const parts = words.map(() => make("i", {}));
  const pair = (numbers) => `(${numbers.map((number) => fixed(number, 2)).join(", ")})`;

  // the plane of the values, with room for the names at its edges
  const place = (element, [x, y]) => {
    const at = (number, n, from, room) => from + (room * (number - ends[n][0])) / (ends[n][1] - ends[n][0]);
    element.style.left = `${at(x, 0, 15, 70).toFixed(2)}%`;
    element.style.top = `${(100 - at(y, 1, 18, 67)).toFixed(2)}%`;  // a name hangs below its point
  };
  const dots = words.map((word, j) => {
    const dot = make("div", { class: "av-value" }, make("i", {}), plain(word));
    place(dot, values[j]);
    return dot;
  });
  const out = make("div", { class: "av-out" }, make("i", {}), plain("mixture"));
  const mixture = make("b", {});

  const draw = (calm) => {
    const weights = softmax(scores[query].map((score) => score / warmth));
    const mixed = [0, 1].map((n) => sum(weights.map((weight, j) => weight * values[j][n])));
    mark(asks, query, "aria-checked");
    const middle = (j) => 100 * j + 50;
    lines.innerHTML = `<svg viewBox="0 0 ${100 * count} 70" preserveAspectRatio="none">${weights.map((weight, j) =>
      `<path d="M${middle(query)} 2C${middle(query)} 40 ${middle(j)} 30 ${middle(j)} 68" stroke-width="${(1 + 13 * weight).toFixed(2)}"/>`).join("")}</svg>`;
    weights.forEach((weight, j) => {
      const share = `${(100 * weight).toFixed(2)}%`;
      const [, number, bar] = keys[j].children;
      bar.firstElementChild.style.height = share;
      number.textContent = fixed(weight, 2);
      parts[j].style.width = share;
      const size = `${(0.35 + 1.3 * Math.sqrt(weight)).toFixed(2)}rem`;
      const [dot] = dots[j].children;
      dot.style.width = size;
      dot.style.height = size;
    });
    place(out, mixed);
    mixture.textContent = pair(mixed);
    // words that share a weight are named together
    const sharing = new Map();
    byWeight(weights).forEach((j) => {
      const number = fixed(weights[j], 2);
      sharing.set(number, [...(sharing.get(number) || []), `“${words[j]}”`]);
    });
    const listed = [...sharing].map(([number, names]) => `${names.join(" and ")} (${number}${names.length > 1 ? " each" : ""})`);
    say(`“${words[query]}” looks most at ${listed.join(", then at ")}. `
      + `The weights add to 1; the values, mixed by them, give ${pair(mixed)}.`, calm);
  };
  const choose = (n) => { query = n; draw(false); };

  live.append(
    make("div", { class: "av-sentence" },
      make("div", { class: "av-look" },
        note("Choose a word"),
        group("The word that looks", "av-row", asks, choose),
        lines,
        make("div", { class: "av-row", role: "list", "aria-label": "What it looks at" }, ...keys),
        make("div", { class: "av-whole", "aria-hidden": "true" }, ...parts),
        note("Side by side, the weights fill one bar: they add to 1"),
        slider("Temperature", ["sharper", "more even"], { min: -20, max: 20, step: 1, value: 0 },
          (step) => fixed(temperature(step), 2), (step) => { warmth = temperature(step); draw(true); })),
      make("div", { class: "av-mix" },
        note("Each word brings a value, a point; the mixture lies among them"),
        make("div", { class: "av-plane", "aria-hidden": "true" }, ...dots, out),
        make("p", {}, "mixture ", mixture))));
  draw(false);
});
