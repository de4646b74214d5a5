"""pydantic-ai, which stands on the official client, over the gateway and the real small model."""

from __future__ import annotations

from pathlib import Path

import openai
from pydantic import BaseModel, Field
from pydantic_ai import Agent, NativeOutput
from pydantic_ai.models.openai import OpenAIChatModel
from pydantic_ai.providers.openai import OpenAIProvider
from pydantic_ai.settings import ModelSettings

from sophia.inference.directory import ModelDirectory
from tests.support.gateways import KEY, front_of_house


class City(BaseModel):
    name: str = Field(max_length=12)


async def test_an_agent_answers_streams_and_keeps_to_a_schema(
    redis_url: str, tmp_path: Path, models: ModelDirectory
) -> None:
    async with (
        front_of_house(redis_url, tmp_path, models=models) as platform,
        openai.AsyncOpenAI(base_url=f"{platform.url}/v1", api_key=KEY, timeout=90) as client,
    ):
        model = OpenAIChatModel("fast", provider=OpenAIProvider(openai_client=client))
        short = ModelSettings(max_tokens=12, temperature=0)
        agent = Agent(model, system_prompt="Be brief.", model_settings=short)
        plain = await agent.run("Name a city.")
        assert plain.output
        assert plain.usage.output_tokens > 0
        async with agent.run_stream("Name a city.") as streamed:
            pieces = [piece async for piece in streamed.stream_text(delta=True, debounce_by=None)]
        assert "".join(pieces).strip() == plain.output.strip()
        structured: Agent[None, City] = Agent(
            model, output_type=NativeOutput(City), model_settings=ModelSettings(max_tokens=60, temperature=0)
        )
        assert (await structured.run("Name a city.")).output.name
