// The softmax of keys that go by in blocks: what is kept, and how it is corrected.
start("online-softmax", ({ data, live, say }) => {
  const { scores, values, block } = data;
  const steps = onlineSteps(scores, values, block);
  const last = steps.length - 1;
  const answer = sum(softmax(scores).map((weight, j) => weight * values[j]));
  let at = 0;
  const keys = scores.map((score, j) => make("div", { role: "listitem" },
    plain(short(score)), make("em", {}, make("i", {})), make("b", {}), plain(short(values[j]))));
  const side = make("div", { class: "av-side", "aria-hidden": "true" }, plain("score"), make("em", {}), plain("exp"), plain("value"));
  const button = (name, move) => {
    const element = make("button", { type: "button" }, name);
    element.addEventListener("click", () => { if (element.getAttribute("aria-disabled") !== "true") move(); });
    element.addEventListener("keydown", (event) => { if (event.key === "Enter" || event.key === " ") event.stopPropagation(); });
    return element;
  };
  const go = (to) => { at = to; draw(); };
  const back = button("Back", () => go(at - 1));
  const next = button("Next block", () => go(at + 1));
  const again = button("Start again", () => go(0));
  const progress = make("b", {});
  const lines = ["running maximum m", "correction", "running sum ℓ", "running mixture o", "o / ℓ"].map((name) => [plain(name), make("b", {})]);

  const draw = () => {
    const { largest, shrink, total, mixed, added, mixture, seen } = steps[at];
    const before = steps[Math.max(0, at - 1)];
    keys.forEach((key, j) => {
      const [, bar, number] = key.children;
      const read = j < seen;
      const exponential = read ? Math.exp(scores[j] - largest) : 0;
      key.className = (j % block ? "" : "av-first") + (read && j >= before.seen ? " av-now" : "");
      bar.firstElementChild.style.height = `${(100 * exponential).toFixed(1)}%`;
      bar.firstElementChild.hidden = !read;
      number.textContent = read ? fixed(exponential, 2) : "·";
    });
    const four = (number) => fixed(number, 4);
    const three = (number) => fixed(number, 3);
    const factor = four(at > 1 ? shrink : 1);
    const texts = at === 0 ? ["nothing read yet", "–", "0", "0", "–"] : [
      at === 1 ? short(largest) : `max(${short(before.largest)}, block) = ${short(largest)}`,
      at === 1 ? "nothing to correct" : `e^(${short(before.largest)} − ${largest < 0 ? `(${short(largest)})` : short(largest)}) = ${factor}`,
      at === 1 ? four(total) : `${factor} · ${four(before.total)} + ${four(added)} = ${four(total)}`,
      at === 1 ? three(mixed) : `${factor} · ${three(before.mixed)} + ${three(mixture)} = ${three(mixed)}`,
      three(mixed / total),
    ];
    lines.forEach(([, text], n) => { text.textContent = texts[n]; });
    progress.textContent = `${at} of ${last} blocks read`;
    [[back, at === 0], [next, at === last], [again, at === 0]].forEach(([element, off]) => element.setAttribute("aria-disabled", off));
    const corrected = at < 2 ? "" : shrink === 1 ? "The maximum stays, so nothing is corrected. " : `A larger score turned up: both sums were multiplied by ${factor}. `;
    say(at === 0 ? `No block has been read; ${scores.length} keys wait in ${last} blocks.`
      : `After block ${at} of ${last}: m is ${short(largest)}, ℓ is ${four(total)}, o is ${three(mixed)}. ${corrected}`
        + (at === last ? `o / ℓ is ${three(mixed / total)}; the softmax over all keys at once gives ${three(answer)}.`
          : `o / ℓ is ${three(mixed / total)}, the answer for the ${seen === 1 ? "one key" : `${seen} keys`} read so far.`));
  };
  live.append(
    note("Bars: exponentials relative to m; filled in this step (orange line on top), hatched if read before"),
    make("div", { class: "av-pass", role: "list", "aria-label": "Keys: score, exponential, value" }, side, ...keys),
    make("p", { class: "av-steps" }, back, next, again, progress),
    make("div", { class: "av-account" }, ...lines.flat()),
  );
  draw();
});
