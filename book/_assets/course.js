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

  // a column's heading that is only a formula also says so in words, since not every reader speaks MathML
  all(".bd-article th", (e) => {
    const formula = e.querySelector(".katex");
    if (!formula || e.textContent.trim() !== formula.textContent.trim()) return;
    const word = document.createElement("span");
    word.className = "course-unseen";
    word.textContent = "formula: ";
    e.prepend(word);
  });

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
  });

  // on a phone a wide figure keeps a legible size, and scrolls in a box of its own
  const LEGIBLE = 560;  // pixels; labels of 10 points stay at 8 or more
  addEventListener("load", () => {
    all(".bd-article img", (img) => {
      if (img.naturalWidth < LEGIBLE || img.closest("a")) return;
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
  const mark = () => scrollers.forEach(([selector, name]) => all(selector, (e) => {
    if (e.scrollWidth > e.clientWidth + 1) {
      e.tabIndex = 0;
      e.setAttribute("role", "group");
      e.setAttribute("aria-label", name);
    } else if (e.getAttribute("aria-label") === name) {
      ["tabindex", "role", "aria-label"].forEach((a) => e.removeAttribute(a));
    }
  }));
  mark();
  addEventListener("resize", mark);
  if (document.fonts) document.fonts.ready.then(mark);  // KaTeX's fonts change the width of formulas
  addEventListener("toggle", mark, true);

  // a link to a claim or an exercise opens the folded part that holds it
  const reveal = () => {
    const target = location.hash && document.getElementById(decodeURIComponent(location.hash.slice(1)));
    const folded = target && target.closest("details:not([open])");
    if (folded) { folded.open = true; target.scrollIntoView(); }
  };
  reveal();
  addEventListener("hashchange", reveal);

  // search previews: the article only, each formula once, no runs of white space
  if (typeof Search !== "undefined" && Search.htmlToText) {
    Search.htmlToText = (source, anchor) => {
      const page = new DOMParser().parseFromString(source, "text/html");
      page.querySelectorAll(".katex-mathml, .headerlink, script, style").forEach((e) => e.remove());
      const section = anchor && page.getElementById(anchor.replace(/^#/, ""));
      const part = section || page.querySelector("article.bd-article");
      return part ? part.textContent.replace(/\s+/g, " ") : "";
    };
  }
});
