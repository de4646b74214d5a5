"""Small encoders with random weights, saved as sentence-transformers saves them, and what they must answer, by numpy."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import save_file
from tokenizers import Tokenizer, models, pre_tokenizers, processors

WORDS = [f"w{number}" for number in range(60)]
HIDDEN, HEADS, INNER, LAYERS, POSITIONS = 32, 4, 64, 2, 40
EPSILON = 1e-12


class TinyEncoder:
    def __init__(
        self, folder: Path, *, pooling: str, normalize: bool, model_type: str = "bert", prompt: str = ""
    ) -> None:
        self.folder, self.pooling, self.normalize, self.prompt = folder, pooling, normalize, prompt
        self.offset = 2 if model_type == "xlm-roberta" else 0
        self.weights = _weights(np.random.default_rng(5))
        folder.mkdir(parents=True, exist_ok=True)
        save_file(self.weights, folder / "model.safetensors")
        self._tokenizer = _tokenizer()
        self._tokenizer.save(str(folder / "tokenizer.json"))
        kinds = [("", "Transformer"), ("1_Pooling", "Pooling"), *([("2_Normalize", "Normalize")] if normalize else [])]
        modules = [
            {"idx": index, "name": str(index), "path": path, "type": f"sentence_transformers.models.{kind}"}
            for index, (path, kind) in enumerate(kinds)
        ]
        config = {
            "model_type": model_type,
            "hidden_size": HIDDEN,
            "num_attention_heads": HEADS,
            "num_hidden_layers": LAYERS,
            "intermediate_size": INNER,
            "max_position_embeddings": POSITIONS,
            "layer_norm_eps": EPSILON,
            "hidden_act": "gelu",
            "vocab_size": len(WORDS) + 4,
            "type_vocab_size": 2,
            "pad_token_id": 1 if self.offset else 0,
        }
        prompts = {"prompts": {"document": prompt}, "default_prompt_name": "document" if prompt else None}
        for name, document in {
            "modules.json": modules,
            "config.json": config,
            "sentence_bert_config.json": {"max_seq_length": 24, "do_lower_case": False},
            "config_sentence_transformers.json": prompts,
            "1_Pooling/config.json": {"word_embedding_dimension": HIDDEN, "pooling_mode": pooling},
        }.items():
            (folder / name).parent.mkdir(exist_ok=True)
            (folder / name).write_text(json.dumps(document))

    def vectors(self, texts: Sequence[str]) -> Any:
        return np.stack([self._vector(self._tokenizer.encode(self.prompt + text).ids[:24]) for text in texts])

    def _vector(self, ids: list[int]) -> Any:
        w = self.weights
        hidden = w["embeddings.word_embeddings.weight"][ids] + w["embeddings.token_type_embeddings.weight"][0]
        hidden = hidden + w["embeddings.position_embeddings.weight"][self.offset : self.offset + len(ids)]
        hidden = self._norm("embeddings.LayerNorm", hidden)
        for number in range(LAYERS):
            hidden = self._layer(f"encoder.layer.{number}", hidden)
        pooled = {
            "mean": lambda: hidden.mean(axis=0),
            "cls": lambda: hidden[0],
            "max": lambda: hidden.max(axis=0),
            "lasttoken": lambda: hidden[-1],
        }[self.pooling]()
        return pooled / np.linalg.norm(pooled) if self.normalize else pooled

    def _layer(self, name: str, hidden: Any) -> Any:
        query, key, value = (
            self._dense(f"{name}.attention.self.{part}", hidden).reshape(len(hidden), HEADS, -1).transpose(1, 0, 2)
            for part in ("query", "key", "value")
        )
        scores = np.exp(query @ key.transpose(0, 2, 1) / math.sqrt(HIDDEN // HEADS))
        mixed = (scores / scores.sum(axis=-1, keepdims=True)) @ value
        mixed = mixed.transpose(1, 0, 2).reshape(len(hidden), HIDDEN)
        hidden = self._norm(
            f"{name}.attention.output.LayerNorm", hidden + self._dense(f"{name}.attention.output.dense", mixed)
        )
        inner = self._dense(f"{name}.intermediate.dense", hidden)
        gelu = inner * 0.5 * (1 + np.vectorize(math.erf)(inner / math.sqrt(2)))
        return self._norm(f"{name}.output.LayerNorm", hidden + self._dense(f"{name}.output.dense", gelu))

    def _dense(self, name: str, value: Any) -> Any:
        return value @ self.weights[f"{name}.weight"].T + self.weights[f"{name}.bias"]

    def _norm(self, name: str, value: Any) -> Any:
        spread = np.sqrt(value.var(axis=-1, keepdims=True) + EPSILON)
        centred = (value - value.mean(axis=-1, keepdims=True)) / spread
        return centred * self.weights[f"{name}.weight"] + self.weights[f"{name}.bias"]


def _weights(chance: np.random.Generator) -> dict[str, Any]:
    def matrix(*shape: int) -> Any:
        return chance.normal(0, 0.2, shape).astype(np.float32)

    def dense(name: str, outputs: int, inputs: int) -> dict[str, Any]:
        return {f"{name}.weight": matrix(outputs, inputs), f"{name}.bias": matrix(outputs)}

    def norm(name: str) -> dict[str, Any]:
        return {f"{name}.weight": 1 + matrix(HIDDEN), f"{name}.bias": matrix(HIDDEN)}

    weights = {
        "embeddings.word_embeddings.weight": matrix(len(WORDS) + 4, HIDDEN),
        "embeddings.position_embeddings.weight": matrix(POSITIONS, HIDDEN),
        "embeddings.token_type_embeddings.weight": matrix(2, HIDDEN),
        **norm("embeddings.LayerNorm"),
    }
    for number in range(LAYERS):
        name = f"encoder.layer.{number}"
        for part in ("query", "key", "value"):
            weights |= dense(f"{name}.attention.self.{part}", HIDDEN, HIDDEN)
        weights |= dense(f"{name}.attention.output.dense", HIDDEN, HIDDEN) | norm(f"{name}.attention.output.LayerNorm")
        weights |= dense(f"{name}.intermediate.dense", INNER, HIDDEN)
        weights |= dense(f"{name}.output.dense", HIDDEN, INNER) | norm(f"{name}.output.LayerNorm")
    return weights


def _tokenizer() -> Tokenizer:
    vocabulary = {word: index for index, word in enumerate(["[PAD]", "[UNK]", "[CLS]", "[SEP]", *WORDS])}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    return tokenizer
