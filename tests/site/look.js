// What the tests ask a page in the browser. Every function returns a list of texts, one line for each problem.
(() => {
  if (window.courseLook) return;

  const describe = (e) => {
    const id = e.id ? `#${e.id}` : "";
    const names = (e.getAttribute("class") || "").trim().split(/\s+/).filter(Boolean).slice(0, 3).map((c) => `.${c}`).join("");
    const text = (e.textContent || "").trim().replace(/\s+/g, " ").slice(0, 60);
    return `<${e.localName}${id}${names}> “${text}”`;
  };
  const shown = (e) => e.checkVisibility({ visibilityProperty: true }) && e.getClientRects().length > 0;
  const all = (selector, root = document) => [...root.querySelectorAll(selector)];
  const hiddenFromReaders = (e) => e.closest('[aria-hidden="true"], [role="presentation"]');
  const says = (e) => [e.getAttribute("aria-label"), e.getAttribute("alt"),
    ...(e.getAttribute("aria-labelledby") || "").split(/\s+/).map((id) => document.getElementById(id)?.textContent),
    e.querySelector(":scope > title")?.textContent, e.localName === "canvas" ? e.textContent : ""]
    .filter(Boolean).join(" ").trim();
  const FILE = /\S+\.(png|jpe?g|gif|svg|webp)$/i;
  const SMALLEST_TEXT = 7.5;  // CSS pixels on the screen

  const clips = (style) => ["hidden", "clip"].includes(style);
  // what is folded, meant for screen readers alone, or inside a formula
  const unseen = (e) => e.closest(".toggle-hidden, .course-unseen, .visually-hidden, .sr-only, .katex, dialog");

  const layout = () => {
    const found = [];
    const wide = document.documentElement.scrollWidth - innerWidth;
    if (wide > 0) found.push(`sideways scroll: the page is ${wide} px wider than the window`);
    for (const e of all("body *")) {
      if (e.closest("svg") && e.localName !== "svg") continue;
      const box = e.getBoundingClientRect();
      if (!box.width || !box.height) continue;
      const style = getComputedStyle(e);
      if (style.visibility === "hidden") continue;
      if (box.right > innerWidth + 1 || (box.left < -1 && e.closest(".bd-main"))) {
        let p = e.parentElement;
        while (p && getComputedStyle(p).overflowX === "visible") p = p.parentElement;
        if ((!p || p === document.documentElement || p === document.body) && shown(e)) found.push(`sticks out of the window: ${describe(e)}`);
      }
      if (unseen(e) || !e.textContent.trim() || e.clientWidth < 3 || e.clientHeight < 3) continue;
      if (clips(style.overflowX) && e.scrollWidth > e.clientWidth + 1) {
        found.push(`cut off at the side by ${e.scrollWidth - e.clientWidth} px: ${describe(e)}`);
      }
      if (clips(style.overflowY) && e.scrollHeight > e.clientHeight + 3) {
        found.push(`cut off below by ${e.scrollHeight - e.clientHeight} px: ${describe(e)}`);
      }
    }
    for (const text of all(".bd-article svg text")) {
      const box = text.getBoundingClientRect();
      if (!box.width) continue;
      const svg = text.ownerSVGElement;
      const frame = svg.getBoundingClientRect();
      if (clips(getComputedStyle(svg).overflow)
        && (box.left < frame.left - 1 || box.right > frame.right + 1 || box.top < frame.top - 1 || box.bottom > frame.bottom + 1)) {
        found.push(`text of a picture is cut off: ${describe(text)}`);
      }
      const size = parseFloat(getComputedStyle(text).fontSize) * Math.hypot(text.getScreenCTM().a, text.getScreenCTM().b);
      if (size < SMALLEST_TEXT) found.push(`text of a picture is ${size.toFixed(1)} px high: ${describe(text)}`);
    }
    return [...new Set(found)];
  };

  const pictures = () => {
    const found = [];
    const things = all("img, svg, canvas").filter((e) => !e.parentElement.closest("svg"));
    for (const e of things) {
      const name = e.localName === "img" ? `<img ${(e.getAttribute("src") || "").split("/").pop().slice(0, 60)}>` : describe(e);
      if (e.localName === "img" && e.complete && !e.naturalWidth) found.push(`broken image: ${name}`);
      // an icon belongs to its button, whose name axe checks
      if (hiddenFromReaders(e) || (e.localName === "svg" && e.closest("button, summary, a"))) continue;
      const text = says(e);
      if (e.localName === "svg" && e.getAttribute("role") !== "img") found.push(`svg without role="img" or aria-hidden: ${name}`);
      else if (!text) found.push(`no alt text: ${name}`);
      else if (FILE.test(text)) found.push(`alt text is a file name: ${name}`);
      // in the article a picture needs a sentence; a logo in a button needs its name
      else if (text.split(/\s+/).length < (e.closest(".bd-article") ? 3 : 2)) found.push(`alt text of too few words (“${text}”): ${name}`);
    }
    return { found, count: things.length };
  };

  // Of all texts in the same colours, sizes and surroundings one is as good as the others: contrast is measured for the first.
  const firstOfEachKind = () => {
    all("[data-first-kind]").forEach((e) => e.removeAttribute("data-first-kind"));
    const backs = new Map();
    const back = (e) => {
      if (!e) return "";
      if (!backs.has(e)) {
        const s = getComputedStyle(e);
        const own = s.backgroundColor === "rgba(0, 0, 0, 0)" && s.backgroundImage === "none" && s.opacity === "1" && s.filter === "none"
          ? "" : `/${s.backgroundColor}${s.backgroundImage}${s.opacity}${s.filter}`;
        backs.set(e, back(e.parentElement) + own);
      }
      return backs.get(e);
    };
    const kinds = new Set();
    for (const e of all("body *")) {
      if (!e.matches("input, select") && ![...e.childNodes].some((n) => n.nodeType === 3 && n.data.trim())) continue;
      if (!shown(e)) continue;
      const s = getComputedStyle(e);
      const kind = [back(e), s.color, s.fontSize, s.fontWeight, s.textShadow, e.localName === "a" && s.textDecorationLine].join("|");
      if (kinds.has(kind)) continue;
      kinds.add(kind);
      e.setAttribute("data-first-kind", "");
    }
    return kinds.size;
  };

  const violations = async (context, options) => {
    const result = await axe.run(context, { resultTypes: ["violations"], preload: false, ...options });
    const why = (n) => [...n.any, ...n.all, ...n.none].map((c) => c.message).slice(0, 1).join("");
    return result.violations.flatMap((v) => v.nodes.map((n) =>
      `axe ${v.id} [${v.impact}]: ${n.target.join(" ")} :: ${n.html.replace(/\s+/g, " ").slice(0, 120)} :: ${why(n)}`));
  };
  const COLOUR_RULES = ["color-contrast", "link-in-text-block"];
  const structure = () => violations(document, {
    rules: Object.fromEntries(COLOUR_RULES.map((rule) => [rule, { enabled: false }])) });
  const contrast = async () => (firstOfEachKind() ? violations({ include: [["[data-first-kind]"]] }, {
    runOnly: { type: "rule", values: COLOUR_RULES } }) : []);

  const addresses = () => all("[href], [src]").filter((e) => !e.closest("svg defs"))
    .map((e) => [e.getAttribute("href") ?? e.getAttribute("src"), describe(e)]);

  // a card whose link covers it shows the focus as a whole
  const focusShows = (e) => [e, e.closest(".sd-card")].filter(Boolean).some((one) => {
    const s = getComputedStyle(one);
    return (s.outlineStyle !== "none" && parseFloat(s.outlineWidth) > 0) || (one === e && s.boxShadow !== "none");
  });

  window.courseLook = { describe, shown, layout, pictures, structure, contrast, addresses, focusShows };
})();
