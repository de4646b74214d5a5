"""Built graphs, kept on disk: a second start need not build them, and ONNX Runtime reads a file in less memory."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import logging
import os
import tempfile
from pathlib import Path

import msgspec

from sophia.inference.onnx_graph import BUILDER_VERSION, build_graph
from sophia.inference.sentence_model import SentenceModel
from sophia.nouns.errors import ConfigError, StorageFull

_log = logging.getLogger(__name__)


def sentence_encoder_file(model: SentenceModel, cache_folder: Path, name: str, *, int8: bool = False) -> Path:
    """The ONNX file of the model, built first where ``cache_folder`` has none of these weights and this builder.

    It appears whole or not at all, also when two processes build it at once. Raises ``StorageFull``, or ``ConfigError``
    when the folder cannot be written or the model is not one that can be built.
    """
    form = "int8" if int8 else "float"
    path = cache_folder / f"{name}-{form}-{_digest(model)}-{BUILDER_VERSION}.onnx"
    if not path.exists():
        _log.info("building the graph of %s into %s", name, cache_folder)
        _write(path, _built(model, int8=int8))
        _remove_others(path, f"{name}-{form}")
    return path


def _digest(model: SentenceModel) -> str:
    """Of the weights and of all else that the graph depends on."""
    try:
        with model.weights.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256")
    except OSError as error:
        raise ConfigError(f"cannot read the model's weights: {error}") from error
    digest.update(msgspec.json.encode([model.config, model.pooling, model.normalize]))
    return digest.hexdigest()[:16]


def _built(model: SentenceModel, *, int8: bool) -> bytes:
    from safetensors import SafetensorError
    from safetensors.numpy import load_file  # only a first start needs it

    try:
        weights = load_file(model.weights)
    except (SafetensorError, TypeError) as error:
        raise ConfigError(f"cannot read {model.weights}: {error}", mend="weights in float32 or float16") from error
    graph = build_graph(model, weights, int8=int8)
    try:
        content: bytes = graph.SerializeToString()
    except ValueError as error:
        raise ConfigError(f"{model.folder} is too large for one ONNX file of 2 GB") from error
    return content


def _write(path: Path, content: bytes) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=path.parent, prefix=".building-", delete=False) as file:
            try:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
                Path(file.name).replace(path)
            except BaseException:
                Path(file.name).unlink(missing_ok=True)
                raise
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise StorageFull(
                f"no space for {len(content):,} bytes in {path.parent}",
                mend="free disk space or choose another --data-dir",
            ) from error
        raise ConfigError(f"cannot write {path}: {error}") from error


def _remove_others(path: Path, name: str) -> None:
    """Graphs of earlier versions. A process that still has one open keeps it."""
    for other in path.parent.glob(f"{name}-*.onnx"):
        if other != path:
            with contextlib.suppress(OSError):
                other.unlink()
