"""The layouts of well-known files and tools with the formats that read them, for the documentation's table."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Layout:
    """One layout of a file."""

    name: str
    """A data set, a tool, or a common convention."""
    format: str
    """The format that detects and reads it."""
    columns: str
    becomes: str


LAYOUTS = (
    Layout(
        "UltraFeedback binarized",
        "trl-explicit",
        "`prompt` as text, `chosen` and `rejected` as whole dialogues, `score_chosen`, `score_rejected`",
        "a pair: the last turns; the scores of both",
    ),
    Layout(
        "Capybara preferences",
        "trl-explicit",
        "the same with several exchanges, `rating_chosen`, `chosen_model`",
        "a pair: from the first turn in which the two differ",
    ),
    Layout("Tülu 3 preferences", "trl-explicit", "the same with `chosen_rating`, `chosen_model`", "the same"),
    Layout("Orca pairs", "trl-explicit", "`system`, `question`, `chosen`, `rejected`", "a pair after a system turn"),
    Layout(
        "Argilla's Orca pairs",
        "trl-explicit",
        "`system`, `input`, `chosen`, `rejected`, `status`, `chosen_score`",
        "a pair; `status` of `tie`: a tie",
    ),
    Layout(
        "LLaMA-Factory preferences",
        "trl-explicit",
        "`instruction`, `input`, `chosen`, `rejected`; or `conversations`, and two turns",
        "a pair; the input after an empty line",
    ),
    Layout("RewardBench", "trl-explicit", "`prompt`, `chosen`, `rejected`, `chosen_model`, `rejected_model`", "a pair"),
    Layout(
        "tools (TRL)", "trl-explicit", "turns with `tool_calls`, `tools`", "a pair of turns; `tools` with the prompt"
    ),
    Layout(
        "Skywork, UltraFeedback by TRL",
        "trl-implicit",
        "`chosen`, `rejected` as dialogues",
        "a pair: from the first turn in which they differ",
    ),
    Layout(
        "LLaMA-Factory KTO", "trl-unpaired", "`instruction`, `output`, or `messages`; `kto_tag`", "shares of thumbs up"
    ),
    Layout(
        "HelpSteer, HelpSteer2",
        "ratings",
        "`prompt`, `response`, `helpfulness`, `correctness`, `coherence`, `complexity`, `verbosity`",
        "scores by five criteria",
    ),
    Layout("lists of scores", "ratings", "`prompt`, `completions` or `generations`, `scores` or `ratings`", "scores"),
    Layout(
        "PKU-SafeRLHF",
        "pku-saferlhf",
        "`better_response_id`, `safer_response_id`, `is_response_0_safe`",
        "a pair by the better one; criteria `safer` and `safe` of 0 and 1",
    ),
    Layout(
        "HelpSteer2 preferences",
        "helpsteer3",
        "`prompt`, `response_1`, `response_2`, `preference_strength` from -3 to 3",
        "a pair with weight strength / 3",
    ),
    Layout("Nectar", "nectar", "`prompt`, `answers` of `answer`, `model`, `rank`", "a group of seven with its ranks"),
    Layout("RewardBench 2", "rewardbench2", "`chosen` of one, `rejected` of three", "a group of four in two ranks"),
    Layout(
        "completions with one score",
        "ultrafeedback",
        "`prompt`, `completions[]` of `response`, `score`",
        "a group of K, ranks from the score",
    ),
    Layout(
        "LMArena 33k, 100k, MT-bench",
        "chatbot-arena",
        "`conversation_a`, `conversation_b`, `winner`, `turn`",
        "votes; from the first turn in which the two differ to the exchange `turn`",
    ),
    Layout("LMArena 140k", "chatbot-arena", "the same, content in parts, `both_bad`", "the same; both bad: two F"),
    Layout(
        "Argilla's SDK, nested",
        "argilla",
        "`fields`, `responses` → question → list of `value`, `user_id`",
        "judgments by user",
    ),
    Layout(
        "Argilla's SDK, rankings as lists",
        "argilla",
        "`<question>.responses` of lists of field names, best first",
        "judgments by user",
    ),
    Layout("Argilla 1", "argilla", "fields, `<question>`: list of `user_id`, `value`, `status`", "judgments by user"),
    Layout(
        "Label Studio JSON-MIN, CSV",
        "label-studio",
        "the task's fields, the labels' names, `annotator`, `annotation_id`",
        "one judgment per row",
    ),
    Layout(
        "Alpaca",
        "demonstrations",
        "`instruction`, `input`, `output`; `system`, `history`",
        "the input after an empty line",
    ),
    Layout("Dolly", "demonstrations", "`instruction`, `context`, `response`", "the context after an empty line"),
    Layout(
        "prompt and response",
        "demonstrations",
        "`prompt`, `instruction` or `question`; `response`, `output` or `generation`",
        "completions to learn from",
    ),
    Layout(
        "OpenAI's messages, Tülu 3, SmolTalk",
        "demonstrations",
        "`messages`; parts of text, `weight`, `tools`",
        "the turns before the last one that is learned, and that one",
    ),
    Layout("no_robots, UltraChat", "demonstrations", "`prompt` and `messages`", "the same"),
    Layout("ShareGPT", "demonstrations", "`conversations` of `from`, `value`; `system`, `tools`", "the same"),
    Layout("Capybara", "demonstrations", "`conversation` of `input`, `output`", "the same"),
    Layout("GSM8K", "prompts", "`question`, `answer`", "prompts; `answer` reaches reward functions"),
    Layout("OpenR1-Math", "prompts", "`problem`, `solution`, `answer`", "prompts; both reach reward functions"),
    Layout(
        "RLVR",
        "prompts",
        "`messages` that end with the user, `ground_truth`",
        "prompts; `ground_truth` reaches reward functions",
    ),
    Layout(
        "verl",
        "prompts",
        "`prompt` as turns, `reward_model`, `extra_info`",
        "prompts; all columns reach reward functions",
    ),
)
