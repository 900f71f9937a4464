// Starts reveal.js, and shrinks what would not fit on a slide.
(() => {
  const SMALLEST = 0.6;
  const SMALLEST_CODE = 0.8;  // below it, code scrolls instead

  // The body of a slide has a fixed height; its texts are sized by --z.
  function fit(slide) {
    const body = slide?.querySelector('.body');
    if (!body || !body.clientHeight) return;
    const scrolls = (one) =>
      one.scrollWidth > one.clientWidth + 1 || (one.scrollHeight > one.clientHeight + 1 && !one.matches('.formula'));
    const listings = [...body.querySelectorAll('pre, .scroll, .formula')];
    for (let z = 1; z >= SMALLEST - 1e-9; z -= 0.04) {
      body.style.setProperty('--z', z.toFixed(2));
      if (body.scrollHeight <= body.clientHeight + 1 && (z < SMALLEST_CODE || !listings.some(scrolls))) break;
    }
    // What can be scrolled must be reachable by keyboard.
    for (const one of listings) if (scrolls(one)) one.tabIndex = 0;
  }

  Reveal.on('ready', (event) => fit(event.currentSlide));
  Reveal.on('slidechanged', (event) => fit(event.currentSlide));
  Reveal.on('pdf-ready', () => document.querySelectorAll('.slides section').forEach(fit));
  Reveal.initialize({
    width: 1280,
    height: 720,
    margin: 0.02,
    center: false,
    hash: true,
    slideNumber: 'c/t',
    transition: 'none',
    pdfSeparateFragments: false,
    pdfMaxPagesPerSlide: 1,
    plugins: [RevealNotes],
  });
})();
