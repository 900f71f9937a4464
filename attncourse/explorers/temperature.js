// One row of scores at every temperature.
start("temperature", ({ data, live, say }) => {
  const { labels, scores } = data;
  const [list, showBars] = bars(labels.map((label, j) => `${label} (${short(scores[j])})`), "Keys, with their scores and weights");
  const [numbers, showNumbers] = facts(["largest weight", "entropy in nats", "effective keys"]);
  const draw = (step, calm) => {
    const warmth = temperature(step);
    const weights = softmax(scores.map((score) => score / warmth));
    const spread = entropy(weights);
    const texts = [Math.max(...weights), spread, Math.exp(spread)].map((number) => fixed(number, 2));
    showBars(weights);
    showNumbers(texts);
    const [best] = byWeight(weights);
    say(`At temperature ${fixed(warmth, 2)} the largest weight is ${texts[0]}, on “${labels[best]}”. `
      + `The row is spread like ${texts[2]} equal weights, of ${labels.length} (entropy ${texts[1]} nats).`, calm);
  };
  live.append(
    note("Keys, with their scores, and their weights at this temperature"),
    list,
    numbers,
    slider("Temperature", ["sharper", "more even"], { min: -26, max: 26, step: 1, value: 0 },
      (step) => fixed(temperature(step), 2), (step) => draw(step, true)),
  );
  draw(0, false);
});
