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

from sophia.inference.onnx_graph import BUILDER_VERSION, BertConfig, build_graph
from sophia.nouns.errors import ConfigError, StorageFull

_log = logging.getLogger(__name__)


def sentence_encoder_file(model_folder: Path, cache_folder: Path, name: str) -> Path:
    """The ONNX file of the model, built first where ``cache_folder`` has none of these weights and this builder.

    It appears whole or not at all, also when two processes build it at once. Raises ``StorageFull``, or ``ConfigError``
    when the folder cannot be written or the model is not one that can be built.
    """
    weights = model_folder / "model.safetensors"
    with weights.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    path = cache_folder / f"{name}-{digest[:16]}-{BUILDER_VERSION}.onnx"
    if not path.exists():
        _log.info("building the graph of %s into %s", name, cache_folder)
        config = msgspec.json.decode((model_folder / "config.json").read_bytes(), type=BertConfig)
        _write(path, _built(weights, config))
        _remove_others(path, name)
    return path


def _built(weights: Path, config: BertConfig) -> bytes:
    from safetensors.numpy import load_file  # only a first start needs it

    content: bytes = build_graph(config, load_file(weights)).SerializeToString()
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
