"""The fit check: the founding list, the published figures, hosts with several models, launches that are refused."""

from __future__ import annotations

import json

import msgspec
import pytest

from sophia.decisions.fit import MEMORY_UTILIZATION, check, need_of, place, refusal
from sophia.decisions.model_shapes import GONE, GPU_TYPES, SHAPES, shape_of
from sophia.emulated.lambda_cloud import catalog
from sophia.hosts.vllm import vllm_arguments
from sophia.nouns.errors import InvalidInput
from sophia.nouns.serving import Quantization, Serving
from sophia.settings.load import merged_settings
from tests.support.cli import run
from tests.support.clouds import contract

FORMS = {"bf16": Quantization.BF16, "int8/fp8": Quantization.INT8, "int4 (AWQ/GPTQ g128)": Quantization.INT4}


def need(model: str, context: int = 2048, quantization: str = "bf16"):
    found = need_of(model, context_tokens=context, quantization=Quantization(quantization))
    assert found is not None
    return found


def test_the_published_figures_are_met():
    figures = contract("gpu-model-fit.json")["models"]
    assert len(figures) == 3
    for name, figure in figures.items():
        model = name.split(" ")[0]
        shape = shape_of(model)
        assert shape is not None
        assert (shape.params, shape.architecture) == (figure["params"], figure["arch"])
        for where, expected in figure["fits"].items():
            instance_type, form = where.split(" ", 1)
            fit = check(need(model, quantization=FORMS[form]), instance_type)
            assert fit.kv_bytes_per_token == figure["kv_bytes_per_token_fp16"]
            assert fit.weights_gib == pytest.approx(expected["weights_gib"], abs=0.06)
            assert fit.kv_cache_gib == pytest.approx(expected["kv_budget_gib"], abs=0.11)
            assert fit.kv_tokens == pytest.approx(expected["kv_tokens"], rel=0.01, abs=30)


@pytest.mark.parametrize("model", ["qwen-72b-chat", "mixtral-8x7b", "deepseek-coder-33b"])
def test_the_founding_list_does_not_fit_and_says_what_would(model):
    fit = check(need(model), "gpu_1x_a100_sxm4")
    assert not fit.fits
    assert "of weights; 1 x A100 40 GB has 33.7 GiB for it" in fit.reason
    assert fit.instead


def test_what_vllm_no_longer_serves_fits_nowhere_and_names_its_successor():
    fit = check(need("qwen-72b-chat"), "gpu_8x_h100_sxm5")
    assert not fit.fits
    assert "no longer" in fit.reason
    assert fit.instead == ("its successor qwen2-72b-instruct",)


def test_every_proposal_holds_what_it_says():
    fit = check(need("deepseek-coder-33b", 16384, "fp8"), "gpu_1x_a100_sxm4")
    assert not fit.fits
    assert fit.instead[:2] == (
        "a context of 11264 tokens at fp8 on gpu_1x_a100_sxm4",
        "int4 on gpu_1x_a100_sxm4",
    )
    assert check(need("deepseek-coder-33b", 11264, "fp8"), "gpu_1x_a100_sxm4").fits
    assert check(need("deepseek-coder-33b", 16384, "int4"), "gpu_1x_a100_sxm4").fits


def test_several_gpus_share_a_model_whose_heads_divide():
    assert check(need("qwen2-72b-instruct", 8192), "gpu_4x_h100_sxm5").tensor_parallel == 4
    assert check(need("qwen2-72b-instruct", 8192), "gpu_4x_h100_sxm5").fits
    fit = check(need("qwen2.5-7b"), "gpu_8x_a100")
    assert not fit.fits
    assert "28 attention heads cannot be divided among 8 GPUs" in fit.reason


def test_several_models_on_one_gpu_share_its_memory_or_are_refused_together():
    small = [need("qwen2.5-7b", 8192, "int4"), need("llama-3.1-8b", 8192, "int4"), need("bge-large-en-v1.5", 512)]
    fits = place(small, "gpu_1x_a100_sxm4")
    assert all(fit.fits for fit in fits)
    assert sum(fit.memory_utilization for fit in fits) <= MEMORY_UTILIZATION
    many = [need("deepseek-coder-33b", 8192, "int4"), need("mixtral-8x7b", 8192, "int4")]
    assert all(fit.fits for fit in (check(one, "gpu_1x_a100_sxm4") for one in many))
    assert [fit.fits for fit in place(many, "gpu_1x_a100_sxm4")] == [False, False]


def test_names_are_found_with_and_without_owner_and_ending():
    assert shape_of("deepseek-ai/deepseek-coder-33b-instruct") is SHAPES["deepseek-coder-33b"]
    assert shape_of("mistralai/Mixtral-8x7B-Instruct-v0.1") is SHAPES["mixtral-8x7b"]
    assert need_of("nobody-knows") is None
    own = Serving(repository="our/own", shape=SHAPES["qwen2-72b"])
    found = need_of("own", serving=own)
    assert found is not None
    assert found.shape.layers == 80


def test_every_gpu_type_of_the_cloud_is_known_and_others_are_refused():
    gpus = {name for name, entry in catalog().types.items() if entry.gpus}
    assert gpus <= set(GPU_TYPES)
    assert all(GPU_TYPES[name].count == catalog().types[name].gpus for name in gpus)
    with pytest.raises(InvalidInput, match="no GPU type"):
        check(need("mixtral-8x7b"), "shared-cpu-2x")


def test_the_packaged_pools_are_checked_before_a_launch():
    settings = merged_settings(None, {}, "hosted")
    vllm, embedding = settings.pools["vllm"], settings.pools["embedding"]
    words = refusal(settings.models, vllm, "gpu_1x_a100_sxm4")
    assert words is not None
    assert "deepseek-coder-33b at bf16 takes 62.0 GiB" in words
    assert "sophia fit deepseek-coder-33b" in words
    assert refusal(settings.models, embedding, "gpu_1x_a6000") is None
    assert refusal(settings.models, vllm, "process") is None
    unknown = msgspec.structs.replace(vllm, models=("gpt-5",))
    assert refusal(settings.models, unknown, "gpu_1x_a100_sxm4") is None


def test_vllm_is_told_what_was_checked():
    fit = check(need("deepseek-coder-33b", 16384), "gpu_1x_h100_pcie")
    arguments = vllm_arguments(fit, "deepseek-ai/deepseek-coder-33b-instruct", host="127.0.0.1", port=8000)
    assert " ".join(arguments) == (
        "serve deepseek-ai/deepseek-coder-33b-instruct --served-model-name deepseek-coder-33b --host 127.0.0.1 --port 8000 "
        "--max-model-len 16384 --gpu-memory-utilization 0.92 --tensor-parallel-size 1 --max-num-seqs 256 --dtype bfloat16"
    )
    smaller = check(need("deepseek-coder-33b", 8192, "fp8"), "gpu_1x_a100_sxm4")
    assert "--quantization fp8" in " ".join(vllm_arguments(smaller, "x", host="::", port=1))


def test_defaults_and_architectures_are_those_of_the_release():
    release = contract("vllm-0.33.0.json")
    assert release["gpu_memory_utilization_default"] == MEMORY_UTILIZATION
    assert set(GONE) == set(release["removed_models"])
    decoders = {shape.architecture for shape in SHAPES.values() if shape.kv_heads}
    assert decoders <= set(release["supported"]) | set(GONE)


def test_the_command_says_it_by_words_and_status():
    refused = run("fit", "mixtral-8x7b", "--gpu", "gpu_1x_a100_sxm4")
    assert refused.exit_code == 1
    assert "instead: int4 on gpu_1x_a100_sxm4" in refused.output
    taken = run("fit", "mixtral-8x7b", "--gpu", "gpu_1x_a100_sxm4", "--quantization", "int4", "--json")
    assert taken.exit_code == 0
    assert json.loads(taken.output)["sequences"] == 2
    assert run("fit", "nobody-knows", "--gpu", "gpu_1x_a10").exit_code == 2
