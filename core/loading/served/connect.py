"""From the address of an engine to the model that it serves."""

from dataclasses import replace
from typing import TypeVar

from core.errors import Option, UserError
from core.language import _
from core.loading import catalog, tokenizers
from core.loading.choice import ModelChoice
from core.loading.info import ModelInfo
from core.loading.served.model import ServedModel
from core.loading.served.requests import PAUSE, Requests
from core.progress import Loading, Report
from core.remote import keys
from core.remote.address import address, host_of
from core.remote.engine import RemoteEngine
from core.remote.pending import Pending
from core.remote.tokenizer import RemoteTokenizer, same_tokenizer
from core.remote.values import Capabilities
from core.tokenizers.tokenizer import Tokenizer

T = TypeVar("T")
UNKNOWN_CONTEXT = 2**20
"""T where the engine does not tell it; then the engine itself refuses what is too long."""


def connect(choice: ModelChoice, report: Report | None = None, *, named_by_file: bool = False) -> ServedModel:
    """The model that the engine at the address `choice.name` serves. `report` is called often while it is waited for.

    A host that is `named_by_file` gets the key that the settings have for it, and no other.

    Raises `UserError` where the engine cannot be used, and what `report` raises.
    """
    place = address(choice.name, keys.of_settings(host_of(address(choice.name).url)) if named_by_file else None)
    engine = RemoteEngine(place, choice.engine, choice.served_model)
    try:
        told = _wait(engine.probe(), place.url, report)
        if not told.ids or told.vocab_size is None:
            raise UserError(
                _(
                    "{place}: this engine exchanges text, not token ids, so a walk would not be exact; serve the "
                    "model with vLLM, llama-server or SGLang"
                ),
                place=place,
            )
        tokenizer = _local_tokenizer(choice, engine, told) or RemoteTokenizer(engine)
    except BaseException:
        engine.close()
        raise
    info = _info(replace(choice, name=place.url), told, tokenizer)
    return ServedModel(replace(choice, name=place.url), info, tokenizer, Requests(engine))


def _wait(pending: Pending[T], name: str, report: Report | None) -> T:
    try:
        while not pending.wait(PAUSE):
            if report:
                report(Loading("connecting", name, 0, 0))
    except BaseException:
        pending.cancel()
        raise
    return pending.result()


def _local_tokenizer(choice: ModelChoice, engine: RemoteEngine, told: Capabilities) -> Tokenizer | None:
    """The tokenizer of the files here, where it is proved to be that of the engine.

    Raises `UserError` where the choice names one that is not.
    """
    if choice.tokenizer != ModelChoice().tokenizer:
        location = catalog.find(choice.tokenizer)
        if location is None:
            raise UserError(
                _("{name} is not on this machine; give {option} with a folder"),
                name=choice.tokenizer,
                option=Option("tokenizer"),
            )
        tokenizer = tokenizers.load_model_tokenizer(location.path, choice.tokenizer)
        if not same_tokenizer(tokenizer, engine):
            raise UserError(
                _("{option} {name} gives other ids than {address}; leave it out, or give the tokenizer of {model}"),
                option=Option("tokenizer"),
                name=choice.tokenizer,
                address=engine.address,
                model=told.model,
            )
        return tokenizer
    for name in dict.fromkeys((told.source, told.model)):
        try:
            location = catalog.find(name) if name else None
            if location and same_tokenizer(found := tokenizers.load_model_tokenizer(location.path, name), engine):
                return found
        except UserError:  # what the engine names is not here, or is something else here
            continue
    return None


def _info(choice: ModelChoice, told: Capabilities, tokenizer: Tokenizer) -> ModelInfo:
    who = " ".join(part for part in (told.engine, told.version) if part)
    return ModelInfo(
        name=choice.name,
        title=told.model,
        parameters=0,
        vocab_size=told.vocab_size or 1,
        context=max(1, (told.context or UNKNOWN_CONTEXT) - 1),
        device=who,
        dtype="",
        tokenizer=tokenizer.name,
        weights=f"{told.model}, served by {who}",
        choice=choice,
    )
