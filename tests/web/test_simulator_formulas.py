"""The simulator page's formulas, computed by Chromium, against the same in Python."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from preflab.explain.curve import beyond_training
from preflab.explain.pareto import tail_shape
from preflab.explain.simulator_page import simulator_page
from preflab.explain.weights import Draws, Point, estimate, measure, optimum, spread_within
from preflab.settings.rewards import RewardSource
from preflab.stages.common.pooled_policies import source_text
from simulator_worlds import random_pool, shop

pytestmark = pytest.mark.browser

BETAS = (3.0, 1.0, 0.5, 0.25, 0.1, 0.03, 0.01)
POOLS = {
    "five policies": random_pool(0, num_prompts=12, most=9, num_policies=5, sharp=1.5),
    "far apart": random_pool(1, num_prompts=6, most=30, num_policies=3, sharp=6.0),
    "lonely prompts": random_pool(2, num_prompts=9, most=2, num_policies=4, sharp=1.0),
    "one prompt": random_pool(3, num_prompts=1, most=60, num_policies=3, sharp=0.7),
    "the reference alone": random_pool(4, num_prompts=8, most=40, num_policies=1, sharp=1.0),
    "the shop": shop(num_prompts=12, per_policy=12),
}
DOUBTS = {
    "thin": "an effective number of samples below",
    "shape": "Pareto k is",
    "unscored": "an effective number of scored samples below",
    "beyond": "nats from the reference; the pool reaches",
    "smaller": "the smallest penalty that a pooled policy was trained with is",
    "moves": "leaves the pool",
}
MEASURED = """([data, betas]) => {
    const sim = makeModel(data);
    const rewards = rewardsOf(sim.terms, data.terms.map(({weight}) => weight), sim.learned, 0, []);
    const question = makeQuestion(sim.pool, rewards, sim.criteria);
    const numbers = (row) => ({kl: row.kl, reward: row.reward, criterion: row.criteria[0]});
    return {
        spreads: question.spreads,
        points: betas.map((beta) => {
            const point = pointAt(sim.pool, question, beta);
            const without = sim.pool.without.map((mixture) => (
                {left: mixture.left, ...numbers(measure(sim.pool, mixture, question, beta))}));
            const {effective, thin, doubts} = point;
            return {weights: [...point.weights], shape: String(point.shape), effective, thin, doubts, without,
                    ...numbers(point)};
        }),
    };
}"""


@pytest.fixture(scope="module")
def page(browser: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """A page whose functions are called with other data than its own."""
    file = tmp_path_factory.mktemp("simulator") / "simulator.html"
    file.write_text(simulator_page(POOLS["one prompt"]), encoding="utf-8")
    context = browser.new_context()
    opened = context.new_page()
    opened.goto(file.as_uri())
    yield opened
    context.close()


def draws_of(data: dict[str, Any]) -> tuple[Draws, dict[str, Any]]:
    samples = data["samples"]
    draws = Draws(
        np.array(samples["prompt"]), np.array(samples["policy"]), np.array(samples["logps"]), tuple(data["policies"])
    )
    reward = sum(t["weight"] * np.array(s) for t, s in zip(data["terms"], samples["terms"], strict=True))
    fail = data["criteria"][0]["fail"]
    filled = [(np.nan if fail is None else fail) if each is None else each for each in samples["criteria"][0]]
    return draws, {"reward": reward, "criterion": np.array(filled)}


def agree(found: Any, expected: float) -> bool:
    return bool(np.isclose(float(found), expected, rtol=1e-9, atol=1e-9, equal_nan=True))


def estimates_agree(found: dict[str, Any], expected: Point) -> bool:
    pairs = [(found["kl"], expected.kl), *((found[name], mean) for name, mean in expected.means.items())]
    return all(agree(page["value"], one.value) and agree(page["error"], one.error) for page, one in pairs)


@pytest.mark.parametrize("name", POOLS)
@pytest.mark.parametrize("fail", [-3.0, None])
def test_points_equal_those_of_python(page: Any, name: str, fail: float | None) -> None:
    data = {**POOLS[name], "criteria": [{**POOLS[name]["criteria"][0], "fail": fail}]}
    found = page.evaluate(MEASURED, [data, list(BETAS)])
    draws, quantities = draws_of(data)
    for spread, values in zip(found["spreads"], quantities.values(), strict=True):
        assert agree(spread, spread_within(draws, values))
    for beta, point in zip(BETAS, found["points"], strict=True):
        expected = measure(draws, optimum(quantities["reward"], beta), quantities)
        np.testing.assert_allclose(point["weights"], expected.weights, rtol=1e-9, atol=1e-12)
        assert estimates_agree(point, expected)
        assert agree(point["effective"], expected.effective)
        assert point["thin"] == expected.thin
        assert agree(point["shape"].replace("Infinity", "inf"), expected.pareto_k)
        doubts = expected.doubts + beyond_training(beta, [one["kl_coef"] for one in data["policy_info"][1:]])
        kinds = [kind for kind, words in DOUBTS.items() if any(words in doubt for doubt in doubts)]
        assert point["doubts"] == kinds


@pytest.mark.parametrize("name", POOLS)
def test_leaving_a_policy_out_equals_a_pool_without_its_rows(page: Any, name: str) -> None:
    data = POOLS[name]
    found = page.evaluate(MEASURED, [data, list(BETAS)])
    draws, quantities = draws_of(data)
    for beta, point in zip(BETAS, found["points"], strict=True):
        assert [each["left"] for each in point["without"]] == list(range(1, len(data["policies"])))
        for without in point["without"]:
            rest = draws.policies != without["left"]
            values = {key: column[rest] for key, column in quantities.items()}
            assert estimates_agree(without, estimate(draws.rows(rest), optimum(values["reward"], beta), values))


def test_pareto_shapes_equal_those_of_python(page: Any) -> None:
    numbers = np.random.default_rng(0)
    weights = [numbers.pareto(1 / k, 2000) for k in (0.2, 0.7, 1.3)] + [np.ones(50), np.arange(12.0), np.ones(3)]
    weights.append(np.repeat([1.0, 2.0], [1120, 105]))
    for each in weights:
        found = page.evaluate("(weights) => String(paretoShape(weights))", each.tolist())
        assert agree(found.replace("Infinity", "inf"), tail_shape(each))


def test_terms_learned_from_labels_are_told_from_their_source(page: Any) -> None:
    members = {"ensemble": ("a", "b"), "reference": "answers"}
    learned: list[dict[str, Any]] = [{"model": "rm"}, members, {"implicit": "dpo"}]
    others = [{"model": "tone", "class_label": "kind"}, {"function": "learned:score"}]
    sources = [source_text(RewardSource.model_validate(source)) for source in learned + others]
    assert (
        page.evaluate("(sources) => sources.map((source) => LEARNED.test(source))", sources) == [True] * 3 + [False] * 2
    )


def test_the_largest_values_are_those_of_a_sort(page: Any) -> None:
    numbers = np.random.default_rng(1)
    for size, count in [(1, 1), (2, 1), (7, 7), (50, 9), (500, 68), (500, 1)]:
        for values in (numbers.normal(size=size), numbers.integers(0, 3, size).astype(float), np.arange(size, 0.0, -1)):
            found = page.evaluate("([values, count]) => [...largestOf(values, count)]", [values.tolist(), count])
            assert found == sorted(values.tolist())[size - count :]


def test_features_of_texts_by_hand(page: Any) -> None:
    """Two prompts; words are letters and digits of any script, phrases are whole words in a row."""
    texts = ["Please, PLEASE please!", "pleased", "most awesome. Most awesome-most", "", "ça bitte ça"]
    found = page.evaluate(
        """(texts) => {
            const index = makeIndex(texts);
            const pool = {starts: [0, 2, 5]};
            return {
                please: [...countPhrases(index, ["please"])],
                phrases: [...countPhrases(index, ["most awesome", "ça", "ça", "Ça "])],
                nothing: [...countPhrases(index, ["", " , "])],
                lengths: [...centredLengths(pool, [3, 1, 5, 0, 4])],
                groups: [...groupTexts([0, 0, 1, 1, 1], ["a", "a", "a", "b", "a"])],
                noise: [...noiseOf(Int32Array.from({length: 4000}, (_, i) => i))],
                reversed: [...rewardsOf([[1, 2], [10, 10]], [2, 1], [true, false], 0.25,
                    [{strength: 3, values: [0, 1]}])],
            };
        }""",
        texts,
    )
    assert found["please"] == [3, 0, 0, 0, 0]
    assert found["phrases"] == [0, 0, 2, 0, 2]
    assert found["nothing"] == [0, 0, 0, 0, 0]
    assert found["lengths"] == [1, -1, 2, -3, 1]
    assert found["groups"] == [0, 0, 2, 3, 2]
    # 2 · (1 − 2 · ¼) · 1 + 10 = 11; 2 · ½ · 2 + 10 + 3 = 15.
    assert found["reversed"] == [11, 15]
    # 4,000 standard normals: their mean is within 5/√4000, their variance within 5·√(2/4000) of 1.
    assert abs(np.mean(found["noise"])) < 0.08
    assert abs(np.var(found["noise"]) - 1) < 0.12


def test_the_lines_part_where_the_criterion_falls_below_its_best(page: Any) -> None:
    """Best at the second point; the third is lower by 0.1, its error is 0.1; the fourth by 0.3, above 1.96 · 0.1."""
    found = page.evaluate(
        """(sign) => {
            const row = (beta, reward, gold) => (
                {beta, reward: {value: reward}, criteria: [{value: sign * gold, error: 0.1}], kl: {value: 1 / beta}});
            const curve = [row(4, 0, 1), row(3, 1, 1.5), row(2, 2, 1.4), row(1, 3, 1.2)];
            const parting = partingOf(curve, 0, sign);
            return [parting.best.beta, parting.point.beta, partingOf(curve.slice(0, 3), 0, sign)];
        }""",
        1,
    )
    assert found == [3, 1, None]
    assert page.evaluate("sign => partingOf([], 0, sign)", -1) is None
