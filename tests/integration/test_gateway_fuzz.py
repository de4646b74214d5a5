"""Whatever is sent to the API, its answer is one that its own document promises."""

from __future__ import annotations

from pathlib import Path

from tests.support.fuzzing import fuzz
from tests.support.gateways import KEY, front_of_house
from tests.support.models import make_models


async def test_some_hundred_cases_of_every_kind(redis_url: str, tmp_path: Path) -> None:
    # A model is in use, so the platform is ready; nobody serves it, and nobody asks for it by its right name.
    models = make_models(chat_url="http://127.0.0.1:9/v1")
    async with front_of_house(redis_url, tmp_path, models=models, operator=True) as platform:
        done = await fuzz(platform.url, KEY, tmp_path, cases=5, seed=1, phases="fuzzing", timeout_s=240)
    assert done.status == 0, done.report
