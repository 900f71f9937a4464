// What the figures compute. tests/explorers runs it in Node against the package.
// A tie is rounded up on every machine, as attncourse.explorers.shell.fixed_number does.
const fixed = (number, places) => {
  const steps = Math.floor(Math.abs(number) * 10 ** places + 0.5 + 1e-9);
  return (number < 0 && steps ? "−" : "") + (steps / 10 ** places).toFixed(places);
};
const short = (number) => `${Number(number.toFixed(3))}`.replace("-", "−");
const sum = (numbers) => numbers.reduce((total, number) => total + number, 0);
const softmax = (scores, allowed = scores.map(() => true)) => {
  const largest = Math.max(...scores.filter((_, j) => allowed[j]));
  const exponentials = scores.map((score, j) => (allowed[j] ? Math.exp(score - largest) : 0));
  const total = sum(exponentials) || 1;
  return exponentials.map((exponential) => exponential / total);
};
const entropy = (weights) => -sum(weights.map((weight) => weight * Math.log(weight || 1)));
// the Frobenius norm of diag(a) - a aᵀ, multiplied out
const jacobianNorm = (weights) => {
  const power = (n) => sum(weights.map((weight) => weight ** n));
  return Math.sqrt(Math.max(0, power(2) - 2 * power(3) + power(2) ** 2));
};
const temperature = (step) => 10 ** (step / 20);
const byWeight = (weights) => weights.map((_, j) => j).sort((i, j) => weights[j] - weights[i] || i - j);
// steps of the online softmax: m, the factor on what was summed before, ℓ and o after each block
const onlineSteps = (scores, values, block) => {
  const steps = [{ largest: -Infinity, shrink: 1, total: 0, mixed: 0, seen: 0 }];
  for (let seen = 0; seen < scores.length; seen += block) {
    const before = steps[steps.length - 1];
    const now = scores.slice(seen, seen + block);
    const largest = Math.max(before.largest, ...now);
    const shrink = Math.exp(before.largest - largest);
    const exponentials = now.map((score) => Math.exp(score - largest));
    const added = sum(exponentials);
    const mixture = sum(exponentials.map((exponential, j) => exponential * values[seen + j]));
    steps.push({
      largest, shrink, added, mixture, seen: seen + now.length,
      total: shrink * before.total + added, mixed: shrink * before.mixed + mixture,
    });
  }
  return steps;
};
