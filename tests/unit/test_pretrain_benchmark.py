"""What benchmarks/pretrain measures with: selections, trigram and Llama models, questions and intervals, on small data."""

import collections
import dataclasses
import math
import shutil
from itertools import pairwise

import duckdb
import numpy as np
import pytest
import torch

from benchmarks.pretrain.comparison import differences, run_of, runs_of, values_of
from benchmarks.pretrain.inputs import RANDOM, WHOLE, Inputs, Vocabulary, encode_documents, read_folder, read_folders
from benchmarks.pretrain.intervals import bootstrap_interval, resampled_ratios, t_interval
from benchmarks.pretrain.kneser_ney import TrigramModel, discounts
from benchmarks.pretrain.model import BlockwiseLoss, Compute, Size, build, token_bits
from benchmarks.pretrain.questions import margins, questions_of
from benchmarks.pretrain.runs import Plan, Run, bits_per_byte, digest, outcome_of, outcomes, prepare
from benchmarks.pretrain.training import train, windows
from benchmarks.pretrain.transformer import needed
from benchmarks.pretrain.trigram import measure, ratios

TINY = Size(hidden=16, layers=1, heads=2, mlp=32, vocabulary=300, context=16, batch=4, learning_rate=1e-2)
CPU = Compute("cpu", "float32")
COLORS = ("red", "green", "blue", "black", "white", "brown")


@pytest.fixture(autouse=True)
def one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder as benchmarks.quality leaves it: 60 documents, two targets of which half the examples are held out."""
    path = tmp_path_factory.mktemp("pretrain")
    random = np.random.default_rng(0)
    texts = [" ".join(random.choice(COLORS, 20)) + f" document {number}" for number in range(60)]
    questions = [("colors", str(n), f"Question: what is {n}?\nAnswer: {COLORS[n % 6]} é", n < 12) for n in range(24)]
    stories = [("stories", str(n), f"The {COLORS[n % 6]} door opened {n} times.", n % 2 == 0) for n in range(12)]
    with duckdb.connect() as connection:
        connection.execute("CREATE TABLE documents (id VARCHAR, text VARCHAR, label VARCHAR)")
        connection.executemany("INSERT INTO documents VALUES (?, ?, 'x')", [(str(n), t) for n, t in enumerate(texts)])
        connection.execute("CREATE TABLE examples (target VARCHAR, id VARCHAR, text VARCHAR, held_out BOOLEAN)")
        connection.executemany("INSERT INTO examples VALUES (?, ?, ?, ?)", questions + stories)
        for table in ("documents", "examples"):
            connection.execute(f"COPY {table} TO '{path / table}.parquet' (FORMAT parquet)")
    arms = ("absolute, plain", "other | arm")
    rankings = {f"{t}|{arm}": random.permutation(60).astype(np.int32) for t in ("colors", "stories") for arm in arms}
    np.savez(path / "rankings.npz", **rankings)
    return path


@pytest.fixture(scope="module")
def inputs(folder):
    return read_folder(folder)


@pytest.fixture(scope="module")
def experiment(inputs):
    return prepare(inputs, Plan(TINY, CPU, tokens=640, budget=0.2))


def test_a_folder_is_read_with_its_held_out_examples_alone(inputs):
    assert len(inputs.texts) == 60
    assert inputs.arms == ["absolute, plain", "other | arm"]
    assert {target: len(texts) for target, texts in inputs.held_out.items()} == {"colors": 12, "stories": 6}
    assert inputs.held_out["stories"][1] == "The blue door opened 2 times."
    assert len(inputs.only(["stories"], None, 4).held_out["stories"]) == 4
    with pytest.raises(ValueError, match="there is no arm 'none'; there are 'absolute, plain'"):
        inputs.only(None, ["none"])


def test_tokens_stand_for_all_bytes_of_a_text():
    vocabulary = Vocabulary(["the red door", "the green door é"], 300)
    text = "the réd\n  door 🙂"
    (tokens,) = vocabulary.encode([text])
    assert vocabulary.token_bytes[tokens].sum() == len(text.encode())
    assert tokens.min() > 0
    assert vocabulary.size <= 300


def test_all_arms_train_on_exactly_equal_tokens(experiment):
    runs = runs_of(["colors", "stories"], [RANDOM, *experiment.rankings["colors"]], 2)
    chosen = [experiment.chosen(run) for run in runs]
    allowed = np.setdiff1d(np.arange(60), experiment.general)
    assert {len(own.tokens) for own in chosen} == {int(0.2 * experiment.pool.lengths[allowed].sum())}
    assert all((own.tokens[own.offsets[1:] - 1] == 0).all() and (own.lengths > 0).all() for own in chosen)


def test_no_arm_trains_on_the_general_mix(inputs):
    experiment = prepare(inputs, Plan(TINY, CPU, tokens=64, budget=1.0))
    kept = {experiment.pool.take(np.array([number])).tokens.tobytes() for number in experiment.general}
    assert len(kept) == 3
    for run in runs_of(["colors"], [RANDOM, "absolute, plain", WHOLE], 1):
        chosen = experiment.chosen(run)
        trained = {chosen.take(np.array([number])).tokens.tobytes() for number in range(len(chosen))}
        assert len(chosen) == 57
        assert not trained & kept


def naive_trigram(documents, vocabulary):
    """Interpolated modified Kneser-Ney over dictionaries; returns a function of (first, middle, last)."""
    counts = [collections.Counter() for _ in range(4)]
    for document in documents:
        padded = [0, 0, *document]
        counts[3].update(zip(padded, padded[1:], padded[2:], strict=False))
    counts[2].update(gram[1:] for gram in counts[3])
    counts[1].update(gram[1:] for gram in counts[2])
    steps = {order: discounts(np.array(list(counts[order].values()))) for order in (1, 2, 3)}

    def probability(gram):
        if not gram:
            return 1 / vocabulary
        lower = probability(gram[1:])
        like = {own: n for own, n in counts[len(gram)].items() if own[:-1] == gram[:-1]}
        if not like:
            return lower
        step, total = steps[len(gram)], sum(like.values())
        mass = sum(step[min(n, 3)] for n in like.values())
        own = like.get(gram, 0)
        return (own - step[min(own, 3)] + mass * lower) / total

    return probability


def test_the_trigram_model_is_that_of_dictionaries_and_sums_to_one():
    random = np.random.default_rng(1)
    documents = [[*random.zipf(1.5, 12).clip(1, 8), 0] for _ in range(30)]
    model = TrigramModel(np.concatenate(documents).astype(np.uint16), 11)
    naive = naive_trigram(documents, 11)
    text = [1, 2, 9, 1, 10, 10, 3, 0]
    expected = [
        naive((first, middle, last)) for first, middle, last in zip([0, 0, *text], [0, *text], text, strict=False)
    ]
    assert model.probabilities(np.array(text, np.uint16)) == pytest.approx(expected, rel=1e-12)
    for context in ([1, 2], [1, 9], [9, 10], []):
        texts = [np.array([*context, last], np.uint16) for last in range(11)]
        assert sum(model.probabilities(own)[-1] for own in texts) == pytest.approx(1, abs=1e-12)


def test_trigram_figures_are_the_same_twice_and_random_has_all_seeds(inputs):
    first, tokens = measure(inputs, 2, (0.1,))
    again, _ = measure(inputs, 2, (0.1,))
    assert all(np.array_equal(first[key], again[key]) for key in first)
    assert first["colors", RANDOM, 0.1].shape == (2, 12)
    bits = first["stories", "other | arm", 0.1]
    assert ratios(first, tokens, "other | arm", 0.1, 5)["stories"][0] == pytest.approx(
        bits.sum() / tokens["stories"].sum()
    )


def test_windows_take_each_token_as_target_once_an_epoch():
    documents = encode_documents(Vocabulary(["abc"], 300), ["abcdefg" * 9, "hijk" * 11, "x" * 20])
    batches = windows(documents, dataclasses.replace(TINY, batch=1, context=8), seed=0)
    own = [next(batches) for _ in range((len(documents.tokens) - 1) // 8)]
    stream = np.concatenate([own[0][0, :1], *(batch[0, 1:] for batch in own)])
    missing = np.bincount(documents.tokens, minlength=300) - np.bincount(stream, minlength=300)
    assert (missing >= 0).all()
    assert missing.sum() < 8
    assert all(np.array_equal(a[0, -1], b[0, 0]) for a, b in pairwise(own))


def test_the_blockwise_loss_and_its_gradients_are_those_of_all_logits():
    random = torch.Generator().manual_seed(0)
    hidden, weight = (torch.randn(n, 5, generator=random, requires_grad=True) for n in (7, 11))
    targets = torch.randint(0, 11, (7,), generator=random)
    expected = torch.nn.functional.cross_entropy(hidden @ weight.T, targets)
    slopes = torch.autograd.grad(expected, (hidden, weight))
    loss = BlockwiseLoss.apply(hidden, weight, targets, torch.float32, 3)
    assert torch.allclose(loss, expected)
    for own, slope in zip(torch.autograd.grad(loss, (hidden, weight)), slopes, strict=True):
        assert torch.allclose(own, slope, atol=1e-6)


def test_bits_a_byte_are_those_of_each_text_alone():
    model, token_bytes = build(TINY, 0).eval(), np.arange(300) % 4 + 1
    texts = [np.array(own, np.uint16) for own in ([0, 5, 7], [0, 9, 8, 7, 6, 5], [0, 1])]
    total = size = 0
    for text in texts:
        with torch.no_grad():
            logits = model(torch.from_numpy(text.astype(np.int64)[None])).logits[0].double()
        chances = torch.softmax(logits, -1)
        for place, token in enumerate(text[1:]):
            total -= math.log2(chances[place, int(token)])
            size += int(token) % 4 + 1
    found = bits_per_byte(texts, lambda own: token_bits(model, own, CPU, 2), token_bytes)
    assert found == pytest.approx(total / size, rel=1e-5)


def test_some_steps_of_training_lower_the_loss(experiment):
    documents = experiment.chosen(run_of("colors", "absolute, plain", 0))
    losses = train(build(TINY, 0), documents, 40 * 64, TINY, 0, CPU)
    assert len(losses) == 40
    assert np.mean(losses[-5:]) < losses[0] - 0.5


def test_runs_give_the_same_figures_twice_and_are_kept(experiment, tmp_path):
    runs = runs_of(["colors", "stories"], [RANDOM, "absolute, plain"], 1)
    assert runs[0] == Run(None, RANDOM, 0)
    first, again = outcomes(experiment, runs, tmp_path, 1), outcomes(experiment, runs, None, 1)
    assert [dataclasses.replace(own, seconds=0) for own in first.values()] == [
        dataclasses.replace(own, seconds=0) for own in again.values()
    ]
    assert len(list(tmp_path.iterdir())) == 3
    assert outcome_of(experiment, runs[0], tmp_path) == first[runs[0]]
    assert set(first[runs[0]].bits) == {"colors", "stories"}
    assert set(first[runs[0]].margins) == {"colors"}
    values = values_of(first, ["colors"], [RANDOM, "absolute, plain"], 1, lambda own, target: own.bits[target])
    assert values["absolute, plain"]["colors"] == [first[runs[1]].bits["colors"]]


def test_another_ranking_or_recipe_is_another_run(experiment, inputs):
    run = run_of("colors", "absolute, plain", 0)
    longer = dataclasses.replace(experiment, plan=dataclasses.replace(experiment.plan, tokens=641))
    turned = {target: {arm: own[::-1] for arm, own in arms.items()} for target, arms in inputs.rankings.items()}
    others = (longer, dataclasses.replace(experiment, rankings=turned))
    assert len({digest(own, run) for own in (experiment, *others)}) == 3
    assert digest(prepare(inputs, experiment.plan), run) == digest(experiment, run)


def test_wrong_answers_are_others_of_the_same_target(inputs):
    vocabulary = Vocabulary(inputs.texts, 300)
    texts = [f"Question: what is {n}?\nAnswer: {COLORS[n % 4]}" for n in range(8)]
    for own in questions_of(texts, vocabulary):
        assert len({answer.tobytes() for answer in own.answers}) == 4
        assert own.prompt[0] == 0
    assert questions_of(texts[:3], vocabulary) == []
    assert margins(np.array([[1.0, 2.0, 3.0, 4.0]])) == [2.0]


def test_intervals_are_those_of_the_formulas():
    own = t_interval(np.array([1.0, 2.0, 4.0]))
    assert own.value == pytest.approx(7 / 3)
    assert own.half == pytest.approx(4.302653 * math.sqrt(7 / 3) / math.sqrt(3), rel=1e-6)
    assert math.isnan(t_interval(np.array([1.0])).half)
    found = resampled_ratios(np.array([1.0, 2.0, 6.0]), np.array([1, 2, 3]), 4000)
    assert found[0] == 1.5
    equal = resampled_ratios(np.arange(400.0), np.ones(400, int), 4000)
    assert bootstrap_interval(equal).half == pytest.approx(1.96 * np.arange(400).std() / 20, rel=0.05)
    values = {"a": {"t": np.array([1.0, 2.0])}, "b": {"t": np.array([1.5, 2.5])}}
    assert differences(values, "a")["b"]["t"].as_dict() == {"value": 0.5, "low": 0.5, "high": 0.5}


@pytest.mark.parametrize(
    ("bits", "expected"), [(2.1, "< 1x"), (2.0, "1.0x"), (1.75, "1.4x"), (1.5, "2.0x"), (1.2, "4.0x"), (1.1, "> 4x")]
)
def test_tokens_that_random_needs_are_interpolated_and_never_extrapolated(bits, expected):
    assert needed(bits, [1, 2, 4], [2.0, 1.5, 1.2])[1] == expected


def test_a_ranking_of_other_documents_is_refused(folder, tmp_path):
    for name in ("documents.parquet", "examples.parquet"):
        (tmp_path / name).symlink_to(folder / name)
    np.savez(tmp_path / "rankings.npz", **{"colors|absolute, plain": np.zeros(60, np.int32)})
    with pytest.raises(ValueError, match="is not a permutation of 60 documents"):
        read_folder(tmp_path)


def test_rankings_of_another_folder_are_further_arms(folder, inputs, tmp_path):
    other = shutil.copytree(folder, tmp_path / "small")
    both = read_folders([folder, other])
    assert both.arms == [*inputs.arms, *(f"small: {arm}" for arm in inputs.arms)]
    for target in both.rankings:
        for arm in inputs.arms:
            assert (both.rankings[target][f"small: {arm}"] == inputs.rankings[target][arm]).all()
    with pytest.raises(ValueError, match="need different names"):
        read_folders([folder, other, folder.parent / "elsewhere" / "small"])
    with duckdb.connect() as connection:
        connection.execute(f"COPY (FROM '{folder}/documents.parquet' LIMIT 30) TO '{other}/documents.parquet'")
    rankings = {key: np.arange(30, dtype=np.int32) for key in np.load(folder / "rankings.npz").files}
    np.savez(other / "rankings.npz", **rankings)
    with pytest.raises(ValueError, match="small holds other documents or examples than"):
        read_folders([folder, other])


def test_inputs_have_the_arms_of_all_targets():
    ranking = np.arange(2)
    own = Inputs(["a", "b"], {"x": ["t"], "y": ["t"]}, {"x": {"p": ranking, "q": ranking}, "y": {"q": ranking}})
    assert own.arms == ["q"]


def test_frames_of_questions_can_be_left_out():
    texts = ["Question: Why?\nAnswer: Because: it is\nso.", "A tale. Question: none", "Question: no answer"]
    found = Inputs([], {"t": texts}, {}).without_frames().held_out["t"]
    assert found == ["Why?\nBecause: it is\nso.", "A tale. Question: none", "Question: no answer"]
