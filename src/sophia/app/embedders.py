"""Embedding engines of this process, from settings."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from sophia.cancel import cancel_all
from sophia.inference.base import Embedder
from sophia.nouns.errors import ConfigError
from sophia.nouns.pool import PoolSpec
from sophia.settings.loaded import Loaded

if TYPE_CHECKING:
    from sophia.inference.onnx_embedder import OnnxEmbedder
    from sophia.inference.torch_embedder import TorchEmbedder

    LocalEngine = OnnxEmbedder | TorchEmbedder

PROVIDER = "onnx_embedded"


def embedding_engine(loaded: Loaded) -> LocalEngine:
    """For the packaged model, or the one in ``embedding.folder``. Blocks for about a second, the first time for some."""
    from sophia.inference.packaged import EMBEDDING_MODEL, embedding_model_folder

    settings = loaded.settings.embedding
    deployments = [model.deployments().get(PROVIDER) for model in loaded.settings.models.values()]
    names = [deployment.model for deployment in deployments if deployment is not None]
    name = names[0] if names else EMBEDDING_MODEL
    folder = Path(settings.folder) if settings.folder else embedding_model_folder()
    refuse = settings.over_long == "refuse"
    if settings.engine == "torch":
        return _torch()(
            folder,
            model=name,
            max_tokens=settings.max_tokens,
            batch_tokens=settings.batch_tokens,
            refuse_longer=refuse,
        )

    from sophia.inference.onnx_embedder import onnx_embedder

    return onnx_embedder(
        folder,
        models_dir(loaded),
        model=name,
        max_tokens=settings.max_tokens,
        threads=settings.threads,
        int8=settings.weights == "int8",
        batch_tokens=settings.batch_tokens,
        refuse_longer=refuse,
    )


def _torch() -> Callable[..., TorchEmbedder]:
    try:
        from sophia.inference.torch_embedder import torch_embedder
    except ModuleNotFoundError as error:
        raise ConfigError(
            f"{error.name} is not installed",
            field="embedding.engine",
            mend="pip install sophia[torch], or engine: onnx",
        ) from error
    return torch_embedder


@contextlib.asynccontextmanager
async def pool_embedders(loaded: Loaded, pool: PoolSpec | None) -> AsyncIterator[Mapping[str, Embedder]]:
    """Those of a worker whose pool lists embedding models; texts of all its tasks share batches."""
    names = [name for name in (pool.models if pool else ()) if _in_process(loaded, name)]
    if not names:
        yield {}
        return

    from asyncio import create_task

    from sophia.inference.micro_batch import BatchingEmbedder

    engine = embedding_engine(loaded)
    embedder = BatchingEmbedder(engine, max_wait_s=loaded.settings.embedding.max_wait_ms / 1000)
    running = create_task(embedder.run(), name="embedder")
    try:
        yield dict.fromkeys(names, embedder)
    finally:
        await cancel_all(running)
        await engine.close()


def models_dir(loaded: Loaded) -> Path:
    return loaded.data_dir / "models"


def _in_process(loaded: Loaded, name: str) -> bool:
    model = loaded.settings.models.get(name)
    return model is not None and model.kind == "embedding" and PROVIDER in model.providers
