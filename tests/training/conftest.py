"""A random language model and a random encoder, small enough to train in a second, made in code."""

import itertools
import json

import pytest

from training.pairs import PreferencePair

WORDS = [
    "i",
    "am",
    "you",
    "are",
    "feel",
    "sad",
    "alone",
    "tired",
    "angry",
    "calm",
    "kind",
    "hear",
    "that",
    "sounds",
    "hard",
    "what",
    "would",
    "help",
    "now",
    "stop",
    "it",
    "just",
    "go",
    "away",
    "be",
    "strong",
    "tell",
    "me",
    "more",
    "about",
    "your",
    "night",
    "sleep",
    "work",
    "family",
    "thank",
    "breathe",
    "here",
    "together",
    "maybe",
    "choose",
]
TEMPLATE = (
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)


def word_tokenizer(special, **options):
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    vocabulary = {token: index for index, token in enumerate([*special, "user", "assistant", "\n", *WORDS])}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Split(" ", behavior="removed"), pre_tokenizers.Split("\n", behavior="isolated")]
    )
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, unk_token="[UNK]", **options), tokenizer


@pytest.fixture(scope="session")
def tiny_policy(tmp_path_factory):
    """Folder of a Llama of two layers with random weights in fp32, and a chat template."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(1)
    tokenizer, _ = word_tokenizer(
        ["[UNK]", "<|im_start|>", "<|im_end|>"],
        bos_token="<|im_start|>",
        eos_token="<|im_end|>",
        pad_token="<|im_end|>",
        additional_special_tokens=["<|im_start|>"],
    )
    tokenizer.chat_template = TEMPLATE
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        eos_token_id=tokenizer.eos_token_id,
        bos_token_id=tokenizer.bos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    folder = tmp_path_factory.mktemp("tiny-policy")
    LlamaForCausalLM(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def tiny_encoder(tmp_path_factory):
    """Folder of a BERT of two layers with random weights."""
    import torch
    from tokenizers.processors import BertProcessing
    from transformers import BertConfig, BertModel

    torch.manual_seed(1)
    tokenizer, backend = word_tokenizer(
        ["[UNK]", "[PAD]", "[CLS]", "[SEP]"], pad_token="[PAD]", cls_token="[CLS]", sep_token="[SEP]"
    )
    tokenizer.backend_tokenizer.post_processor = BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    config = BertConfig(
        vocab_size=backend.get_vocab_size(),
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=2,
        max_position_embeddings=128,
        pad_token_id=1,
    )
    folder = tmp_path_factory.mktemp("tiny-encoder")
    BertModel(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def text(seed, length):
    return " ".join(itertools.islice(itertools.cycle(WORDS[seed % 40 :] + WORDS[: seed % 40]), length))


@pytest.fixture
def pairs():
    """12 prompts with two pairs each; chosen responses have a word that rejected ones lack."""
    return [
        PreferencePair(
            prompt_id=f"q{prompt}",
            prompt=text(prompt, 6),
            chosen_id=f"q{prompt}-good-{number}",
            chosen=f"kind kind {text(7 * prompt + number, 5)}",
            rejected_id=f"q{prompt}-bad-{number}",
            rejected=f"stop stop {text(11 * prompt + number, 4 + number)}",
        )
        for prompt in range(12)
        for number in range(2)
    ]


@pytest.fixture
def pairs_file(pairs, tmp_path):
    from training.pairs import trl_pair

    return write_lines(tmp_path / "pairs.jsonl", [trl_pair(pair) for pair in pairs])


def write_lines(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def command_line(options):
    """Options as a person would type them; None leaves one out."""
    line = []
    for name, value in options.items():
        flag = f"--{name.replace('_', '-')}"
        if value is True:
            line.append(flag)
        else:
            values = value if isinstance(value, list) else [value]
            line += [f"{flag}={item}" for item in values if item is not None]
    return line
