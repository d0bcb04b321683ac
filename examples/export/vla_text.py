# SPDX-License-Identifier: Apache-2.0
"""Tokenizers of the kinds that vision-language models have, small."""

from __future__ import annotations

from pathlib import Path

from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors

SPACE = "\N{LOWER ONE EIGHTH BLOCK}"
"""What SentencePiece writes for a blank."""

_WORDS = (
    "pick up the red cube and put it in to on from of bowl drawer robot arm gripper box bottle "
    "open close push pull move lift place take turn what action should Task State Action "
    "In What Out"
)
_LETTERS = "abcdefghijklmnopqrstuvwxyzAIOQSTW0123456789.,:;?!-'\n"


def llama() -> Tokenizer:
    """Byte-pair merges with SentencePiece's blanks; ids 0 to 2 are `<unk>`, `<s>` and `</s>`."""
    vocabulary, merges = _byte_pairs(["<unk>", "<s>", "</s>", SPACE, *_LETTERS], SPACE)
    tokenizer = Tokenizer(models.BPE(vocabulary, merges, unk_token="<unk>", fuse_unk=True))
    tokenizer.normalizer = normalizers.Sequence(
        [normalizers.Prepend(SPACE), normalizers.Replace(" ", SPACE)]
    )
    tokenizer.decoder = decoders.Sequence(
        [decoders.Replace(SPACE, " "), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    tokenizer.post_processor = _beginning("<s>", 1)
    tokenizer.add_special_tokens(["<unk>", "<s>", "</s>"])
    return tokenizer


def unigram(beginning: str | None = None, integers: int = 0) -> Tokenizer:
    """SentencePiece's other kind; ids 0 to 3 are `<pad>`, `<eos>`, `<bos>` and `<unk>`.

    Args:
        beginning: Token that begins every text.
        integers: How many integers have tokens of their own, which come last.
    """
    pieces = ["<pad>", "<eos>", "<bos>", "<unk>", SPACE, *_LETTERS]
    words = [SPACE + word for word in dict.fromkeys(_WORDS.split())]
    scored = [(piece, -10.0) for piece in pieces] + [(word, -5.0) for word in words]
    scored += [(f"{SPACE}{number}", -4.0) for number in range(integers)]
    tokenizer = Tokenizer(models.Unigram(scored, unk_id=3))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="always")
    tokenizer.decoder = decoders.Metaspace(prepend_scheme="always")
    if beginning is not None:
        tokenizer.post_processor = _beginning(beginning, pieces.index(beginning))
    tokenizer.add_special_tokens(pieces[:4])
    return tokenizer


def byte_level() -> Tokenizer:
    """GPT-2's kind: every byte has a token, and blanks belong to the word that follows."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    blank = "\N{LATIN CAPITAL LETTER G WITH DOT ABOVE}"
    vocabulary, merges = _byte_pairs(["<|endoftext|>", *alphabet], blank, 24)
    tokenizer = Tokenizer(models.BPE(vocabulary, merges))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens(["<|endoftext|>"])
    return tokenizer


def write_tokenizer(tokenizer: Tokenizer, path: Path) -> None:
    """Write `tokenizer.json`."""
    path.write_text(tokenizer.to_str(pretty=False))


def _beginning(token: str, number: int) -> processors.TemplateProcessing:
    return processors.TemplateProcessing(single=f"{token} $A", special_tokens=[(token, number)])


def _byte_pairs(
    symbols: list[str], blank: str, most: int = 64
) -> tuple[dict[str, int], list[tuple[str, str]]]:
    """Merges that build words letter by letter, until `most` are made."""
    vocabulary = {symbol: number for number, symbol in enumerate(symbols)}
    merges: list[tuple[str, str]] = []
    for word in dict.fromkeys(_WORDS.split()):
        built = blank
        for letter in word:
            if len(merges) == most:
                return vocabulary, merges
            if built + letter not in vocabulary:
                merges.append((built, letter))
                vocabulary[built + letter] = len(vocabulary)
            built += letter
    return vocabulary, merges
