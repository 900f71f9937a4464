// Heads as small maps, a query, and the keys it attends to; the shell brings what all figures share.
start("head-viewer", ({ root, data, live, says, say }) => {
  const { queries, keys, names, places } = data;
  const width = keys.length;
  const maps = data.weights.map((text) => text.match(/../g).map((two) => parseInt(two, 36) / 10 ** places));
  // one scale for all maps, so that shades can be compared
  const largest = Math.max(...maps.flat()) || 1;
  const gold = new Set((data.gold || []).map(([i, j]) => i * width + j));
  const hidden = (i, j) => data.mask && data.mask[i][j] === "0";
  let { head, query } = data;

  // the square root lets small weights show, on a dark page above all
  const shade = (weight, most) => `rgb(47 125 225 / ${(most * Math.sqrt(weight / largest)).toFixed(3)})`;
  const decimals = (weight) => (weight ? weight.toFixed(places) : "0");

  // one small map a head
  const picture = (map) => {
    const cell = Math.max(4, Math.floor(200 / Math.max(width, queries.length)));
    const canvas = make("canvas", { width: cell * width, height: cell * queries.length });
    const pen = canvas.getContext("2d");
    map.forEach((weight, n) => {
      const i = Math.floor(n / width);
      const j = n % width;
      pen.fillStyle = hidden(i, j) ? "rgb(128 128 128 / .3)" : shade(weight, 1);
      pen.fillRect(j * cell, i * cell, cell, cell);
      if (!gold.has(n)) return;
      pen.strokeStyle = "#d55e00";
      pen.lineWidth = Math.max(1, Math.min(4, cell / 6));
      pen.strokeRect(j * cell + pen.lineWidth / 2, i * cell + pen.lineWidth / 2, cell - pen.lineWidth, cell - pen.lineWidth);
    });
    return make("span", { class: "av-map", "aria-hidden": "true" }, canvas, make("i", {}));
  };

  const headButtons = names.map((name, n) =>
    radio({ class: n < data.heads ? "" : "av-mean" }, picture(maps[n]), plain(name)));
  const queryButtons = queries.map((token, i) => radio({ "aria-label": `${token} (query ${i})` }, token));
  const keyItems = keys.map((token) =>
    make("span", { role: "listitem" }, make("b", {}, token), make("small", {}), make("i", {})));

  const [table] = root.querySelectorAll("details");
  const fill = () => {
    table.firstElementChild.textContent = `Weights of ${names[head]} as a table`;
    if (!table.open) return;
    [...table.querySelectorAll("tbody tr")].forEach((row, i) => [...row.querySelectorAll("td")].forEach((cell, j) => {
      const weight = maps[head][i * width + j];
      cell.textContent = hidden(i, j) ? "–" : decimals(weight).replace(/^0\./, ".");
      cell.style.backgroundColor = shade(weight, 0.5);
    }));
  };

  const sentence = () => {
    const say = (j) => `“${keys[j]}” (key ${j})`;
    const row = maps[head].slice(query * width, (query + 1) * width);
    const best = row.map((weight, j) => [weight, j]).filter(([weight]) => weight).sort((a, b) => b[0] - a[0]);
    const parts = best.slice(0, 3).map(([weight, j]) => `${say(j)} ${decimals(weight)}`);
    const links = keys.map((_, j) => j).filter((j) => gold.has(query * width + j));
    const who = head < data.heads ? names[head] : `${names[head]}, which is the map of no single head`;
    return `${who}: “${queries[query]}” (query ${query}) attends ${parts.length ? "most to " + parts.join(", then ") : "to nothing"}.`
      + (links.length ? ` Gold: ${links.map(say).join(", ")}.` : "");
  };

  const draw = (aloud) => {
    mark(headButtons, head, "aria-checked");
    mark(queryButtons, query, "aria-checked");
    headButtons.forEach((button) => {
      const marker = button.querySelector("i");
      marker.style.top = `${(100 * query) / queries.length}%`;
      marker.style.height = `${100 / queries.length}%`;
    });
    keyItems.forEach((item, j) => {
      const weight = maps[head][query * width + j];
      const [, number, bar] = item.children;
      item.style.backgroundColor = shade(weight, 0.5);
      item.className = (hidden(query, j) ? "av-hidden" : "") + (gold.has(query * width + j) ? " gold" : "");
      number.textContent = hidden(query, j) ? "hidden" : decimals(weight);
      bar.style.width = `${(100 * weight) / largest}%`;
    });
    // a pointer that passes over tokens must not make a screen reader talk
    says.setAttribute("aria-live", aloud ? "polite" : "off");
    say(sentence());
    fill();
  };

  const chooseHead = (n) => { head = n; draw(true); };
  const chooseQuery = (n) => { query = n; draw(true); };
  queryButtons.forEach((button, n) => button.addEventListener("pointerenter", (event) => {
    if (event.pointerType !== "mouse") return;
    query = n;
    draw(false);
  }));
  live.append(
    note(`Heads: rows are queries, columns are keys; the fullest blue is ${decimals(largest)}${gold.size ? "; gold links are outlined" : ""}`),
    group("Head", data.heads > 1 ? "av-heads" : "av-heads av-one", headButtons, chooseHead),
    note("Query: point at a token, tap it, or use the arrow keys"),
    group("Query", "av-queries", queryButtons, chooseQuery),
    note("Keys, with this query's weights (bars in proportion)"),
    make("div", { class: "av-keys", role: "list", "aria-label": "Keys" }, ...keyItems),
  );
  table.addEventListener("toggle", fill);
  draw(false);
});
