"""A language model without parameters: random logits that depend on every token so far."""

import torch


class RandomTextModel:
    """Serve as ``next_logits``: the same tokens always get the same logits, other tokens others.

    With ``is_told=True`` it has ``reorder``, and checks that every row goes on from the row it was told.
    """

    def __init__(self, vocab_size, *, seed=0, spread=2.0, is_told=False):
        self.vocab_size, self.seed, self.spread = vocab_size, seed, spread
        self.calls = []
        self._known = {}
        if is_told:
            self.reorder = self._reorder

    def logits_of(self, tokens):
        """Return the logits that follow a list of tokens, float64."""
        tokens = tuple(tokens)
        if tokens not in self._known:
            number = self.seed
            for token in tokens:
                number = (number * 1_000_003 + token + 1) % (2**61 - 1)
            generator = torch.Generator().manual_seed(number)
            noise = torch.randn(self.vocab_size, generator=generator, dtype=torch.float64)
            self._known[tokens] = self.spread * noise
        return self._known[tokens]

    def __call__(self, tokens):
        rows = tokens.tolist()
        if hasattr(self, "reorder") and self.calls:
            assert [row[:-1] for row in rows] == self.calls[-1], "rows moved without a word"
        self.calls.append(rows)
        return torch.stack([self.logits_of(row) for row in rows])

    def _reorder(self, rows):
        self.calls.append([self.calls[-1][row] for row in rows.tolist()])

    def log_probability(self, prompt, written):
        """Return the sum of the log-probabilities of ``written`` behind ``prompt``, in nats."""
        total, so_far = 0.0, list(prompt)
        for token in written:
            total += self.logits_of(so_far).log_softmax(dim=0)[token].item()
            so_far.append(token)
        return total
