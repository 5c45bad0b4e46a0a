"""Chat templates of our own, each in the manner of a family, with what it writes worked out by hand.

`PROMPT` is what stands before the answer to `ASKED`, `ANSWER` what the template itself writes for the answer `Hello` up
to the token that ends the turn; what comes after it opens the next turn.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from preflab.records import Message

BE_KIND, HI, HELLO = Message("system", "Be kind."), Message("user", "Hi"), Message("assistant", "Hello")

CHATML = """{% for m in messages %}<|im_start|>{{ m.role }}
{{ m.content }}<|im_end|>
{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant
{% endif %}"""

LLAMA2 = """{% for m in messages %}{% if m.role == 'system' %}{% set system = m.content %}\
{% elif m.role == 'user' %}{{ bos_token }}[INST] {% if loop.index0 == 1 and messages[0].role == 'system' %}\
<<SYS>>{{ messages[0].content }}<</SYS>>{% endif %}{{ m.content }} [/INST]\
{% else %} {{ m.content }} {{ eos_token }}{% endif %}{% endfor %}"""

LLAMA3 = """{{ bos_token }}{% for m in messages %}<|start_header_id|>{{ m.role }}<|end_header_id|>

{{ m.content | trim }}<|eot_id|>{% endfor %}{% if add_generation_prompt %}\
<|start_header_id|>assistant<|end_header_id|>

{% endif %}"""

LLAMA4 = """{{ bos_token }}{% for m in messages %}<|header_start|>{{ m.role }}<|header_end|>

{% if m.content is string %}{{ m.content }}{% else %}{% for part in m.content %}{{ part.text }}{% endfor %}{% endif %}\
<|eot|>{% endfor %}{% if add_generation_prompt %}<|header_start|>assistant<|header_end|>

{% endif %}"""

GEMMA = """{{ bos_token }}{% for m in messages %}{% if m.role == 'system' %}\
{{ raise_exception('System role not supported') }}{% endif %}\
<start_of_turn>{{ 'model' if m.role == 'assistant' else m.role }}
{{ m.content | trim }}<end_of_turn>
{% endfor %}{% if add_generation_prompt %}<start_of_turn>model
{% endif %}"""

PHI = """{% for m in messages %}<|{{ m.role }}|>
{{ m.content }}<|end|>
{% endfor %}{% if add_generation_prompt %}<|assistant|>
{% else %}{{ eos_token }}{% endif %}"""

MISTRAL = """{{ bos_token }}{% for m in messages %}{% if m.role == 'system' %}{{ raise_exception('no system turns') }}\
{% elif m.role == 'user' %}[INST] {{ m.content }} [/INST]{% else %} {{ m.content }}{{ eos_token }}{% endif %}\
{% endfor %}"""

MISTRAL_SYSTEM = """{{ bos_token }}{% for m in messages %}{% if m.role == 'user' %}[INST]\
{% if loop.last and messages[0].role == 'system' %}{{ messages[0].content }}

{% endif %}{{ m.content }}[/INST]{% elif m.role == 'assistant' %}{{ m.content }}{{ eos_token }}{% endif %}\
{% endfor %}"""

THINKING = """{%- set ns = namespace(last=0) %}{%- for m in messages %}{%- if m.role == 'user' %}\
{%- set ns.last = loop.index0 %}{%- endif %}{%- endfor %}\
{%- for m in messages %}{{- '<|im_start|>' + m.role + '\n' }}\
{%- set words = m.content or '' %}{%- set thought = m.reasoning_content or '' %}\
{%- if m.role == 'assistant' and '</think>' in words %}\
{%- set thought = words.split('</think>')[0].split('<think>')[-1].strip('\n') %}\
{%- set words = words.split('</think>')[-1].lstrip('\n') %}{%- endif %}\
{%- if m.role == 'assistant' and loop.index0 > ns.last and (loop.last or thought) %}\
{{- '<think>\n' + thought + '\n</think>\n\n' }}{%- endif %}{{- words }}\
{%- for c in m.tool_calls or [] %}{{- '<tool_call>' + c.function.name + ' ' + (c.function.arguments | tojson) \
+ '</tool_call>' }}{%- endfor %}{{- '<|im_end|>\n' }}{%- endfor %}\
{%- if add_generation_prompt %}{{- '<|im_start|>assistant\n' }}{%- endif %}"""

FALCON = """{% for m in messages %}{% if not loop.first %}{{ '\n\n' }}{% endif %}\
{{ m.role | capitalize }}: {{ m.content }}{% endfor %}{% if add_generation_prompt %}{{ '\n\nAssistant:' }}{% endif %}"""

HARMONY = """{% for m in messages %}{% if m.role == 'assistant' %}{% if m.thinking %}\
<|start|>assistant<|channel|>analysis<|message|>{{ m.thinking }}<|end|>{% endif %}\
<|start|>assistant<|channel|>final<|message|>{{ m.content }}\
{% if loop.last and not add_generation_prompt %}<|return|>{% else %}<|end|>{% endif %}\
{% else %}<|start|>{{ m.role }}<|message|>{{ m.content }}<|end|>{% endif %}{% endfor %}\
{% if add_generation_prompt %}<|start|>assistant{% endif %}"""

OPENED = """{% for m in messages %}<|im_start|>{{ m.role }}
{{ m.content }}<|im_end|>
{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant
<think>
{% endif %}"""
"""Its generation prompt opens thinking, and its turns hold what the assistant wrote."""

SWITCHED = """{% for m in messages %}<|im_start|>{{ m.role }}
{% set words = m.content.split('</think>')[-1] | trim if m.role == 'assistant' else m.content %}\
{{ words }}<|im_end|>
{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant
{% if enable_thinking is defined and enable_thinking %}<think>
{% elif enable_thinking is defined or '/no_think' in messages[0].content %}<think>

</think>

{% endif %}{% endif %}"""
"""An argument opens or closes thinking in its generation prompt, a system turn closes it; its turns hold none."""

CLOSED_TAG = """{% for m in messages %}{% if m.role == 'user' %}<|user|>{{ m.content }}{% else %}<|assistant|></think>\
{{ m.content.split('</think>')[-1] }}<|end|>{% endif %}{% endfor %}{% if add_generation_prompt %}<|assistant|>\
{{ '<think>' if thinking else '</think>' }}{% endif %}"""
"""Its generation prompt is a closing tag where the assistant is not to think, an opening one where it is."""

TOOLS = "{% for t in tools or [] %}[tool {{ t.function.name }}]{% endfor %}"
WRITES_CALLS = (
    "{% for c in m.tool_calls or [] %}<tool_call>{{ c.function.name }} {{ c.function.arguments | tojson }}"
    "</tool_call>{% endfor %}"
)
ONE_OF_BOTH = TOOLS + LLAMA3.replace(
    "{{ m.content | trim }}", "{% if m.tool_calls %}" + WRITES_CALLS + "{% else %}{{ m.content | trim }}{% endif %}"
)
"""In the manner of Llama 3.1: a turn is words or calls."""

CLOSES_LAST_RESULT = (
    TOOLS + "{% for m in messages %}<|im_start|>{{ m.role }}\n{% if m.role == 'tool' %}<r>{{ m.content }}</r>"
    "{% if not loop.last %}\n{% endif %}<|im_end|>{% else %}{{ m.content }}" + WRITES_CALLS + "<|im_end|>\n{% endif %}"
    "{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
"""In the manner of Hermes 2 and 3: a tool's answer is closed in another way at the end than before another turn."""

PARTS = (
    TOOLS + "{% for m in messages %}{% if m.role == 'user' %}[INST]{{ m.content }}[/INST]{% elif m.role == 'tool' %}"
    "[R]{{ m.content }}[/R]{% else %}{% if m.content is string %}{{ m.content }}{% else %}{% for part in m.content %}"
    "{% if part.type == 'thinking' %}[THINK]{{ part.thinking }}[/THINK]{% else %}{{ part.text }}{% endif %}"
    "{% endfor %}{% endif %}" + WRITES_CALLS + "</s>{% endif %}{% endfor %}"
)
"""In the manner of Ministral 3: thinking is a part of a turn's content."""

UNCLOSED = """{% for t in tools or [] %}[tool {{ t.function.name }}]{% endfor %}{% for m in messages %}\
{% if m.role == 'tool' %}<|observation|>{{ m.content }}{% else %}<|{{ m.role }}|>{{ m.content }}\
{% for c in m.tool_calls or [] %}{{ '\n<tool_call>' + c.function.name }} {{ c.function.arguments | tojson }}\
</tool_call>{% endfor %}{% endif %}{% endfor %}{% if add_generation_prompt %}<|assistant|>{% endif %}"""
"""Its turns end with the mark of the next one, and a call with a mark that stands between two calls, too."""


@dataclass(frozen=True)
class Family:
    """A template, its special tokens, the tokenizer's end token, and what it writes for one exchange."""

    name: str
    template: str | None
    special: tuple[str, ...]
    eos: str
    prompt: str
    answer: str
    end: str
    """The token that ends a turn."""
    configured: tuple[str, ...] = ()
    """Ends that the model's generation_config names beside the tokenizer's."""
    system: bool = True
    """Whether it takes system turns."""
    plain: tuple[str, ...] = ()
    """Tokens that are whole in the vocabulary and stand in decoded text."""


FAMILIES = (
    Family("chatml", CHATML, ("<|im_start|>", "<|im_end|>"), "<|endoftext|>",
           "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n", "Hello<|im_end|>", "<|im_end|>",
           ("<|im_end|>", "<|endoftext|>")),
    Family("llama2", LLAMA2, (), "</s>", "<s>[INST] Hi [/INST]", " Hello </s>", "</s>"),
    Family("llama3", LLAMA3, ("<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"), "<|end_of_text|>",
           "<s><|start_header_id|>user<|end_header_id|>\n\nHi<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\n",
           "Hello<|eot_id|>", "<|eot_id|>"),
    Family("llama4", LLAMA4, ("<|header_start|>", "<|header_end|>", "<|eot|>"), "<|end_of_text|>",
           "<s><|header_start|>user<|header_end|>\n\nHi<|eot|><|header_start|>assistant<|header_end|>\n\n",
           "Hello<|eot|>", "<|eot|>"),
    Family("gemma", GEMMA, ("<start_of_turn>", "<end_of_turn>"), "<eos>",
           "<s><start_of_turn>user\nHi<end_of_turn>\n<start_of_turn>model\n", "Hello<end_of_turn>", "<end_of_turn>",
           system=False),
    Family("phi", PHI, ("<|user|>", "<|assistant|>", "<|system|>", "<|end|>"), "<|endoftext|>",
           "<|user|>\nHi<|end|>\n<|assistant|>\n", "Hello<|end|>", "<|end|>", ("<|end|>",)),
    Family("phi, nothing configured", PHI, ("<|user|>", "<|assistant|>", "<|system|>", "<|end|>"), "<|endoftext|>",
           "<|user|>\nHi<|end|>\n<|assistant|>\n", "Hello<|end|>", "<|end|>"),
    Family("mistral", MISTRAL, (), "</s>", "<s>[INST] Hi [/INST]", " Hello</s>", "</s>", system=False),
    Family("mistral with system", MISTRAL_SYSTEM, ("[INST]", "[/INST]"), "</s>",
           "<s>[INST]Hi[/INST]", "Hello</s>", "</s>"),
    Family("thinking", THINKING, ("<|im_start|>", "<|im_end|>"), "<|im_end|>",
           "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n", "<think>\n\n</think>\n\nHello<|im_end|>",
           "<|im_end|>"),
    Family("falcon", FALCON, (), "<|endoftext|>", "User: Hi\n\nAssistant:", " Hello<|endoftext|>", "<|endoftext|>"),
    Family("harmony", HARMONY, ("<|start|>", "<|end|>", "<|message|>", "<|channel|>", "<|return|>"), "<|return|>",
           "<|start|>user<|message|>Hi<|end|><|start|>assistant", "<|channel|>final<|message|>Hello<|return|>",
           "<|return|>"),
    Family("unclosed", UNCLOSED, ("<|user|>", "<|assistant|>", "<|system|>", "<|observation|>"), "<|endoftext|>",
           "<|user|>Hi<|assistant|>", "Hello<|user|>", "<|user|>", ("<|user|>", "<|observation|>"),
           plain=("<tool_call>", "</tool_call>")),
    Family("no template", None, (), "</s>", "", "", "</s>"),
)  # fmt: skip
"""In the manner of families that differ in how a turn ends."""

BY_NAME = {family.name: family for family in FAMILIES}


def byte_tokenizer(family: Family) -> Any:
    """A tokenizer with a token for every byte: nothing is joined, so each token can be told by its letter."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer = Tokenizer(models.BPE(vocab={letter: place for place, letter in enumerate(alphabet)}, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    marks = dict.fromkeys(("<pad>", "<s>", family.eos, *family.special))
    tokenizer.add_special_tokens([AddedToken(mark, special=True, normalized=False) for mark in marks])
    tokenizer.add_tokens([AddedToken(mark, special=False, normalized=False) for mark in family.plain])
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, pad_token="<pad>", bos_token="<s>", eos_token=family.eos)
    fast.chat_template = family.template
    return fast


def configured_ids(family: Family, tokenizer: Any) -> list[int]:
    """Ids of the ends that the generation configuration names."""
    return [tokenizer.convert_tokens_to_ids(mark) for mark in family.configured]
