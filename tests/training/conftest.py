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

# As Mistral-7B-Instruct-v0.2 has it: the template itself writes the one BOS of a conversation.
MISTRAL_TEMPLATE = (
    "{{ bos_token }}{% for message in messages %}{% if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}"
    "{{ raise_exception('Conversation roles must alternate user/assistant/user/assistant/...') }}{% endif %}"
    "{% if message['role'] == 'user' %}{{ '[INST] ' + message['content'] + ' [/INST]' }}"
    "{% else %}{{ message['content'] + eos_token }}{% endif %}{% endfor %}"
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


@pytest.fixture(scope="session")
def tiny_mistral(tmp_path_factory):
    """Folder of a Mistral of two layers with random weights in bf16 and a sliding window of 12 tokens. Its tokenizer
    puts BOS before any text and has no pad token, like that of Mistral-7B-Instruct-v0.2."""
    import torch
    from tokenizers.processors import TemplateProcessing
    from transformers import MistralConfig, MistralForCausalLM

    torch.manual_seed(1)
    tokenizer, backend = word_tokenizer(
        ["[UNK]", "<s>", "</s>", "[INST]", "[/INST]"], bos_token="<s>", eos_token="</s>"
    )
    tokenizer.backend_tokenizer.post_processor = TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])
    tokenizer.add_tokens(["[INST]", "[/INST]"])
    tokenizer.chat_template = MISTRAL_TEMPLATE
    config = MistralConfig(
        vocab_size=backend.get_vocab_size(),
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        sliding_window=12,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        dtype="bfloat16",
    )
    folder = tmp_path_factory.mktemp("tiny-mistral")
    MistralForCausalLM(config).to(torch.bfloat16).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def tiny_roberta(tmp_path_factory):
    """Folder of a RoBERTa of two layers with random weights, whose tokenizer reads a pair as <s> A </s></s> B </s>."""
    import torch
    from tokenizers.processors import RobertaProcessing
    from transformers import RobertaConfig, RobertaModel

    torch.manual_seed(1)
    tokenizer, backend = word_tokenizer(
        ["<s>", "<pad>", "</s>", "[UNK]"],
        bos_token="<s>",
        pad_token="<pad>",
        eos_token="</s>",
        cls_token="<s>",
        sep_token="</s>",
    )
    tokenizer.backend_tokenizer.post_processor = RobertaProcessing(("</s>", 2), ("<s>", 0))
    config = RobertaConfig(
        vocab_size=backend.get_vocab_size(),
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=2,
        max_position_embeddings=514,
        type_vocab_size=1,
    )
    folder = tmp_path_factory.mktemp("tiny-roberta")
    RobertaModel(config).save_pretrained(folder)
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
