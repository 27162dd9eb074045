"""JSON answers of a server, decoded into the form that is expected."""

from typing import TypeVar

import msgspec

from core.language import _
from core.remote.values import BadAnswer

T = TypeVar("T")


def read(decoder: "msgspec.json.Decoder[T]", answer: bytes) -> T:
    """A JSON answer in the form that is expected; fields that are not asked for are skipped. Raises `BadAnswer`."""
    try:
        return decoder.decode(answer)
    except msgspec.ValidationError as error:
        raise BadAnswer(_("its JSON is not what was expected: {error}").format(error=error)) from error
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise BadAnswer(_("it is not JSON ({error})").format(error=str(error).splitlines()[0])) from error
    except RecursionError as error:
        raise BadAnswer(_("its JSON is nested too deeply")) from error
