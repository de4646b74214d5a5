"""``sophia simulate``: policies over a trace, in virtual time."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

from sophia.cli import environment
from sophia.cli.output import console, note, print_json
from sophia.nouns.errors import InvalidInput

if TYPE_CHECKING:
    from sophia.nouns.pool import PoolSpec
    from sophia.simulate.compare import Comparison

_FILE = click.Path(path_type=Path, exists=True, dir_okay=False)


@click.command()
@click.argument("traces", metavar="TRACE...", nargs=-1, required=True, type=_FILE)
@click.option("--config", "config_path", type=_FILE, help="Settings with the pool; else the packaged ones.")
@click.option("--pool", default="inference", show_default=True, help="The pool whose work the trace is.")
@click.option("--policy", "policies", multiple=True, help="Only these; can be given again. All by default.")
@click.option("--type", "kind", help="Only tasks of this type, where the trace has types.")
@click.option("--days", type=click.FloatRange(min=0, min_open=True), help="Only so many days from its beginning.")
@click.option("--refuse", type=click.FloatRange(0, 0.95), default=0.0, help="Share of launches that are refused.")
@click.option("--outages", type=click.FloatRange(0, 24), default=0.0, help="Half hours without capacity, a day.")
@click.option("--seed", type=int, default=1, show_default=True)
@click.option("--what-if", "others", multiple=True, type=_FILE, help="Another configuration beside --config.")
@click.option("--out", type=click.Path(path_type=Path, file_okay=False), help="Folder for simulation.json and .svg.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document and nothing else.")
def simulate(
    traces: tuple[Path, ...],
    config_path: Path | None,
    pool: str,
    policies: tuple[str, ...],
    kind: str | None,
    days: float | None,
    refuse: float,
    outages: float,
    seed: int,
    others: tuple[Path, ...],
    out: Path | None,
    as_json: bool,
) -> None:
    """What policies would have cost on a trace, and how long its tasks would have waited.

    A TRACE is a CSV, gzip or plain, with the columns t (seconds), in and out (tokens). The planner is the one that
    looks after real pools. Cost is always shown with the share that starts within the objective, beside what no plan
    can beat.
    """
    from sophia.simulate.compare import as_json as to_json
    from sophia.simulate.compare import compare, entries
    from sophia.simulate.plot import svg
    from sophia.simulate.traces import Service, read
    from sophia.simulate.world import Weather

    spec = _pool(config_path, pool)
    weather = Weather(refused=refuse, outages_per_day=outages, seed=seed)
    found: list[Comparison] = []
    for path in traces:
        trace = read(path, Service(), days=days, kind=kind)
        known = entries(spec, trace)
        unknown = [name for name in policies if name not in known]
        if unknown:
            raise InvalidInput(f"no policy {unknown[0]!r}", field="--policy", mend=f"one of {', '.join(known)}")
        chosen = {name: entry for name, entry in known.items() if not policies or name in policies}
        if others:
            chosen |= {str(config_path or "packaged"): (spec, lambda: None, spec.min)}
            for other in others:
                alternative = _pool(other, pool)
                chosen[str(other)] = (alternative, lambda: None, alternative.min)
        found.append(compare(trace, spec, chosen, weather=weather))
        if not as_json:
            _show(found[-1], recommended=bool(others))
    document = to_json(found)
    if out is not None:
        out.mkdir(parents=True, exist_ok=True)
        (out / "simulation.json").write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
        (out / "simulation.svg").write_text(svg(found), encoding="utf-8")
        note(f"wrote {out / 'simulation.json'} and {out / 'simulation.svg'}")
    if as_json:
        print_json(document)


def _pool(config_path: Path | None, pool: str) -> PoolSpec:
    from sophia.settings.load import merged_settings

    settings = merged_settings(config_path, environment.environ(), "hosted" if config_path is None else None)
    if pool not in settings.pools:
        raise InvalidInput(f"there is no pool {pool!r}", field="--pool", mend=f"one of {', '.join(settings.pools)}")
    return settings.pools[pool]


def _show(comparison: Comparison, *, recommended: bool) -> None:
    from rich.table import Table

    from sophia.simulate.compare import recommend

    table = Table(box=None, pad_edge=False, header_style="bold")
    late = f"IN {comparison.objective_s:g} s"
    for name in (
        "POLICY",
        "USD",
        "GPU h",
        "x OPT",
        "ALWAYS-ON",
        "p50 s",
        "p95 s",
        "p99 s",
        late,
        "IN 15 min",
        "LAUNCHES",
    ):
        table.add_column(name, no_wrap=True, justify="left" if name == "POLICY" else "right")
    for row in sorted(comparison.rows, key=lambda one: one.usd):
        table.add_row(
            row.policy,
            f"{row.usd:,.0f}",
            f"{row.gpu_hours:,.0f}",
            f"{row.of_optimum:.2f}",
            f"{row.of_always_on:.0%}",
            f"{row.wait_p50_s:.1f}",
            f"{row.wait_p95_s:.1f}",
            f"{row.wait_p99_s:.1f}",
            f"{row.in_objective:.2%}",
            f"{row.in_deadline:.2%}",
            f"{row.launches:,}",
        )
    out = console()
    # A figure that is cut short is worse than a line that is wrapped.
    out.width = max(out.width, 100)
    out.print(f"{comparison.trace}: {comparison.tasks:,} tasks in {comparison.days:.2f} days", highlight=False)
    out.print(table)
    out.print(
        f"no plan costs less than {comparison.optimum_usd:,.0f} USD with every task started within "
        f"{comparison.objective_s:g} s (x OPT), {comparison.optimum_share_usd:,.0f} with {comparison.share:.0%} of them, "
        f"{comparison.work_usd:,.0f} whatever waits",
        highlight=False,
    )
    if recommended:
        best = recommend(comparison, comparison.share)
        said = "none keeps the objective" if best is None else f"{best.policy}, {best.usd:,.0f} USD"
        out.print(f"cheapest that starts {comparison.share:.0%} within {comparison.objective_s:g} s: {said}")
    out.print()
