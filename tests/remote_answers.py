"""Answers of real engines on SmolLM2-135M, as they were recorded, for tests that have no engine."""

from pathlib import Path

FOLDER = Path(__file__).parent / "remote_answers"
OAT_MILK = [57, 4640, 28973, 4788, 281]
"""`I prefer oat milk in`."""


def answer(name: str) -> bytes:
    """The body of a recorded answer."""
    return (FOLDER / name).read_bytes()


def vllm(entries: str) -> bytes:
    """An answer of vLLM whose candidates are this JSON: `"token_id:5": -1.5, …`."""
    return f'{{"choices": [{{"logprobs": {{"top_logprobs": [{{{entries}}}]}}}}]}}'.encode()


def llama(entries: str) -> bytes:
    """An answer of llama-server whose candidates are this JSON: `{"id": 5, "logprob": -1.5}, …`."""
    return f'{{"completion_probabilities": [{{"top_logprobs": [{entries}]}}]}}'.encode()


def sglang(entries: str) -> bytes:
    """An answer of SGLang, as documented, whose candidates are this JSON: `[-1.5, 5, null], …`."""
    return f'{{"meta_info": {{"output_top_logprobs": [[{entries}]]}}}}'.encode()


WRAP = {"vllm": vllm, "llama": llama, "sglang": sglang}
ENTRY = {"vllm": '"token_id:{}": {}', "llama": '{{"id": {}, "logprob": {}}}', "sglang": "[{1}, {0}, null]"}


def written(engine: str, *pairs: tuple[object, object]) -> bytes:
    """An answer whose candidates are `pairs` of an id and a log-probability, each written as it stands."""
    return WRAP[engine](", ".join(ENTRY[engine].format(id, logprob) for id, logprob in pairs))
