"""A BERT-like sentence encoder in torch that never sees padding: the tokens of a batch stand one after the other.

Linear layers run over all tokens at once; attention goes by text, over torch's jagged nested tensors, which use flash
attention for variable lengths on NVIDIA GPUs from Ampere on, in bfloat16 and float16, and exact attention elsewhere.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch.nn import functional

from sophia.inference.sentence_model import SPARE_POSITIONS, PoolingMode, SentenceModel
from sophia.nouns.errors import ConfigError

Tensor = Any


class Tokens:
    """A batch as the encoder takes it: token ids one after the other, where each text begins, and its longest."""

    def __init__(self, ids: Tensor, offsets: Tensor, lengths: list[int]) -> None:
        self.ids = ids
        self.offsets = offsets
        self.shortest, self.longest = min(lengths), max(lengths)
        self.texts = len(lengths)

    def places(self) -> Tensor:
        """Of each token within its text."""
        lengths = self.offsets.diff()
        first = torch.repeat_interleave(self.offsets[:-1], lengths, output_size=len(self.ids))
        return torch.arange(len(self.ids), device=self.ids.device) - first

    def texts_of(self) -> Tensor:
        """The number of the text that each token is of."""
        numbers = torch.arange(self.texts, device=self.ids.device)
        return torch.repeat_interleave(numbers, self.offsets.diff(), output_size=len(self.ids))


class TorchEncoder:
    """Raises ``ConfigError`` for a model that is none of those ``onnx_graph`` builds either."""

    def __init__(self, model: SentenceModel, weights: Mapping[str, Tensor], device: str, dtype: Any) -> None:
        config = model.config
        if config.model_type not in ("bert", *SPARE_POSITIONS) or config.hidden_act != "gelu":
            raise ConfigError(f"cannot run {config.model_type} with activation {config.hidden_act}")
        self._model = model
        self._config = config
        self._weights = {
            name.removeprefix("bert.").removeprefix("roberta."): value.to(device=device, dtype=dtype)
            for name, value in weights.items()
            if value.is_floating_point()
        }
        try:
            self._layers = [self._layer(f"encoder.layer.{n}") for n in range(config.num_hidden_layers)]
            self._positions = (
                self._weights["embeddings.position_embeddings.weight"][config.first_position :]
                + self._weights["embeddings.token_type_embeddings.weight"][0]
            )
            self._words = self._weights["embeddings.word_embeddings.weight"]
            self._norm = self._normalisation("embeddings.LayerNorm")
        except KeyError as error:
            raise ConfigError(f"the model's weights lack {error}") from error

    def __call__(self, tokens: Tokens) -> Tensor:
        """(texts, dimensions), float32."""
        hidden = self._words[tokens.ids] + self._positions[tokens.places()]
        hidden = self._normalised(hidden, self._norm)
        for layer in self._layers:
            hidden = self._through(hidden, layer, tokens)
        pooled = self._pooled(hidden.float(), tokens)
        return functional.normalize(pooled, dim=1) if self._model.normalize else pooled

    def _layer(self, name: str) -> dict[str, tuple[Tensor, Tensor]]:
        parts = [self._pair(f"{name}.attention.self.{part}") for part in ("query", "key", "value")]
        return {
            # One multiplication for all three is faster than three.
            "attended": (torch.cat([weight for weight, _ in parts]), torch.cat([bias for _, bias in parts])),
            "joined": self._pair(f"{name}.attention.output.dense"),
            "joined_norm": self._normalisation(f"{name}.attention.output.LayerNorm"),
            "inner": self._pair(f"{name}.intermediate.dense"),
            "outer": self._pair(f"{name}.output.dense"),
            "outer_norm": self._normalisation(f"{name}.output.LayerNorm"),
        }

    def _through(self, hidden: Tensor, layer: dict[str, tuple[Tensor, Tensor]], tokens: Tokens) -> Tensor:
        heads = self._config.num_attention_heads
        attended = functional.linear(hidden, *layer["attended"]).view(len(hidden), 3, heads, -1)
        # Attention over jagged tensors takes contiguous ones only.
        query, key, value = attended.transpose(0, 1).contiguous().unbind(0)
        mixed = functional.scaled_dot_product_attention(*(self._by_text(each, tokens) for each in (query, key, value)))
        mixed = mixed.transpose(1, 2).values().reshape(len(hidden), -1)
        hidden = self._normalised(hidden + functional.linear(mixed, *layer["joined"]), layer["joined_norm"])
        inner = functional.gelu(functional.linear(hidden, *layer["inner"]))
        return self._normalised(hidden + functional.linear(inner, *layer["outer"]), layer["outer_norm"])

    def _by_text(self, value: Tensor, tokens: Tokens) -> Tensor:
        jagged = torch.nested.nested_tensor_from_jagged(
            value, tokens.offsets, min_seqlen=tokens.shortest, max_seqlen=tokens.longest
        )
        return jagged.transpose(1, 2)

    def _pooled(self, hidden: Tensor, tokens: Tokens) -> Tensor:
        first, end = tokens.offsets[:-1], tokens.offsets[1:]
        if self._model.pooling is PoolingMode.CLS:
            return hidden[first]
        if self._model.pooling is PoolingMode.LAST:
            return hidden[end - 1]
        texts = tokens.texts_of()
        if self._model.pooling is PoolingMode.MAX:
            places = texts.unsqueeze(1).expand_as(hidden)
            lowest = torch.full((tokens.texts, hidden.shape[1]), -torch.inf, device=hidden.device)
            return lowest.scatter_reduce_(0, places, hidden, "amax")
        total = torch.zeros((tokens.texts, hidden.shape[1]), device=hidden.device).index_add_(0, texts, hidden)
        return total / (end - first).unsqueeze(1)

    def _normalised(self, hidden: Tensor, pair: tuple[Tensor, Tensor]) -> Tensor:
        return functional.layer_norm(hidden, hidden.shape[-1:], *pair, eps=self._config.layer_norm_eps)

    def _pair(self, name: str) -> tuple[Tensor, Tensor]:
        return self._weights[f"{name}.weight"], self._weights[f"{name}.bias"]

    _normalisation = _pair
