// Starts every viewer on the page that has not been started; each output brings this script once, so
// it needs no ids and leaves no globals. Comments and indents are left out of the stored output.
document.querySelectorAll(".av:not([data-on])").forEach((root) => {
  root.dataset.on = "1";
  const data = JSON.parse(root.querySelector('script[type="application/json"]').textContent);
  const { queries, keys, names, places } = data;
  const width = keys.length;
  const maps = data.weights.map((text) => text.match(/../g).map((two) => parseInt(two, 36) / 10 ** places));
  // one scale for all maps, so that shades can be compared
  const largest = Math.max(...maps.flat()) || 1;
  const gold = new Set((data.gold || []).map(([i, j]) => i * width + j));
  const hidden = (i, j) => data.mask && data.mask[i][j] === "0";
  let { head, query } = data;

  const make = (tag, attributes, ...children) => {
    const element = document.createElement(tag);
    Object.entries(attributes).forEach(([name, value]) => element.setAttribute(name, value));
    element.append(...children);
    return element;
  };
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

  // a group of radio buttons: Tab enters it, arrows, Home and End move inside
  const group = (name, kind, items, choose) => {
    const box = make("div", { class: kind, role: "radiogroup", "aria-label": name }, ...items);
    items.forEach((item, n) => item.addEventListener("click", () => choose(n)));
    box.addEventListener("keydown", (event) => {
      if (event.ctrlKey || event.altKey || event.metaKey) return;
      const now = items.indexOf(event.target);
      const next = {
        ArrowRight: now + 1, ArrowDown: now + 1, ArrowLeft: now - 1, ArrowUp: now - 1,
        Home: 0, End: items.length - 1, Enter: now, " ": now,
      }[event.key];
      if (next === undefined) return;
      // a notebook's own shortcuts must not hear these keys
      event.stopPropagation();
      event.preventDefault();
      const chosen = (next + items.length) % items.length;
      choose(chosen);
      items[chosen].focus();
    });
    return box;
  };
  const radio = (attributes, ...children) => make("button", { type: "button", role: "radio", ...attributes }, ...children);

  const headButtons = names.map((name, n) =>
    radio({ class: n < data.heads ? "" : "av-mean" }, picture(maps[n]), make("span", {}, name)));
  const queryButtons = queries.map((token, i) => radio({ "aria-label": `${token} (query ${i})` }, token));
  const keyItems = keys.map((token) =>
    make("span", { role: "listitem" }, make("b", {}, token), make("small", {}), make("i", {})));
  const status = make("p", { class: "av-status", role: "status" });
  const note = (text) => make("p", { class: "av-note", "aria-hidden": "true" }, text);

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
    [[headButtons, head], [queryButtons, query]].forEach(([buttons, chosen]) => buttons.forEach((button, n) => {
      button.setAttribute("aria-checked", n === chosen);
      button.tabIndex = n === chosen ? 0 : -1;
    }));
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
    status.setAttribute("aria-live", aloud ? "polite" : "off");
    status.textContent = sentence();
    fill();
  };

  const chooseHead = (n) => { head = n; draw(true); };
  const chooseQuery = (n) => { query = n; draw(true); };
  queryButtons.forEach((button, n) => button.addEventListener("pointerenter", (event) => {
    if (event.pointerType !== "mouse") return;
    query = n;
    draw(false);
  }));
  root.querySelector(".av-title").after(
    note(`Heads: rows are queries, columns are keys; the fullest blue is ${decimals(largest)}${gold.size ? "; gold links are outlined" : ""}`),
    group("Head", data.heads > 1 ? "av-heads" : "av-heads av-one", headButtons, chooseHead),
    note("Query: point at a token, tap it, or use the arrow keys"),
    group("Query", "av-queries", queryButtons, chooseQuery),
    note("Keys, with the weights of this query (the bars are in proportion)"),
    make("div", { class: "av-keys", role: "list", "aria-label": "Keys" }, ...keyItems),
    status,
  );
  root.querySelectorAll("details").forEach((part) => { part.open = false; });
  table.addEventListener("toggle", fill);
  draw(false);
});
