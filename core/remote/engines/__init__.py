"""What differs between engines: the requests, and how their answers are read."""

from core.remote.engines.api import EngineApi
from core.remote.engines.llama import Llama
from core.remote.engines.openai import OpenAI
from core.remote.engines.sglang import SGLang
from core.remote.engines.vllm import VLLM

ENGINES: dict[str, type[EngineApi]] = {kind.name: kind for kind in (VLLM, Llama, SGLang, OpenAI)}
OWNERS: dict[str, type[EngineApi]] = {"vllm": VLLM, "llamacpp": Llama, "sglang": SGLang}
"""By `owned_by` of a listed model."""
