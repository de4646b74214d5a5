"""The section about embedders in ``docs/benchmarks.md``."""

from __future__ import annotations

from bench.embedding import DOCUMENTS, QUERIES, REFERENCE, SUBJECTS, TEXTS
from bench.rounds import Results


def section(results: Results) -> str:
    base = results.median("embedding", REFERENCE, "per_cpu_s")
    if base is None:
        return ""
    rows = []
    for name in SUBJECTS:
        per_cpu, per_s, memory, cosine, overlap = (
            results.median("embedding", name, figure)
            for figure in ("per_cpu_s", "per_s", "resident_mb", "least_cosine", "overlap")
        )
        if per_cpu is None:
            continue
        rows.append(
            f"| {name} | {per_cpu / base:.2f} | {per_cpu:.1f} | {per_s or 0:.1f} "
            f"| {'' if cosine is None else f'{cosine:.4f}'} | {'' if overlap is None else f'{overlap:.1%}'} "
            f"| {memory or 0:,.0f} |"
        )
    head = [
        "|  | ratio | texts per CPU-second | texts/s | least cosine | same top 10 | RSS, MB |",
        "| --- | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    return (
        f"## Embedding on CPU\n\n{TEXTS:,} texts of 20 to 300 words, all-MiniLM-L6-v2, both cores; the ratio is that of texts per\n"
        f"CPU-second. Least cosine: to sentence-transformers' vectors of the same texts. Same top 10: of {DOCUMENTS:,} paragraphs,\n"
        f"nearest to each of {QUERIES} others. The texts are prose of Python's own documentation.\n\n"
        + "\n".join([*head, *rows])
    )
