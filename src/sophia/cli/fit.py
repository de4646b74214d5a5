"""``sophia fit``."""

from __future__ import annotations

from pathlib import Path

import click

from sophia.cli import exit_codes
from sophia.cli.environment import environ
from sophia.cli.output import console, print_json
from sophia.decisions.fit import check, need_of
from sophia.decisions.model_shapes import GPU_TYPES, SHAPES
from sophia.nouns.errors import InvalidInput
from sophia.nouns.serving import Quantization
from sophia.nouns.wording import nearest


@click.command()
@click.argument("model")
@click.option("--gpu", required=True, metavar="TYPE", help="An instance type, such as gpu_1x_a100_sxm4.")
@click.option(
    "--context", type=click.IntRange(min=1), help="Tokens.  [default: the settings', else the model's longest]"
)
@click.option(
    "--quantization",
    type=click.Choice([str(one) for one in Quantization]),
    help="Form of the weights.  [default: the settings', else bf16]",
)
@click.option(
    "--sequences", type=click.IntRange(min=1), help="Of full length at once.  [default: the settings', else 1]"
)
@click.option(
    "--config", "config_path", type=click.Path(path_type=Path), help="[default: SOPHIA_CONFIG, ./sophia.yaml]"
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document and nothing else.")
def fit(
    model: str,
    gpu: str,
    context: int | None,
    quantization: str | None,
    sequences: int | None,
    config_path: Path | None,
    as_json: bool,
) -> int:
    """Say whether MODEL fits a GPU type, how much KV cache is left, and what would fit instead.

    Asks nobody and costs nothing. Exit status 1 when it does not fit.
    """
    from sophia.settings.load import find_config, merged_settings

    settings = merged_settings(find_config(config_path, environ()), environ(), None).models.get(model)
    need = need_of(
        model,
        serving=settings.serving if settings else None,
        context_tokens=context
        or (settings and settings.serving and settings.serving.context_tokens)
        or (settings.context_tokens if settings else None),
        quantization=Quantization(quantization) if quantization else None,
        sequences=sequences,
    )
    if need is None:
        raise InvalidInput(
            f"nothing is known of a model {model!r}",
            field="MODEL",
            mend=f"{nearest(model, sorted(SHAPES))}, or give its figures as models.{model}.serving.shape in sophia.yaml",
        )
    found = check(need, gpu)
    if as_json:
        print_json(found)
        return exit_codes.OK if found.fits else exit_codes.FAILED
    out = console()
    out.print(f"{'fits' if found.fits else 'does not fit'}: {found.reason}", soft_wrap=True)
    if found.fits and need.shape.kv_heads:
        out.print(
            f"  KV cache {found.kv_cache_gib:g} GiB, {found.kv_bytes_per_token / 1024:.0f} KiB a token", soft_wrap=True
        )
    if found.quantization is Quantization.FP8 and not GPU_TYPES[gpu].native_fp8:
        out.print("  FP8 saves memory on this GPU, not time: it has no FP8 units", soft_wrap=True)
    for proposal in found.instead:
        out.print(f"  instead: {proposal}", soft_wrap=True)
    return exit_codes.OK if found.fits else exit_codes.FAILED
