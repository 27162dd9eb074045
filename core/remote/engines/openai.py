"""Servers that speak OpenAI's API and give text only: Ollama, LM Studio, TGI and others."""

from core.remote.engines.api import Ask, EngineApi
from core.remote.engines.listing import Served
from core.remote.values import Capabilities


class OpenAI(EngineApi):
    """Any such server. Without token ids there is no walk: texts that are alike cannot be told apart."""

    name = "openai"

    async def describe(self, ask: Ask, listed: Served) -> Capabilities:
        return Capabilities(
            engine=self.name,
            version="",
            model=self.model,
            vocab_size=None,
            context=listed.max_model_len,
            top_k=5,
            full=False,
            raw=False,
            ids=False,
            bytes=False,
            prompt_scores=False,
            source=listed.root or "",
        )
