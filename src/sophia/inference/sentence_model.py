"""A sentence encoder as sentence-transformers lays it out on disk: what to run, how to pool, how long a text may be.

The layout is that of ``SentenceTransformer.save``: ``modules.json`` lists a transformer, a pooling and perhaps a
normalization (https://sbert.net/docs/sentence_transformer/usage/custom_models.html).
"""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from sophia.nouns.errors import ConfigError

T = TypeVar("T")

SPARE_POSITIONS = {"roberta": 1, "xlm-roberta": 1, "camembert": 1}
"""Architectures whose positions begin after the padding token's number: that one, and so many more, are never used."""


class PoolingMode(StrEnum):
    MEAN = "mean"
    CLS = "cls"
    MAX = "max"
    LAST = "lasttoken"


class EncoderConfig(msgspec.Struct, frozen=True):
    """What is needed of the transformer's ``config.json``."""

    model_type: str
    hidden_size: int
    num_attention_heads: int
    num_hidden_layers: int
    max_position_embeddings: int
    layer_norm_eps: float
    hidden_act: str
    pad_token_id: int = 0

    @property
    def first_position(self) -> int:
        spare = SPARE_POSITIONS.get(self.model_type)
        return 0 if spare is None else self.pad_token_id + spare

    @property
    def positions(self) -> int:
        return self.max_position_embeddings - self.first_position


class SentenceModel(msgspec.Struct, frozen=True, kw_only=True):
    folder: Path
    """Of the transformer: ``config.json``, ``tokenizer.json`` and ``model.safetensors`` are in it."""
    config: EncoderConfig
    pooling: PoolingMode
    normalize: bool
    max_tokens: int
    """Special tokens included."""
    prompt: str = ""
    """Put before every text."""

    @property
    def tokenizer(self) -> Path:
        return self.folder / "tokenizer.json"

    @property
    def weights(self) -> Path:
        return self.folder / "model.safetensors"


class _Module(msgspec.Struct, frozen=True):
    type: str
    path: str = ""

    @property
    def kind(self) -> str:
        return self.type.rsplit(".", 1)[-1]


class _Lengths(msgspec.Struct, frozen=True):
    max_seq_length: int | None = None
    do_lower_case: bool = False


class _Prompts(msgspec.Struct, frozen=True):
    prompts: dict[str, str] = msgspec.field(default_factory=dict)
    default_prompt_name: str | None = None


def read_sentence_model(folder: Path) -> SentenceModel:
    """Raises ``ConfigError`` that names the file and what it asks for that is not supported."""
    modules = _read(folder / "modules.json", list[_Module])
    kinds = [module.kind for module in modules]
    if kinds[:2] != ["Transformer", "Pooling"] or kinds[2:] not in ([], ["Normalize"]):
        raise ConfigError(
            f"{folder}: modules {', '.join(kinds)} are not supported", mend="Transformer, Pooling, perhaps Normalize"
        )
    transformer = folder / modules[0].path
    config = _read(transformer / "config.json", EncoderConfig)
    lengths = _read(transformer / "sentence_bert_config.json", _Lengths, _Lengths())
    if lengths.do_lower_case:
        raise ConfigError(f"{folder}: do_lower_case is not supported", mend="a tokenizer that lowers case itself")
    pooling = _read(folder / modules[1].path / "config.json", dict[str, Any])
    prompts = _read(folder / "config_sentence_transformers.json", _Prompts, _Prompts())
    prompt = prompts.prompts.get(prompts.default_prompt_name or "", "")
    if prompt and pooling.get("include_prompt") is False:
        raise ConfigError(f"{folder}: pooling without the prompt is not supported")
    return SentenceModel(
        folder=transformer,
        config=config,
        pooling=_pooling_mode(folder, pooling),
        normalize=len(modules) == 3,
        max_tokens=min(lengths.max_seq_length or config.positions, config.positions),
        prompt=prompt,
    )


def _pooling_mode(folder: Path, pooling: dict[str, Any]) -> PoolingMode:
    """Newer files name the mode, older ones have a flag for each."""
    named = pooling.get("pooling_mode")
    flags = {
        "pooling_mode_mean_tokens": "mean",
        "pooling_mode_cls_token": "cls",
        "pooling_mode_max_tokens": "max",
        "pooling_mode_lasttoken": "lasttoken",
        "pooling_mode_mean_sqrt_len_tokens": "mean_sqrt_len",
        "pooling_mode_weightedmean_tokens": "weightedmean",
    }
    wanted = [named] if isinstance(named, str) else [mode for flag, mode in flags.items() if pooling.get(flag)]
    try:
        (mode,) = wanted
        return PoolingMode(mode)
    except ValueError as error:
        raise ConfigError(
            f"{folder}: pooling by {' and '.join(map(str, wanted)) or 'nothing'} is not supported",
            mend=f"one of {', '.join(PoolingMode)}",
        ) from error


def _read(path: Path, kind: type[T], default: T | None = None) -> T:
    try:
        return msgspec.json.decode(path.read_bytes(), type=kind)
    except FileNotFoundError as error:
        if default is not None:
            return default
        raise ConfigError(f"not a sentence-transformers model: {path} is missing") from error
    except (OSError, msgspec.DecodeError) as error:
        raise ConfigError(f"cannot read {path}: {error}") from error
