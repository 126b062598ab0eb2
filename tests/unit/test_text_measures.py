"""What is measured of text, against other implementations."""

import itertools
import math
from collections import Counter

import numpy as np
import pytest
from nepotism.families.lm.measures.distinct import distinct
from nepotism.families.lm.measures.mauve import PER_CLUSTER, area, mauve
from nepotism.families.lm.measures.rare_words import rare, share_of, words
from nepotism.families.lm.measures.repetition import repeated
from nepotism.families.lm.measures.self_bleu import TEXTS, self_bleu
from torchmetrics.functional.text import bleu_score


def blocks(count=40, length=20, vocabulary=12, seed=0):
    return np.random.default_rng(seed).integers(vocabulary, size=(count, length)).astype(np.int32)


def test_repetitions_are_counted_within_a_block():
    assert repeated(np.array([[1, 2, 3, 4, 5, 6, 7, 8]], np.int32), 4) == 0
    # Of five runs of four, three are new.
    assert repeated(np.array([[1, 2, 3, 1, 2, 3, 1, 2]], np.int32), 4) == pytest.approx(0.4)
    assert repeated(np.zeros((3, 8), np.int32), 4) == pytest.approx(0.8)


@pytest.mark.parametrize("length", [1, 2, 3])
def test_runs_are_counted_over_all_blocks(length):
    rows = blocks()
    runs = [tuple(row[at : at + length]) for row in rows.tolist() for at in range(len(row) - length + 1)]
    assert distinct(rows, length) == pytest.approx(len(set(runs)) / len(runs))


def test_self_bleu_is_that_of_torchmetrics_against_all_others():
    rows = blocks(12)
    texts = [" ".join(map(str, row)) for row in rows]
    each = [float(bleu_score([text], [texts[:at] + texts[at + 1 :]])) for at, text in enumerate(texts)]
    assert 0 < np.mean(each) < 1
    assert self_bleu(rows) == pytest.approx(np.mean(each), rel=1e-5)


def test_self_bleu_is_one_of_copies_and_none_of_strangers_and_sees_the_first_texts_only():
    assert self_bleu(np.tile(np.arange(10, dtype=np.int32), (5, 1))) == pytest.approx(1)
    assert self_bleu(np.arange(50, dtype=np.int32).reshape(5, 10)) == 0
    many = blocks(TEXTS + 30)
    assert self_bleu(many) == self_bleu(many[:TEXTS])


def mauve_by_hand(p, q):
    """The area as the authors' package has it, without arrays: points of the curve, ordered, by the trapezoidal rule."""

    def divergence(one, other):
        return sum(a * math.log(a / b) for a, b in zip(one, other, strict=True) if a > 0)

    points = [(1.0, 0.0)]
    for weight in np.linspace(1e-6, 1 - 1e-6, 25):
        mixture = [weight * a + (1 - weight) * b for a, b in zip(p, q, strict=True)]
        points.append((math.exp(-5 * divergence(q, mixture)), math.exp(-5 * divergence(p, mixture))))
    points.append((0.0, 1.0))

    def under(pairs):
        return abs(sum((x1 - x0) * (y0 + y1) / 2 for (x0, y0), (x1, y1) in itertools.pairwise(pairs)))

    return (under(points) + under([(y, x) for x, y in points])) / 2


@pytest.mark.parametrize("seed", range(3))
def test_the_area_under_the_divergence_curve_is_the_authors(seed):
    random = np.random.default_rng(seed)
    p, q = random.dirichlet(np.ones(8), 2)
    q[0] = 0
    q /= q.sum()
    assert area(p, q) == pytest.approx(mauve_by_hand(p, q), rel=1e-9)
    assert area(p, p) == pytest.approx(1, abs=1e-3)
    assert area(p, q) == pytest.approx(area(q, p))


def test_mauve_falls_as_texts_move_away_and_is_the_same_each_time():
    random = np.random.default_rng(0)
    original, written = random.standard_normal((2, 30 * PER_CLUSTER, 6)).astype(np.float32)
    found = [mauve(np.float32(written + shift * np.eye(6)[0]), original) for shift in (0, 1, 3)]
    assert found[0] > 0.8
    assert found[0] > found[1] + 0.1 > found[2] + 0.2
    assert mauve(written, original) == mauve(written, original)
    with pytest.raises(ValueError, match="300 and 299 texts"):
        mauve(written, original[1:])


def test_rare_words_are_those_of_the_tail_and_other_words_are_none():
    texts = ["The cat and the dog, the cat's tail", "naïve dog 12 times"]
    assert words(texts) == Counter(
        {"the": 3, "dog": 2, "cat": 1, "and": 1, "cat's": 1, "tail": 1, "naïve": 1, "times": 1}
    )
    counts = words(texts)
    once = {"cat", "and", "cat's", "tail", "naïve", "times"}
    assert rare(counts, 0.1) == rare(counts, 0.6) == once
    assert rare(counts, 0.75) == once | {"dog"}
    assert rare(counts, 1.0) == set(counts)
    assert share_of(texts, rare(counts, 0.6)) == pytest.approx(6 / 11)
    assert share_of(["the the unknown tail"], rare(counts, 0.6)) == 0.25
    assert math.isnan(share_of(["1 2"], {"one"}))
