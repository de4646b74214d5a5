"""Cost against waiting as an SVG: every policy a point, the optimum a line."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from math import log10

from sophia.simulate.compare import Comparison, Row

WIDTH, HEIGHT, LEFT, TOP, BOTTOM = 900, 420, 70, 40, 50
RIGHT = 170


def svg(comparisons: Sequence[Comparison]) -> str:
    """One panel per trace, below each other."""
    panels = [_panel(one, number * HEIGHT) for number, one in enumerate(comparisons)]
    height = HEIGHT * len(comparisons)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" height="{height}" '
        'font-family="sans-serif" font-size="11" role="img" aria-label="Cost against work that starts too late">'
        f'<rect width="{WIDTH}" height="{height}" fill="white"/>{"".join(panels)}</svg>\n'
    )


def _panel(comparison: Comparison, top: int) -> str:
    most = 1.05 * max([row.usd for row in comparison.rows] + [comparison.optimum_usd])
    right, bottom = WIDTH - RIGHT, HEIGHT - BOTTOM

    def x(usd: float) -> float:
        return LEFT + usd / most * (right - LEFT)

    def y(row_late: float) -> float:
        """Late share on a logarithmic scale from all to a ten-thousandth."""
        return TOP + (0 - log10(max(row_late, 1e-4))) / 4 * (bottom - TOP)

    parts = [
        f'<g transform="translate(0 {top})">',
        f'<text x="{LEFT}" y="20" font-size="14">{escape(comparison.trace)}: {comparison.tasks:,} tasks, '
        f"{comparison.days:.1f} days</text>",
        f'<path d="M{LEFT} {TOP}V{bottom}H{right}" fill="none" stroke="#444"/>',
        f'<text x="{LEFT}" y="{bottom + 36}">USD (to {most:,.0f})</text>',
    ]
    for late, label in ((1.0, "100 %"), (0.1, "10 %"), (0.01, "1 %"), (0.001, "0.1 %"), (0.0001, "0.01 %")):
        parts.append(f'<text x="{LEFT - 6}" y="{y(late) + 4:.0f}" text-anchor="end">{label}</text>')
    parts.append(
        f'<text x="{LEFT + 6}" y="{TOP - 6}">share that starts later than {comparison.objective_s:g} s (down is better)</text>'
    )
    for usd, label, colour in (
        (comparison.work_usd, "bare work", "#999"),
        (comparison.optimum_usd, "offline optimum", "#0a7"),
    ):
        parts.append(f'<path d="M{x(usd):.1f} {TOP}V{bottom}" stroke="{colour}" stroke-dasharray="4 3"/>')
        parts.append(f'<text x="{x(usd):.1f}" y="{bottom + 16}" fill="{colour}">{label}</text>')
    limit = y(1 - comparison.share)
    parts.append(f'<path d="M{LEFT} {limit:.1f}H{right}" stroke="#c33" stroke-dasharray="4 3"/>')
    parts += [_point(row, x(row.usd), y(1 - row.in_objective)) for row in comparison.rows]
    return "".join([*parts, "</g>"])


def _point(row: Row, x: float, y: float) -> str:
    colour = "#06c" if row.policy.startswith("forecast") else "#666"
    said = f"{row.policy}: {row.usd:.0f} USD, {row.in_objective:.2%} in time, p99 {row.wait_p99_s:.0f} s"
    return (
        f'<circle cx="{x:.1f}" cy="{y:.1f}" r="4" fill="{colour}"><title>{escape(said)}</title></circle>'
        f'<text x="{x + 6:.1f}" y="{y + 4:.1f}" fill="{colour}">{escape(row.policy)}</text>'
    )
