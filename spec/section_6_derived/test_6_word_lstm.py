"""Notes 6, the word-level language model: how an LSTM learns from a long text, and how it is judged."""

import math
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from blitz.derived import trigram, word_lstm, word_net
from blitz.derived.word_net import WordNet, window
from spec.counters import graph_nodes
from spec.harness import each_row, fault, statement

ROWS = 5  # of a window: a graph of few nodes is counted sooner
WORDS = torch.tensor([2, 3, 1, 2, 3, 2, 3, 1, 2, 1, 2, 3, 3, 1])  # of a vocabulary of 5


def zeros(real):
    """Return a detached() that forgets the state."""
    return lambda hidden: tuple(torch.zeros_like(part) for part in hidden)


def copying(real):
    """Return a window() whose targets are its inputs."""
    return lambda source, start, rows: (real(source, start, rows)[0],) * 2


def without_graph(real):
    """Return an LSTM's forward whose state has no graph."""

    def forward(lstm, *inputs):
        output, hidden = real(lstm, *inputs)
        return output, tuple(part.detach() for part in hidden)

    return forward


@pytest.fixture
def system(device, tmp_path, monkeypatch):
    """A small WordLSTM on a text of ten words in no order, without dropout."""
    monkeypatch.setattr(word_net, "UNITS", 8)
    text = tmp_path / "text.txt"
    text.write_text(" ".join("abcdefghij"[number] for number in torch.randint(10, (1500,))))
    made = word_lstm.WordLSTM(text, seed=0, device=device)
    made.net.dropout.p = 0  # not eval(), in which cuDNN computes no gradients of an LSTM
    return made


@statement("derived.word-lstm-state", notes="6 word-level LSTM")
@fault("the state keeps its graph", word_lstm, "detached", lambda real: lambda hidden: hidden)
@fault("c keeps its graph", word_lstm, "detached", lambda real: lambda state: (state[0].detach(), state[1]))
@fault("the state is not carried", word_lstm, "detached", zeros)
@fault("an LSTM gives its state without a graph", nn.LSTM, "forward", without_graph)
class TestWordLstmState:
    """A language model reads a long text in windows and carries the hidden state of its LSTM from window to
    window. If the state is detached between the windows, every window has a graph of the same size.
    Otherwise the graph grows with each window.
    """

    def test_graph_of_every_window_has_the_same_size(self, system):
        sizes = [
            graph_nodes(system.loss(*window(system.source, start, ROWS))).total()
            for start in (0, ROWS, 2 * ROWS)
        ]

        assert sizes[0] == sizes[1] == sizes[2]

    def test_graph_grows_if_the_state_is_not_detached(self, system):
        hidden, sizes = system.net.start(word_lstm.COLUMNS), []
        for start in (0, ROWS, 2 * ROWS):
            scores, hidden = system.net(window(system.source, start, ROWS)[0], hidden)
            sizes.append(graph_nodes(scores).total())

        assert sizes[0] < sizes[1] < sizes[2]

    def test_losses_of_two_windows_are_the_loss_of_both_read_at_once(self, system):
        inputs, targets = window(system.source, 0, 2 * ROWS)
        start = system.net.start(word_lstm.COLUMNS)

        losses = [system.loss(*window(system.source, first, ROWS)) for first in (0, ROWS)]

        scores, _ = system.net(inputs, start)
        at_once = nn.functional.cross_entropy(scores.flatten(0, 1), targets.flatten())
        torch.testing.assert_close(torch.stack(losses).mean(), at_once)


@statement("derived.word-lstm-perplexity", notes="6 word-level LSTM")
@fault("the targets are the inputs", word_net, "window", copying)
@fault("dropout is left on", nn.Module, "eval", lambda real: lambda net: net)
@fault("the state is not carried", word_net, "detached", zeros)
@fault("perplexity is a power of 2", word_net, "math", lambda real: SimpleNamespace(exp=lambda x: 2**x))
class TestWordLstmPerplexity:
    """The perplexity of a language model is e to the power of its mean cross-entropy for the next word.
    Dropout is off while it is measured. The perplexity of a model whose scores are all equal is the size of
    its vocabulary.
    """

    def test_perplexity_is_e_to_the_mean_loss_for_the_next_word(self, device):
        net = WordNet(50).to(device)
        nn.init.normal_(net.embedding.weight)
        words = torch.randint(50, (600,)).to(device)  # more than one window

        found = word_net.perplexity(net, words)

        output, _ = net.lstm(net.embedding(words[:-1].unsqueeze(1)))
        likely = net.decoder(output).squeeze(1).double().softmax(1)
        told = likely.gather(1, words[1:].unsqueeze(1)).flatten().tolist()
        assert found == pytest.approx(math.exp(-sum(map(math.log, told)) / 599), rel=1e-4)

    @pytest.mark.usefixtures("moved_in_place")  # else the two ends of the net would no longer share weights
    def test_equal_scores_have_the_perplexity_of_the_vocabulary(self, device):
        net = WordNet(50).to(device)
        nn.init.zeros_(net.embedding.weight)

        found = word_net.perplexity(net, torch.arange(50, device=device))

        assert found == pytest.approx(50, rel=1e-5)


def each_weight(real):
    """Return a clip_grad_norm_ that clips each parameter by itself."""
    return lambda weights, limit: [real([weight], limit) for weight in weights]


def always(real):
    """Return a clip_grad_norm_ that gives small gradients the norm of the limit, too."""

    def clip(weights, limit):
        for weight in (weights := list(weights)):
            weight.grad.mul_(1e6)
        return real(weights, limit)

    return clip


def by_value(real):
    """Return a clip_grad_norm_ that clips each number by itself."""
    return nn.utils.clip_grad_value_


@statement("derived.word-lstm-clipping", notes="6 word-level LSTM")
@fault("nothing is clipped", nn.utils, "clip_grad_norm_", lambda real: lambda weights, limit: None)
@fault("each number is clipped by itself", nn.utils, "clip_grad_norm_", by_value)
@fault("each parameter is clipped by itself", nn.utils, "clip_grad_norm_", each_weight)
@fault("small gradients grow", nn.utils, "clip_grad_norm_", always)
@each_row
@pytest.mark.parametrize(("scale", "clipped"), [(1000, True), (0.001, False)], ids=["large", "small"])
def test_large_gradients_are_scaled_to_the_limit_and_small_ones_stay(system, scale, clipped):
    """`clip_grad_norm_` compares the norm of all gradients together with a limit. If the norm is larger, all
    gradients are multiplied by one factor, which makes their norm equal to the limit. Otherwise the
    gradients stay as they are.
    """
    system.criterion = lambda scores, targets: scale * nn.functional.cross_entropy(scores, targets)
    inputs, targets = window(system.source, 0, ROWS)
    weights = list(system.net.parameters())
    gradients = torch.autograd.grad(system.loss(inputs, targets), weights)
    norm = math.sqrt(sum(float(gradient.square().sum()) for gradient in gradients))
    system.hidden = system.net.start(word_lstm.COLUMNS)

    system.learn(inputs, targets)

    assert (norm > word_lstm.MAX_NORM) == clipped
    factor = word_lstm.MAX_NORM / norm if clipped else 1
    expected = [gradient * factor for gradient in gradients]
    torch.testing.assert_close([weight.grad for weight in weights], expected)


def not_interpolated(real):
    """Return an interpolated() that believes the triples alone."""
    return lambda shares, weights, size: real(shares, (1, 1, 1), size)


def lossy(real):
    """Return an interpolated() that gives words after an unseen pair less than a probability of 1."""
    return lambda shares, weights, size: real(shares.nan_to_num(), weights, size)


@statement("derived.word-lstm-trigram", notes="6 word-level LSTM")
@fault("nothing is interpolated", trigram, "interpolated", not_interpolated)
@fault("unseen pairs cost probability", trigram, "interpolated", lossy)
@fault("the weights are not chosen", trigram, "best_weights", lambda real: lambda shares, size: (0.5,) * 3)
class TestWordLstmTrigram:
    """An interpolated trigram model mixes the frequencies of a word after the last two words, after the last
    word and in general. A validation part decides the weights. Every word has a probability above 0. Without
    the mixing, one unseen triple makes the perplexity infinite.
    """

    def test_probabilities_of_all_words_are_above_0_and_add_up_to_1(self):
        for before in ([2, 3], [3, 3], [0, 4]):  # seen with two words after it, with one, and never
            ends = [trigram.shares(WORDS, torch.tensor([*before, word]))[:, -1:] for word in range(5)]

            found = trigram.interpolated(torch.cat(ends, 1), (0.8, 0.7, 0.3), 5)

            assert found.min() > 0
            assert found.sum().item() == pytest.approx(1)

    def test_without_mixing_the_perplexity_is_infinite(self):
        shares = trigram.shares(WORDS, torch.tensor([2, 3, 1, 3]))  # 3 never followed 1

        mixed, alone = (trigram.interpolated(shares, weights, 5) for weights in [(0.5,) * 3, (1, 1, 1)])

        assert trigram.perplexity(mixed) < 5 < trigram.perplexity(alone) == math.inf

    def test_weights_are_chosen_on_the_validation_part(self):
        words = torch.tensor([1, 2, 3] * 10)

        _, fitting = trigram.trigram_perplexities(words, words, words, 5)
        _, misled = trigram.trigram_perplexities(words, words.flip(0), words, 5)

        assert 1 < fitting < 1.1 < misled


@pytest.mark.slow
@pytest.mark.timeout(900)
@statement("derived.word-lstm", notes="6 word-level LSTM")
@fault("training ends after an epoch", word_lstm, "EPOCHS", lambda real: 1)
@fault("the targets of the training are the inputs", word_lstm, "window", copying)
def test_perplexity_is_a_tenth_below_a_trigram_model(device, measured):
    """An LSTM learns the help texts of Python without their last tenth. On that tenth, its perplexity is at
    least 10 % below the perplexity of an interpolated trigram model, with each of the seeds 0, 1 and 2.
    """
    found = measured["perplexities"] = []
    for seed in range(3):
        torch.manual_seed(seed)
        system = word_lstm.WordLSTM(None, seed=seed, device=device)
        for _ in system.steps():
            pass
        found.append(system.history[-1]["held-out"])
        assert found[-1] < 0.9 * system.history[0]["trigram held-out"]
