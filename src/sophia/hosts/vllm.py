"""vLLM's arguments from a fit check (flags of 0.33)."""

from __future__ import annotations

from sophia.decisions.fit import Fit
from sophia.decisions.model_shapes import GPU_TYPES
from sophia.nouns.serving import Quantization

MOST_SEQUENCES = 256
"""Shorter sequences than the longest share the cache, so more than the fit's number may run; vLLM queues the rest."""


def vllm_arguments(fit: Fit, repository: str, *, host: str, port: int) -> list[str]:
    """Arguments after ``vllm``. Its API key comes by the environment (``VLLM_API_KEY``): arguments can be read by every
    process of the host. The form of 8- and 4-bit weights is told by the weights themselves."""
    arguments = [
        *("serve", repository, "--served-model-name", fit.model),
        *("--host", host, "--port", str(port)),
        *("--max-model-len", str(fit.context_tokens)),
        *("--gpu-memory-utilization", f"{fit.memory_utilization:g}"),
        *("--tensor-parallel-size", str(fit.tensor_parallel)),
    ]
    if fit.sequences:
        arguments += ["--max-num-seqs", str(max(fit.sequences, MOST_SEQUENCES))]
    if fit.quantization is Quantization.FP8:
        arguments += ["--quantization", "fp8"]
    gpu = GPU_TYPES[fit.instance_type]
    arguments += ["--dtype", "bfloat16" if gpu.bf16 else "float16"]
    return arguments
