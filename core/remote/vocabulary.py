"""The bytes of a served model's tokens, asked for once and kept."""

from collections.abc import Iterable, Sequence

from core.language import _
from core.remote import pieces
from core.remote.client import Client, together
from core.remote.engines.api import EngineApi
from core.remote.values import BadAnswer

SHORT = 256
"""Candidates in an answer that is read for bytes each time."""


class Vocabulary:
    """Bytes by id, of `size` ids. `known` grows; the methods run on the thread of the requests."""

    def __init__(self, client: Client, api: EngineApi, size: int) -> None:
        self._client, self._api, self.size = client, api, size
        self._learned = False
        self.known: dict[int, bytes] = {}
        self._told: dict[int, bytes] = {}
        """Those that answers with candidates told."""
        self._splitters: dict[str, Sequence[int]] = {}
        self._single: dict[bytes, int] = {}

    def learn(self, answer: bytes, count: int) -> None:
        """Keep the bytes of tokens that an answer of `count` candidates tells; of a long answer only once.

        Raises `BadAnswer` where an answer told other bytes before.
        """
        if count > SHORT and self._learned:
            return
        self._learned |= count > SHORT
        told = self._api.read_pieces(answer)
        if changed := [id for id, piece in told.items() if self._told.get(id, piece) != piece]:
            raise BadAnswer(
                _("token {changed} has other bytes than before, so this is another model; start anew").format(
                    changed=changed[0]
                )
            )
        self._told |= told
        self.known |= told

    async def tokenize(self, text: str, *, special: bool = False, ends: bool = False) -> list[int]:
        """The ids of `text`; the bytes that the answer tells are kept."""
        request = self._api.tokenize_request(text, special=special, ends=ends)
        ids, spelled = await self._client.ask(request, lambda answer: self._api.read_tokenize(answer, text))
        self.known |= spelled
        return ids

    async def detokenize(self, ids: Sequence[int]) -> str:
        """The text of `ids`."""
        return await self._client.ask(self._api.detokenize_request(ids), self._api.read_detokenize)

    async def load(self, ids: Iterable[int]) -> dict[int, bytes]:
        """The bytes of `ids`; an id whose bytes cannot be found out is absent."""
        wanted = list(dict.fromkeys(ids))
        missing = [id for id in wanted if id not in self.known]
        if missing:
            await self._prepare()
        for start in range(0, len(missing), pieces.CHUNK):
            part = missing[start : start + pieces.CHUNK]
            self.known |= await pieces.decode(part, self.detokenize, self._splitters, self._single)
        return {id: self.known[id] for id in wanted if id in self.known}

    async def _prepare(self) -> None:
        """Ask once for the ids of the splitters and of single bytes."""
        if self._splitters:
            return
        found = await together(self.tokenize(text) for text in (*pieces.SPLITTERS, *pieces.BYTE_TEXTS))
        self._splitters = {text: ids for text, ids in zip(pieces.SPLITTERS, found, strict=False) if ids}
        self._single = {piece: id for id, piece in self.known.items() if len(piece) == 1}
