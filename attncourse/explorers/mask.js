// A grid of cells that open and close, and the weights that are left.
start("mask", ({ data, live, say }) => {
  const { queries, keys, scores, names, masks } = data;
  const width = keys.length;
  let chosen = data.mask;
  let own = false;
  let allowed;
  let reached = 0;
  const choices = names.map((name) => radio({}, name));
  const cells = queries.flatMap(() => keys.map(() => make("button", { type: "button" })));
  const sums = queries.map(() => make("span", { class: "av-sum" }));
  const weightsOf = (i) => softmax(scores[i], allowed[i]);
  const shade = (weight) => (weight ? `rgb(0 114 178 / ${(0.5 * Math.sqrt(weight)).toFixed(3)})` : "");

  const row = (i) => {
    const weights = weightsOf(i);
    if (!allowed[i].some((open) => open)) return `“${queries[i]}” may look at nothing: all its weights are 0, and so is its output.`;
    const open = byWeight(weights).filter((j) => allowed[i][j]);
    return `“${queries[i]}” shares its weight among ${open.length} of ${width} keys: ${open.map((j) => `“${keys[j]}” ${fixed(weights[j], 2)}`).join(", ")}.`;
  };
  const draw = (sentence) => {
    mark(choices, chosen, "aria-checked");
    // cells that a reader has pressed are none of the masks any more
    if (own) choices[chosen].setAttribute("aria-checked", false);
    mark(cells, reached);
    queries.forEach((query, i) => {
      const weights = weightsOf(i);
      const empty = !allowed[i].some((open) => open);
      keys.forEach((key, j) => {
        const cell = cells[i * width + j];
        const open = allowed[i][j];
        cell.textContent = open ? fixed(weights[j], 2) : "–";
        cell.setAttribute("aria-pressed", open);
        cell.setAttribute("aria-label", `${query} to ${key}: ${open ? `may attend, weight ${fixed(weights[j], 2)}` : "hidden"}`);
        cell.style.backgroundColor = shade(weights[j]);
      });
      sums[i].textContent = fixed(sum(weights), 2);
      sums[i].className = empty ? "av-sum av-empty" : "av-sum";
    });
    say(sentence());
  };
  const summary = () => {
    const open = sum(allowed.flat().map(Number));
    const empty = queries.filter((_, i) => !allowed[i].some((one) => one));
    return `Mask “${names[chosen]}”: ${open} of ${cells.length} cells are open. `
      + (empty.length ? `Empty rows, with weights of 0: ${empty.map((name) => `“${name}”`).join(", ")}.` : "Every row adds to 1.");
  };
  const choose = (n) => {
    chosen = n;
    own = false;
    allowed = masks[n].map((text) => [...text].map((one) => one === "1"));
    draw(summary);
  };
  const toggle = (n) => {
    const i = Math.floor(n / width);
    reached = n;
    own = true;
    allowed[i][n % width] = !allowed[i][n % width];
    draw(() => row(i));
  };
  cells.forEach((cell, n) => cell.addEventListener("click", () => toggle(n)));
  const grid = make("div", { class: "av-grid", role: "group", "aria-label": "Cells: rows are queries, columns are keys" },
    plain(""), ...keys.map(plain), plain("sum"),
    ...queries.flatMap((query, i) => [make("span", { class: "av-name" }, query), ...cells.slice(i * width, (i + 1) * width), sums[i]]));
  grid.style.gridTemplateColumns = `minmax(3rem, max-content) repeat(${width}, minmax(2.8rem, 4rem)) 3.2rem`;
  const moves = { ArrowRight: [0, 1], ArrowLeft: [0, -1], ArrowDown: [1, 0], ArrowUp: [-1, 0] };
  roving(grid, cells, (key, now) => {
    if (!(key in moves)) return undefined;
    const [down, right] = moves[key];
    const i = Math.floor(now / width) + down;
    const j = (now % width) + right;
    return i in queries && j in keys ? i * width + j : now;
  }, (to) => { reached = to; mark(cells, to); });
  live.append(
    group("Mask", "av-choices", choices, choose),
    note("Rows are queries, columns are keys; press a cell to open or close it"),
    grid,
  );
  choose(chosen);
});
