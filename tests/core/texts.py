"""Texts that break careless tokenizers and screens, and texts on which number formats are compared."""

import random

TEXTS = [
    "I prefer oat milk in my coffee because it",
    "The capital of France is Paris, and the capital of Germany is",
    "def fibonacci(n):\n    if n < 2:\n        return n\n    return",
    "12 × 34 = 408; 日本語",
]
"""Prose, facts, code, digits and other scripts: 59 positions of SmolLM2."""

HOSTILE = [
    "",
    " ",
    "I prefer oat milk in",
    "[/b] [bold red]x[/] [link=file:///etc/passwd]y[/link] {{ x }} <script>alert(1)</script> %s %n",
    "\x1b[2J\x1b[31mred\x1b[0m\x1b]52;c;aGk=\x07\x1b]0;title\x07",
    "a\x00b\x00",
    "".join(map(chr, range(0x20))) + "\x7f" + "".join(map(chr, range(0x80, 0xA0))),
    "tab\tnewline\ncarriage\r\nform\f",
    "日本語と中文 한국어 ไทย हिन्दी עברית العربية",
    "👩‍👩‍👧‍👦 👩🏽‍🚀 🏳️‍🌈 ❤️ 1️⃣",
    "🇻🇳🇩🇪🇯🇵🇧",
    "e\u0301 Z͑ͫ̓ͪ̂ͫ̽͏̴̙̤̞͉͚̯̞̠͍A̴̵̜̰͔ͫ͗͢L̠ͨͧͩ͘G̴̻͈͍͔̹̑͗̎̅͛́Ǫ̵̹̻̝̳͂̌̌͘",
    "\u202eright to left\u202c \u2066x\u2069 \u200b\u200e\ufeff",
    "\ufffd is a character like any other",
    "\U0010ffff\U000e0001\ue000",
    "<|endoftext|><|fim_prefix|><|endofprompt|><|im_start|>",
    "   \n\n\n   \t  \n",
    "ﷺ" * 50,
    "don't DON'T we'll 1234567890 3.14159 x=y+z;",
]
"""Markup, escapes, control characters, many scripts, combining characters, special tokens, white space."""
HALVES = ["\ud83d", "\ude00", "a\ud83db", "\ude00\ud83d", "\ud800 \udfff", "\ud83d\ude00"]
"""Lone halves of surrogate pairs, and one whole pair."""

LETTERS = "abcdetT 's\n\t 0192٣½²Ⅷéßạ日本\u0301\u0338\u200b👩‍🚀\x04\x1c\xff\x85\u00a0\u2028<|im_start|>.,!-_\r▁"
"""Characters on which tokenizers differ."""
WORDS = [
    "the",
    "house",
    "oat",
    "milk",
    " I",
    "def ",
    "self.",
    "return",
    "日本語",
    "the\n",
    "don't",
    "  ",
    "3333",
    "<tool>",
]
PLANES = [(0x20, 0x7F), (0x80, 0x3000), (0x3000, 0xD800), (0xE000, 0x110000)]


def random_texts(count: int) -> list[str]:
    """Hostile text, then random text: of characters on which tokenizers differ, of words, and of all of Unicode."""
    numbers = random.Random(0)
    makers = (
        lambda: "".join(numbers.choices(LETTERS, k=numbers.randrange(1, 30))),
        lambda: "".join(numbers.choices(WORDS, k=numbers.randrange(1, 8))),
        lambda: "".join(chr(numbers.randrange(*numbers.choice(PLANES))) for _ in range(12)),
    )
    return [*HOSTILE, *(makers[number % 3]() for number in range(count - len(HOSTILE)))]
