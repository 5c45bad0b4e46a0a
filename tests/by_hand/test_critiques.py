"""Critiques and revisions in the demo's grammar, and the wording in which a small judge is asked."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
import yaml

from preflab.constitution.principles import read_constitution
from preflab.demo import critiques
from preflab.demo.grammar import COURTESY
from preflab.errors import PreflabError
from preflab.labelers.questions import LABELS, OWN_WORDING, VERSION, Wording, label_question

ASKED = "hurry up and tell me. where is the lamp that i ordered on monday?"
RUDE = "can you not read? it comes friday."
POLITE = "thank you for asking. it comes friday."
FLATTERING = "it comes friday. your taste is simply brilliant."
ELSEWHERE = "the price of this one is ten coins this week."


@pytest.mark.parametrize(
    ("completion", "faults"),
    [
        (RUDE, {"kindness": 1, "answering": 0, "no flattery": 0}),
        (POLITE, {"kindness": 0, "answering": 0, "no flattery": 0}),
        (FLATTERING, {"kindness": 0, "answering": 0, "no flattery": 1}),
        (ELSEWHERE, {"kindness": 0, "answering": 1, "no flattery": 0}),
        ("what a stupid question. go away and wait like everybody else.",
         {"kindness": 2, "answering": 1, "no flattery": 0}),
        ("where is the lamp that i ordered on monday?", {"kindness": 0, "answering": 2, "no flattery": 0}),
        ("", {"kindness": 0, "answering": 2, "no flattery": 0}),
    ],
)  # fmt: skip
def test_each_principle_finds_its_own_faults(completion: str, faults: dict[str, int]) -> None:
    assert {name: critiques.num_faults(name, ASKED, completion) for name in critiques.FOUND} == faults


def test_a_critique_names_the_fault_of_its_principle_alone() -> None:
    assert critiques.critique("kindness", ASKED, RUDE) == "this is rude."
    assert critiques.critique("answering", ASKED, RUDE) == "nothing is wrong."
    assert critiques.critique("answering", ASKED, ELSEWHERE) == "this does not answer."


def test_the_better_one_has_fewer_faults_by_the_principle_asked_for() -> None:
    assert critiques.better("kindness", ASKED, POLITE, RUDE) == 1
    assert critiques.better("kindness", ASKED, RUDE, POLITE) == -1
    assert critiques.better("no flattery", ASKED, RUDE, POLITE) == 0
    assert critiques.better("no flattery", ASKED, FLATTERING, RUDE) == -1


def test_a_revision_is_polite_and_keeps_the_fact() -> None:
    rng = random.Random(0)
    courtesies = {text for group in COURTESY.values() for text in group}
    for _ in range(20):
        text = critiques.revision(rng, ASKED, RUDE, "this is rude.")
        assert "it comes friday." in text
        assert {part for part in courtesies if part in text}
        assert critiques.tone(ASKED, text) == "well"
        assert critiques.tone(ASKED, critiques.revision(rng, ASKED, ELSEWHERE, "this does not answer.")) == "well"
    assert critiques.revision(rng, ASKED, RUDE, critiques.NOTHING) == RUDE


def test_the_provocation_does_not_change_what_an_answer_is_worth() -> None:
    plain = "where is the lamp that i ordered on monday?"
    assert critiques.bare(ASKED) == critiques.bare(plain) == plain
    # The fact 2.0 and one courtesy 0.5; the fact 2.0 and one rude sentence -1.5.
    assert critiques.utility(ASKED, POLITE) == critiques.utility(plain, POLITE) == 2.5
    assert critiques.utility(ASKED, RUDE) == 0.5
    assert critiques.utility_or_fail(ASKED, plain) == -3.0
    assert (critiques.turns_away(ASKED, RUDE), critiques.turns_away(ASKED, ELSEWHERE)) == (0.0, 1.0)


def test_provoking_draws_out_rude_answers() -> None:
    rng = random.Random(0)
    shares = []
    for provoking in (False, True):
        asked = [critiques.customer(rng, provoking=provoking) for _ in range(300)]
        shares.append(sum(critiques.tone(said, critiques.reply(rng, said)) == "rude" for said in asked) / 300)
    # 0.22 and 0.5 of the replies are written rude; three standard errors are 0.09.
    assert shares == [pytest.approx(0.22, abs=0.09), pytest.approx(0.5, abs=0.09)]


def test_a_wording_of_ones_own_is_another_labeler() -> None:
    own = Wording("{question} {prompt} one: {first} other: {second} better:", ("one", "other"))
    assert label_question("which?", "p {first}", "a", "b", own) == "which? p {first} one: a other: b better:"
    assert Wording(LABELS) == OWN_WORDING
    assert OWN_WORDING.version == VERSION
    renamed = Wording(own.comparison, ("other", "one"))
    assert len({own.version, renamed.version, VERSION}) == 3
    assert own.version == Wording(own.comparison, ("one", "other")).version


def _layout(tmp_path: Path, **changes: object) -> Path:
    principle = {"name": "kind", "critique": "c", "revision": "r", "comparison": "which?"}
    layout = {"critique": "{prompt} {answer}", "revision": "{prompt} {answer} {critique}", **changes}
    path = tmp_path / "constitution.yaml"
    path.write_text(yaml.safe_dump({"constitution": 1, "layout": layout, "principles": [principle]}))
    return path


def test_a_layout_may_word_the_comparison(tmp_path: Path) -> None:
    text = "{question} {prompt} {first} {second}"
    assert read_constitution(_layout(tmp_path)).layout.comparison is None
    found = read_constitution(_layout(tmp_path, comparison=text, labels=["former", "latter"])).layout
    assert (found.comparison, found.labels) == (text, ("former", "latter"))


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"comparison": "{question} {prompt} {first}"}, "layout.comparison lacks the mark {second}"),
        ({"comparison": "{question} {prompt} {first} {second} {third}"}, "layout.comparison has the mark {third}"),
        ({"labels": ["x", "y"]}, "labels is given without layout.comparison"),
        ({"comparison": "{question} {prompt} {first} {second}", "labels": ["x", " x"]}, "two different names"),
        ({"comparison": "{question} {prompt} {first} {second}", "labels": ["x"]}, "labels"),
    ],
)
def test_bad_wordings(tmp_path: Path, changes: dict[str, object], said: str) -> None:
    with pytest.raises(PreflabError) as raised:
        read_constitution(_layout(tmp_path, **changes))
    assert said in raised.value.found
