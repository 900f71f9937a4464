"""A language model that keeps all it has read in a state of fixed size: a baseline for the Transformer.

Built in chapter 9.
"""

from torch import Tensor, nn

from attncourse._checks import check_count, check_number
from attncourse.recurrent import raise_forget_bias
from attncourse.seq2seq import check_tokens


class LSTMLanguageModel(nn.Module):
    r"""Foretell every next token from the hidden state of an LSTM that has read all tokens before it.

    .. math:: p(x_{t+1} \mid x_1, \dots, x_t) = \operatorname{softmax}(W_o h_t + b_o),
        \quad (h_t, c_t) = \operatorname{LSTM}(E_{x_t}, h_{t-1}, c_{t-1})

    Parameters
    ----------
    vocab_size : int
        Distinct tokens, the special ones included.
    d_embedding : int
        Features of one token's embedding.
    d_hidden : int
        Features of the hidden state of every layer.
    n_layers : int
        LSTM layers, one on top of the other.
    tied : bool
        Whether the output matrix :math:`W_o` is the embedding E; it needs ``d_hidden`` equal to
        ``d_embedding``.
    dropout : float
        Share of features that are dropped in training: of the embeddings and of every layer's output.

    Raises
    ------
    TypeError
        If a number has the wrong type.
    ValueError
        If a size is below 1, ``dropout`` is not in 0 … 1 (1 excluded), or a tied model has unequal sizes.

    Notes
    -----
    The layers are torch's fused version of ``LSTMCell`` of chapter 1; forget gates start open (bias 1).
    One token takes O(n_layers d_hidden (d_embedding + d_hidden)) operations however long the text is.
    Built in chapter 9.

    References
    ----------
    Sundermeyer, Schlüter and Ney, "LSTM neural networks for language modeling", Interspeech 2012; Press and
    Wolf, "Using the output embedding to improve language models", EACL 2017 (tied embeddings); Zaremba,
    Sutskever and Vinyals, "Recurrent neural network regularization", 2014 (where dropout acts).
    """

    def __init__(
        self,
        vocab_size: int,
        *,
        d_embedding: int,
        d_hidden: int,
        n_layers: int = 1,
        tied: bool = False,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        check_count("vocab_size", vocab_size)
        check_count("d_embedding", d_embedding)
        check_count("d_hidden", d_hidden)
        check_count("n_layers", n_layers)
        check_number("dropout", dropout, at_least=0, below=1)
        if tied and d_hidden != d_embedding:
            raise ValueError(
                "d_hidden must equal d_embedding in a tied model, "
                f"got d_hidden={d_hidden}, d_embedding={d_embedding}"
            )
        self.embedding = nn.Embedding(vocab_size, d_embedding)
        self.dropout = nn.Dropout(dropout)
        # torch's option covers the layers below the last one, and warns when there are none.
        between = dropout if n_layers > 1 else 0.0
        self.lstm = nn.LSTM(d_embedding, d_hidden, n_layers, batch_first=True, dropout=between)
        raise_forget_bias(self.lstm, 1.0)
        self.output = nn.Linear(d_hidden, vocab_size)
        if tied:
            self.output.weight = self.embedding.weight
            # Rows of length about one: with nn.Embedding's unit variance the first logits would be far apart.
            nn.init.normal_(self.embedding.weight, std=d_embedding**-0.5)

    def forward(self, tokens: Tensor) -> Tensor:
        """Score what may follow each token, given that token and all before it.

        Parameters
        ----------
        tokens : Tensor of int64, shape (batch, n_tokens)
            The texts so far; not modified.

        Returns
        -------
        Tensor, shape (batch, n_tokens, vocab_size)
            Unnormalised log-probabilities of the next token at every place, in nats.

        Raises
        ------
        TypeError
            If ``tokens`` is not a tensor of integers.
        ValueError
            If ``tokens`` has not two axes, is empty, or holds a number that is no token.
        """
        check_tokens("tokens", tokens, self.embedding.num_embeddings)
        hidden, _ = self.lstm(self.dropout(self.embedding(tokens)))  # (batch, n_tokens, d_hidden)
        return self.output(self.dropout(hidden))
