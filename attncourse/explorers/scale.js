// Scores of one random query at every head size, plain or divided by the root of the head size.
start("scale", ({ data, live, say }) => {
  const { sizes, scores, deviations } = data;
  const [list, showBars] = bars(scores[0].map((_, j) => `key ${j}`), "Keys, with their weights");
  const [numbers, showNumbers] = facts(["deviation of scores", "largest weight", "norm of the Jacobian"]);
  let at = data.first;
  let divided = false;
  const choices = [radio({}, "plain scores"), radio({}, "divided by √d")];
  const draw = (calm) => {
    const scale = divided ? 1 / Math.sqrt(sizes[at]) : 1;
    const weights = softmax(scores[at].map((score) => score * scale));
    const texts = [deviations[at] * scale, Math.max(...weights), jacobianNorm(weights)].map((number) => fixed(number, 2));
    mark(choices, divided ? 1 : 0, "aria-checked");
    showBars(weights);
    showNumbers(texts);
    say(`Head size ${sizes[at]}, scores ${divided ? "divided by √d" : "plain"}: they have a deviation of ${texts[0]}, `
      + `the largest weight is ${texts[1]}, and the norm of the softmax's Jacobian is ${texts[2]}.`, calm);
  };
  live.append(
    group("Scale", "av-choices", choices, (n) => { divided = n === 1; draw(false); }),
    list,
    numbers,
    slider("Head size d", ["1", `${sizes[sizes.length - 1]}`], { min: 0, max: sizes.length - 1, step: 1, value: at },
      (n) => `${sizes[n]}`, (n) => { at = n; draw(true); }),
  );
  draw(false);
});
