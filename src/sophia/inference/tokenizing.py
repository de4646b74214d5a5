"""Texts to token ids, beside the event loop and beside the model."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tokenizers import Tokenizer

from sophia.inference.engine import Encoded
from sophia.nouns.errors import ConfigError, InvalidInput

SLICE_TEXTS = 64
"""Texts of one hand-over to the tokenizer, which spreads them over the cores: a call that is given up ends after one."""


class Tokenizing:
    """Cuts texts at ``max_tokens``, or refuses longer ones with ``refuse_longer``. ``prompt`` is put before each."""

    def __init__(self, path: Path, *, max_tokens: int, prompt: str = "", refuse_longer: bool = False) -> None:
        """Raises ``ConfigError`` when the file cannot be loaded."""
        self._tokenizer = _load(path, max_tokens)
        self._max_tokens = max_tokens
        self._prompt = prompt
        self._refuse_longer = refuse_longer
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="tokenizer")

    async def encode(self, texts: Sequence[str]) -> list[Encoded]:
        """Raises ``InvalidInput`` for what is not text, and for longer texts where they are refused (all are counted)."""
        checked = [_valid_unicode(self._prompt + _text(index, text)) for index, text in enumerate(texts)]
        encoded: list[Encoded] = []
        loop = asyncio.get_running_loop()
        for start in range(0, len(checked), SLICE_TEXTS):
            part = checked[start : start + SLICE_TEXTS]
            encoded += await loop.run_in_executor(self._thread, self._encode, part)
        if self._refuse_longer:
            self._refuse([index for index, text in enumerate(encoded) if text.cut])
        return encoded

    async def close(self) -> None:
        await asyncio.to_thread(self._thread.shutdown, cancel_futures=True)

    def _encode(self, texts: list[str]) -> list[Encoded]:
        # Fast: offsets into the text are not worked out.
        return [
            Encoded(encoding.ids, bool(encoding.overflowing)) for encoding in self._tokenizer.encode_batch_fast(texts)
        ]

    def _refuse(self, longer: Sequence[int]) -> None:
        if longer:
            raise InvalidInput(
                f"{len(longer)} of the texts are longer than {self._max_tokens} tokens",
                field=f"texts[{longer[0]}]",
                mend="shorten them, or set embedding.over_long to truncate",
            )


def _text(index: int, text: object) -> str:
    if not isinstance(text, str):
        raise InvalidInput(f"not a text but {type(text).__name__}", field=f"texts[{index}]")
    return text


def _valid_unicode(text: str) -> str:
    """Half surrogate pairs, which JSON can smuggle in, replaced."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return text


def _load(path: Path, max_tokens: int) -> Tokenizer:
    try:
        tokenizer = Tokenizer.from_file(str(path))
    except Exception as error:  # of no type of its own
        raise ConfigError(f"cannot load the tokenizer {path}: {error}") from error
    tokenizer.no_padding()
    tokenizer.enable_truncation(max_length=max_tokens)
    return tokenizer
