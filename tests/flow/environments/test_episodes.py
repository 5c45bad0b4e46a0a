"""Episodes with an environment: what the policy reads and wrote, what is masked, and how faults are named."""

from __future__ import annotations

import time
from typing import Any

import pytest
import torch

from preflab.conversations.thinking import MARK
from preflab.environments.loading import EnvironmentSource
from preflab.environments.protocol import Reply
from preflab.errors import PreflabError
from preflab.messages import Message
from preflab.records import Prompt
from preflab.training.batches import TokenSequence
from preflab.training.protocols import Episode
from preflab.training.rollouts import Rollouts
from talking_world import Echo, Endless, talking_episodes, talking_renderer, talking_trunk

ONE, TWO = Prompt.make(text="one"), Prompt.make(text="two", columns={"topic": "x"})


def play(environment: Any = Echo, seeds: tuple[int, ...] = (1, 2), **other: Any) -> list[Episode]:
    return talking_episodes(talking_trunk(), environment, **other).play(
        [ONE, TWO][: len(seeds)], seeds, [7, 8][: len(seeds)]
    )


def test_the_policy_reads_the_template_of_the_whole_dialogue() -> None:
    renderer = talking_renderer()
    for episode, first in zip(play(), ("Say 7", "Say 8"), strict=True):
        assert episode.prompt.messages == (Message("user", first),)
        roles = [turn.role for turn in episode.turns]
        assert roles == ["assistant", "user", "assistant", "user", "assistant"]
        assert [turn.content for turn in episode.turns[1::2]] == ["No 1", "No 2"]
        assert episode.last_turn == "No 3"
        decoded = renderer.tokenizer.decode(list(episode.prompt_ids + episode.token_ids))
        assert decoded.startswith(f"<|im_start|>user\n{first}<|im_end|>\n<|im_start|>assistant\n")
        assert decoded.count("<|im_start|>user\nNo 1<|im_end|>\n<|im_start|>assistant\n") == 1
        assert "No 3" not in decoded


def test_only_the_turns_of_the_policy_are_written() -> None:
    for episode in play():
        assert episode.written is not None
        sampled = [token for token, mine in zip(episode.token_ids, episode.written, strict=True) if mine]
        text = talking_renderer().tokenizer.decode(sampled).replace("<|im_end|>", "").replace("<|endoftext|>", "")
        assert text == "".join(turn.content for turn in episode.turns[::2])
        assert 3 <= len(sampled) <= 12
        assert episode.written[0]
        assert episode.written[-1], "nothing after the policy's last token"


def test_each_turn_has_its_reward_at_its_last_token() -> None:
    rollouts = Rollouts.of_episodes(play())
    assert rollouts.turn_rewards.sum(1).tolist() == [6.0, 6.0]
    for row in range(2):
        mask, rewards = rollouts.completion_mask[row].tolist(), rollouts.turn_rewards[row].tolist()
        ends = [t for t, mine in enumerate(mask) if mine and not (t + 1 < len(mask) and mask[t + 1])]
        assert {t: rewards[t] for t in ends} == dict(zip(ends, (1.0, 2.0, 3.0), strict=True))
        assert sum(map(bool, rewards)) == 3
    assert [row["num_turns"] for row in rollouts.columns] == [3.0, 3.0]
    long = [float(len(turns[-1].content)) for turns in rollouts.turns]
    assert [row["long"] for row in rollouts.columns] == long, "that of the last reply"


def test_an_episode_does_not_depend_on_the_others() -> None:
    both, alone = play(), play(seeds=(1,))
    assert (both[0].token_ids, both[0].turns) == (alone[0].token_ids, alone[0].turns)
    assert both[0].logps == pytest.approx(alone[0].logps, abs=1e-4)
    assert play(seeds=(3,))[0].token_ids != alone[0].token_ids


def test_log_probabilities_are_those_of_one_plain_pass_over_the_dialogue() -> None:
    """Sampler, trainer and a forward pass of the model over prompt and all turns agree on the policy's tokens."""
    trunk = talking_trunk()
    rollouts = Rollouts.of_episodes(talking_episodes(trunk).play([ONE, TWO], (1, 2), (7, 8)))
    with torch.no_grad():
        logps = trunk(trunk.collate(rollouts.sequences), ("policy",))["policy"].logps
        for row, sequence in enumerate(rollouts.sequences):
            ids = torch.tensor([sequence.prompt_ids + sequence.completion_ids])
            plain = trunk.language_model("policy")(ids).logits[0].log_softmax(-1)
            for t, token in enumerate(sequence.completion_ids):
                if rollouts.completion_mask[row, t]:
                    expected = float(plain[len(sequence.prompt_ids) + t - 1, token])
                    assert float(logps[row, t]) == pytest.approx(expected, abs=1e-5)
                    assert float(rollouts.sampler_logps[row, t]) == pytest.approx(expected, abs=1e-5)
                else:
                    assert float(rollouts.sampler_logps[row, t]) == 0.0


def test_the_sampler_keeps_one_state_per_token_of_the_policy() -> None:
    trunk = talking_trunk()
    rollouts = Rollouts.of_episodes(talking_episodes(trunk).play([ONE, TWO], (1, 2), (7, 8)))
    states, batch = rollouts.states_of([0, 1]), trunk.collate(rollouts.sequences)
    assert states is not None
    with torch.no_grad():
        own = trunk(batch, ("policy",))["policy"].logps
        reused = trunk(batch, ("policy",), policy_states=states)["policy"].logps
    assert torch.allclose(own, reused, atol=1e-5)


def test_limits_of_turns_and_tokens_cut_an_episode() -> None:
    by_turns = play(Endless, max_turns=3)
    assert [len(one.turns) for one in by_turns] == [5, 5]
    assert not any(one.finished for one in by_turns)
    assert by_turns[0].last_turn == "more", "what it said last is kept for people"
    by_tokens = play(Endless, max_turns=100)
    assert all(len(one.prompt_ids) + len(one.token_ids) <= 160 for one in by_tokens)
    assert all(5 < len(one.turns) < 40 for one in by_tokens)
    ended = [one.finished for one in play(max_new_tokens=40)]
    assert all(isinstance(one, bool) for one in ended)


def test_a_model_without_template_goes_on_in_plain_text() -> None:
    episodes = talking_episodes(talking_trunk())
    episodes.renderer.tokenizer.chat_template = None
    episodes = type(episodes)(**{**vars(episodes), "renderer": type(episodes.renderer)(episodes.renderer.tokenizer)})
    (episode,) = episodes.play([ONE], (1,), (7,))
    assert episode.prompt.text == "Say 7"
    decoded = talking_renderer().tokenizer.decode(list(episode.token_ids))
    assert decoded.count("No 1") == decoded.count("No 2") == 1


class Turns(Echo):
    """Begins with whole turns."""

    def reset(self, prompt: Prompt, seed: int) -> Any:
        super().reset(prompt, seed)
        return [Message("system", "Be kind."), Message("user", "Hi")]


class Silent(Echo):
    """Lets the prompt be the first turn."""

    def reset(self, prompt: Prompt, seed: int) -> Any:
        super().reset(prompt, seed)


def test_the_first_turn_may_be_turns_or_the_prompt_itself() -> None:
    turns = play(Turns)[1].prompt
    assert turns.messages == (Message("system", "Be kind."), Message("user", "Hi"))
    assert turns.columns == {"topic": "x"}
    assert play(Silent)[1].prompt.messages == (Message("user", "two"),)
    asked = Prompt.make(messages=(Message("system", "Be short."), Message("user", "Who?")))
    episodes = talking_episodes(talking_trunk())
    assert episodes.play([asked], (1,), (7,))[0].prompt.messages == (
        Message("system", "Be short."),
        Message("user", "Say 7"),
    )


def broken(**methods: Any) -> Any:
    """An environment like Echo, with other methods."""
    return type("Broken", (Echo,), methods)


def fails(self: Any, completion: str) -> Reply:
    if self.turn == 1:
        raise ValueError("no such move")
    return Echo.step(self, completion)


def fails_by_rule(self: Any, completion: str) -> Reply:
    raise PreflabError("no such move", "a move", "move")


CASES: dict[str, tuple[Any, str]] = {
    "raises": (broken(step=fails), r"episode 0 \(.*\), turn 2: step raised ValueError: no such move"),
    "exits": (broken(step=lambda self, completion: exit()), "turn 1: step raised SystemExit"),
    "no reply": (broken(step=lambda self, completion: 1.0), r"step returned 1.0\na preflab.environments"),
    "end as text": (
        broken(step=lambda self, completion: Reply("hm", end="no")),  # type: ignore[arg-type]
        "end is 'no'",
    ),
    "no turn": (broken(step=lambda self, completion: Reply(reward=1.0)), "neither a turn nor the end"),
    "turn": (broken(step=lambda self, completion: Reply(3)), r"the next turn is 3\na text"),
    "nan": (broken(step=lambda self, completion: Reply("a", reward=float("nan"))), "reward is nan"),
    "column": (broken(step=lambda self, c: Reply("a", columns={"x": "y"})), r"column x is 'y'\na finite number"),
    "large": (broken(step=lambda self, c: Reply("a", reward=1e39)), r"reward is 1e\+39\na finite number"),
    "nan beside a column": (
        broken(step=lambda self, c: Reply("a", reward=float("nan"), columns={"reward": 1.0})),
        "turn 1: reward is nan",
    ),
    "no columns": (broken(step=lambda self, c: Reply("a", columns=None)), "turn 1: columns is None"),  # type: ignore[arg-type]
    "own count": (broken(step=lambda self, c: Reply("a", columns={"num_turns": 9.0})), "a column named num_turns"),
    "own error": (broken(step=fails_by_rule), r"turn 1: step: no such move\na move\nmove"),
    "exits in time": (broken(step=lambda self, completion: exit()), "turn 1: step raised SystemExit"),
    "template": (broken(step=lambda self, c: Reply(MARK)), r"turn 1: .*does not write the turn"),
    "reset": (broken(reset=lambda self, prompt, seed: 1 / 0), r"episode 0 \(.*\): reset raised ZeroDivisionError"),
    "first": (broken(reset=lambda self, prompt, seed: 3), r"reset returned 3\na text"),
    "start": (broken(__init__=lambda self: [].pop()), r"Broken\(\) raised IndexError"),
    "slow": (broken(step=lambda self, completion: time.sleep(5)), "step returned nothing within 0.2 s"),
    "long": (broken(reset=lambda self, prompt, seed: "x" * 300), "tokens before the first turn"),
}


@pytest.mark.parametrize("name", list(CASES))
def test_a_fault_names_the_episode_and_the_turn(name: str) -> None:
    environment, message = CASES[name]
    with pytest.raises(PreflabError, match=message) as error:
        play(environment, timeout_s=0.2 if name == "slow" else 20.0 if name == "exits in time" else None)
    assert "never counts as a reward of 0" in error.value.do or name in ("long", "own error", "template")


class Uneven(Echo):
    def step(self, completion: str) -> Reply:
        return Reply(end=True, columns={"a": 1.0} if self.seed == 7 else {"b": 1.0})


def test_columns_have_the_same_names_in_every_episode() -> None:
    with pytest.raises(PreflabError, match=r"columns \(a\), another with \(b\)"):
        play(Uneven)


def test_columns_have_the_same_names_in_later_episodes() -> None:
    """The first call of `play` has columns named `a`, the second `b`, as after a change of groups within a step."""
    episodes = talking_episodes(talking_trunk(), Uneven)
    assert set(episodes.play([ONE], (1,), (7,))[0].columns) == {"num_turns", "a"}
    with pytest.raises(PreflabError, match=r"columns \(a\), another with \(b\)"):
        episodes.play([ONE], (1,), (8,))


class Whole(Echo):
    """Answers with whole numbers where truth values and floats are meant, and writes into its prompt."""

    def reset(self, prompt: Prompt, seed: int) -> str:
        prompt.columns["topic"] = prompt.columns.get("topic", "") + "!"  # type: ignore[index]
        self.topic = prompt.columns["topic"]
        return super().reset(prompt, seed)

    def step(self, completion: str) -> Reply:
        return Reply(self.topic, reward=torch.tensor(2), end=0)  # type: ignore[arg-type]


def test_whole_numbers_become_truth_values_and_floats() -> None:
    """Of integers, `~finished` would be −1 or −2 in place of a truth value."""
    rollouts = Rollouts.of_episodes(play(Whole))
    for tensor in (rollouts.finished, rollouts.terminal, rollouts.closed):
        assert tensor.dtype == torch.bool
    assert not rollouts.finished.any()
    assert set(rollouts.turn_rewards.flatten().tolist()) == {0.0, 2.0}


def test_an_episode_does_not_change_the_prompt_of_the_next() -> None:
    prompt = Prompt.make(text="two", columns={"topic": "x"})
    episodes = talking_episodes(talking_trunk(), Whole).play([prompt, prompt], (1, 2), (7, 7))
    assert [episode.last_turn for episode in episodes] == ["x!", "x!"]
    assert prompt.columns == episodes[0].prompt.columns == {"topic": "x"}


class NoStep:
    def reset(self, prompt: Prompt, seed: int) -> str:
        return ""


class NoSeed(Echo):
    def reset(self, prompt: Prompt) -> str:  # type: ignore[override]
        return ""


def test_a_class_that_is_no_environment_is_refused_when_it_is_loaded() -> None:
    with pytest.raises(PreflabError, match=r"no method `step`\n`step\(completion\)`"):
        EnvironmentSource.load(f"{__name__}:NoStep")
    with pytest.raises(PreflabError, match=r"a method `reset`\(prompt\)\n`reset\(prompt, seed\)`"):
        EnvironmentSource.load(f"{__name__}:NoSeed")
    with pytest.raises(PreflabError, match="near it: Echo"):
        EnvironmentSource.load("talking_world:Ecco")
    with pytest.raises(PreflabError, match="does not name an environment") as error:
        EnvironmentSource.load("talking_world")
    assert error.value.do == "write for example `my_game:Guess`"


def test_prompts_come_from_the_class_where_the_recipe_names_none() -> None:
    assert [one.text for one in EnvironmentSource.load("talking_world:Echo").prompts()] == ["one", "two"]
    with pytest.raises(PreflabError, match=r"has no `prompts\(\)`"):
        EnvironmentSource("x:NoStep", NoStep).prompts()  # type: ignore[arg-type]
    for wrong, shown in (([], r"\[\]"), (None, "None"), ("a text", "'a text'"), ([3], r"\[3\]")):
        with pytest.raises(PreflabError, match=rf"prompts\(\) returned {shown}\na list of texts or prompts"):
            EnvironmentSource("x:Empty", broken(prompts=staticmethod(lambda wrong=wrong: wrong))).prompts()


def test_sequences_keep_the_mask() -> None:
    sequence = Rollouts.of_episodes(play()).sequences[0]
    assert isinstance(sequence, TokenSequence)
    assert sequence.policy_tokens is not None
    assert not all(sequence.policy_tokens)
