// Small repairs to the theme's markup. No network, no dependency.
document.addEventListener("DOMContentLoaded", () => {
  const all = (selector, f) => document.querySelectorAll(selector).forEach(f);

  // a control's name must contain the text that it shows
  all('summary[aria-label="Toggle hidden content"]', (e) => e.removeAttribute("aria-label"));
  all(".search-button__button", (e) => { if (e.innerText.trim()) e.removeAttribute("aria-label"); });
  all(".bd-sidebar-primary", (e) => { e.setAttribute("role", "navigation"); e.setAttribute("aria-label", "Book"); });

  // a table's empty corner is no heading
  all(".bd-article th", (e) => {
    if (e.textContent.trim() || e.querySelector("img")) return;
    const corner = document.createElement("td");
    corner.className = e.className;
    e.replaceWith(corner);
  });

  // a heading or a fold that is only a formula also says so in words, since not every reader speaks MathML
  all(".bd-article :is(th, summary)", (e) => {
    const formula = e.querySelector(".katex");
    if (!formula || e.textContent.trim() !== formula.textContent.trim()) return;
    const word = document.createElement("span");
    word.className = "course-unseen";
    word.textContent = "formula: ";
    e.prepend(word);
  });

  // the picture that folds a package in the list of modules is called "-"
  all("img.toggler", (e) => { e.alt = "show or hide the modules"; });

  // roles of the bibliography that are deprecated or incomplete
  all('[role="doc-biblioentry"], .citation-list[role="list"]', (e) => e.removeAttribute("role"));

  // wide tables scroll in a box of their own, so that the page itself never scrolls sideways
  all(".bd-article table", (table) => {
    if (table.closest(".av, .highlighttable, table table")) return;
    let box = table.closest(".pst-scrollable-table-container");
    if (!box) {
      box = document.createElement("div");
      table.replaceWith(box);
      box.append(table);
    }
    box.classList.add("table-scroll");
    // a column of sentences gets room for several words on a line
    const heads = table.tHead && table.tHead.rows.length === 1 ? [...table.tHead.rows[0].cells] : [];
    const SENTENCE = 40;  // characters
    heads.forEach((head, n) => {
      const cells = [...table.tBodies].flatMap((body) => [...body.rows]).map((row) => row.cells[n]).filter(Boolean);
      const prose = (cell) => cell.textContent.length - [...cell.querySelectorAll(".katex")].reduce((sum, e) => sum + e.textContent.length, 0);
      head.classList.toggle("long-text", cells.some((cell) => prose(cell) > SENTENCE));
    });
  });

  // on a phone a wide figure keeps a legible size, and scrolls in a box of its own
  const LEGIBLE = 560;  // pixels; labels of 10 points stay at 8 or more
  addEventListener("load", () => {
    all(".bd-article img", (img) => {
      // a plot has twice the pixels of its size on the page, which its style says
      if ((parseFloat(img.style.width) || img.naturalWidth) < LEGIBLE || img.closest("a")) return;
      const box = document.createElement("div");
      box.className = "figure-scroll";
      img.replaceWith(box);
      box.append(img);
      img.style.setProperty("--legible", `${LEGIBLE}px`);
    });
    mark();
  });

  // what scrolls must be reachable by keyboard, and have a name
  const scrollers = [
    [".katex-display", "Equation, scrolls sideways"],
    [".table-scroll", "Table, scrolls sideways"],
    [".figure-scroll", "Figure, scrolls sideways"],
    [".bd-article div.highlight > pre", "Code or output, scrolls sideways"],
  ];
  const mark = () => {
    const found = scrollers.flatMap(([selector, name]) => [...document.querySelectorAll(selector)]
      .filter((e) => !e.checkVisibility || e.checkVisibility({ contentVisibilityAuto: true }))
      .map((e) => [e, name, e.scrollWidth > e.clientWidth + 1]));
    found.forEach(([e, name, scrolls]) => {
      if (scrolls) {
        e.tabIndex = 0;
        e.setAttribute("role", "group");
        e.setAttribute("aria-label", name);
      } else if (e.getAttribute("aria-label") === name) {
        ["tabindex", "role", "aria-label"].forEach((a) => e.removeAttribute(a));
      }
    });
  };
  mark();
  addEventListener("resize", mark);
  if (document.fonts) document.fonts.ready.then(mark);  // KaTeX's fonts change the width of formulas
  addEventListener("toggle", mark, true);

  // what is far below waits (course.css) until the browser has nothing else to do; then it comes part by part
  const root = document.documentElement;
  const parts = [...document.querySelectorAll(".bd-article section > :is(section, .cell)")];
  const whole = () => root.classList.contains("laid-out");
  const layOut = () => { root.classList.add("laid-out"); mark(); };
  const later = window.requestIdleCallback ? (f) => requestIdleCallback(f, { timeout: 500 }) : (f) => setTimeout(f, 50);
  const next = () => {
    if (whole()) return;
    if (!parts.length) { layOut(); return; }
    parts.shift().classList.add("laid-out");
    later(next);
  };
  // a place on the page that was asked for, or where a reader was before, can be found only on the whole page
  const [visit] = performance.getEntriesByType("navigation");
  if (location.hash || (visit && visit.type !== "navigate")) layOut();
  else addEventListener("load", () => later(next));

  // a link to a claim or an exercise opens the folded part that holds it
  const reveal = () => {
    const target = location.hash && document.getElementById(decodeURIComponent(location.hash.slice(1)));
    const folded = target && target.closest("details:not([open])");
    const moved = target && !whole();
    if (moved) layOut();
    if (folded) folded.open = true;
    if (folded || moved) target.scrollIntoView();
  };
  reveal();
  addEventListener("hashchange", reveal);

  // paper is light and cannot unfold: what is folded opens for it, but for code that was left folded
  addEventListener("beforeprint", () => {
    const folds = [...document.querySelectorAll(".bd-article details:not([open], .hide)")];
    const theme = root.dataset.theme;
    folds.forEach((fold) => { fold.open = true; });
    root.dataset.theme = "light";
    addEventListener("afterprint", () => {
      folds.forEach((fold) => { fold.open = false; });
      root.dataset.theme = theme;
    }, { once: true });
  });

  // the sidebar's fold says what it unfolds
  all(".bd-sidebar-primary summary", (e) => {
    if (e.textContent.trim()) return;
    const entry = e.closest("li").querySelector("a");
    e.setAttribute("aria-label", `Pages below “${entry.textContent.trim()}”`);
  });

  // the list of exercises gets its filters; the address keeps them, so that a choice can be handed on
  all(".exercise-table table", (table) => {
    const heads = [...table.tHead.rows[0].cells].map((cell) => cell.textContent.trim());
    const rows = [...table.tBodies[0].rows];
    const cell = (row, name) => row.cells[heads.indexOf(name)].textContent.trim();
    const values = (name) => [...new Set(rows.map((row) => cell(row, name)))];
    const numbers = (name) => values(name).filter((v) => v !== "–").sort((a, b) => a - b);
    const same = (name) => (row, value) => cell(row, name) === value;
    const filters = [
      ["chapter", "Chapter", numbers("Chapter").map((v) => [v, v]), same("Chapter")],
      ["kind", "Kind", values("Kind").sort().map((v) => [v, v]), same("Kind")],
      ["level", "Level", numbers("Level").map((v) => [v, v]), same("Level")],
      ["minutes", "Time", [15, 20, 25, 30, 40].map((v) => [String(v), `at most ${v} minutes`]),
        (row, value) => Number(cell(row, "Minutes")) <= Number(value)],
      ["versions", "Versions", [["yes", "with versions"], ["no", "without"]],
        (row, value) => (cell(row, "Versions") !== "–") === (value === "yes")],
    ];
    const form = document.createElement("form");
    form.className = "exercise-filters";
    form.setAttribute("aria-label", "Choose exercises");
    form.addEventListener("submit", (event) => event.preventDefault());
    const asked = new URLSearchParams(location.search);
    const controls = filters.map(([key, title, options, fits]) => {
      const label = document.createElement("label");
      const select = document.createElement("select");
      select.name = key;
      for (const [value, text] of [["", "any"], ...options]) select.add(new Option(text, value));
      if (options.some(([value]) => value === asked.get(key))) select.value = asked.get(key);
      label.append(title, select);
      form.append(label);
      return [select, fits];
    });
    const reset = document.createElement("button");
    reset.type = "button";
    reset.textContent = "Show all";
    reset.addEventListener("click", () => { controls.forEach(([select]) => { select.value = ""; }); update(); });
    const count = document.createElement("p");
    count.setAttribute("role", "status");
    form.append(reset, count);
    const update = () => {
      let shown = 0;
      for (const row of rows) {
        row.hidden = !controls.every(([select, fits]) => !select.value || fits(row, select.value));
        shown += !row.hidden;
      }
      count.textContent = `${shown} of ${rows.length} exercises`;
      const query = new URLSearchParams(controls.filter(([s]) => s.value).map(([s]) => [s.name, s.value]));
      history.replaceState(null, "", `${location.pathname}${query.size ? `?${query}` : ""}${location.hash}`);
    };
    form.addEventListener("change", update);
    table.closest(".exercise-table").before(form);
    update();
  });

  // quizzes: an option opens without a script; here we also count what was right at the first try
  const questions = [...document.querySelectorAll(".admonition.quiz")];
  if (questions.length) {
    const first = new Map();
    const tally = document.createElement("p");
    tally.setAttribute("role", "status");
    tally.className = "quiz-tally";
    questions[questions.length - 1].after(tally);
    questions.forEach((question) => question.querySelectorAll("details").forEach((option) => {
      const right = (option.querySelector(".sd-summary-content strong, p strong") || {}).textContent === "Yes.";
      option.addEventListener("toggle", () => {
        if (!option.open) return;
        option.classList.add(right ? "quiz-right" : "quiz-wrong");
        if (!first.has(question)) first.set(question, right);
        const n = [...first.values()].filter(Boolean).length;
        tally.textContent = `Right at the first try: ${n} of ${first.size} answered, ${questions.length} questions in all.`;
      });
    }));
  }

  // search previews: the article only, each formula once, no runs of white space
  const previews = () => {
    Search.htmlToText = (source, anchor) => {
      const page = new DOMParser().parseFromString(source, "text/html");
      page.querySelectorAll(".katex-mathml, .headerlink, script, style").forEach((e) => e.remove());
      const section = anchor && page.getElementById(anchor.replace(/^#/, ""));
      const part = section || page.querySelector("article.bd-article");
      return part ? part.textContent.replace(/\s+/g, " ") : "";
    };
  };

  // The search's index is large: where the page does not bring it, it is loaded when the field is used.
  const load = (file) => new Promise((done) => {
    const script = document.createElement("script");
    script.src = document.documentElement.dataset.content_root + file;
    script.addEventListener("load", done);
    document.head.append(script);
  });
  let asked = false;
  const bringSearch = async () => {
    if (asked) return;
    asked = true;
    const field = document.querySelector("#pst-search-dialog input");
    let typed = field.value;
    field.addEventListener("input", () => { typed = field.value; });
    await load("_static/language_data.js");
    await load("_static/searchtools.js");
    field.value = typed;  // Sphinx's script has emptied it
    previews();
    if (window.Search.query) Search.performSearch(window.Search.query);
    await load("searchindex.js");
  };
  if (document.querySelector('script[src*="searchtools.js"]')) previews();
  else document.addEventListener("focusin", (e) => { if (e.target.closest("#pst-search-dialog")) bringSearch(); });
});

// What the theme's script finds in the place of Sphinx's search until that has come.
if (!document.querySelector('script[src*="searchtools.js"]')) {
  window.Search = { performSearch: (query) => { window.Search.query = query; } };
}

// a printed page needs the pictures that nobody has scrolled to
addEventListener("beforeprint", () => {
  document.querySelectorAll('img[loading="lazy"]').forEach((img) => { img.loading = "eager"; });
});
