"""Made-up frames: walks whose numbers are all fixed."""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

from core.engine.info import DeviceInfo
from core.generation.token import Token
from core.loading.choice import ModelChoice
from core.loading.info import ModelInfo
from core.sampling.sampler import Sampler
from core.sampling.values import Candidate, Chart, Score, StageEffect
from core.walk.values import Snapshot
from tui.runner import Activity, Frame


class Scenes:
    """Made-up walks, every number fixed."""

    vocab_size = 100_277

    def token(self, piece: bytes | str, id: int = 100, bits: float | None = 4.0, **more: Any) -> Token:
        piece = piece.encode() if isinstance(piece, str) else piece
        score = None if bits is None else Score(0.5, -bits * 0.6931471805599453, 16.5, int(2**bits))
        return Token(id, piece, score=score, **more)

    def tokens(self, pieces: Iterable[bytes | str]) -> tuple[Token, ...]:
        """A prompt of which each token was a little more surprising than the one before."""
        return tuple(
            self.token(piece, 100 + 37 * n, bits=None if n == 0 else 2.5 * (n % 9)) for n, piece in enumerate(pieces)
        )

    def chart(
        self,
        pieces: Sequence[bytes | str],
        shares: Sequence[float] = (),
        *,
        kept: int | None = None,
        taken: int | None = None,
    ) -> Chart:
        """A chart of these candidates; those from `kept` on are cut, `taken` is the place of the one that came."""
        shares = shares or [0.5 / 1.6**n / 1.4 for n in range(len(pieces))]
        kept = len(pieces) if kept is None else kept
        mass = sum(shares[:kept]) if kept < len(pieces) else 1.0
        candidates = tuple(
            Candidate(
                200 + n,
                piece.encode() if isinstance(piece, str) else piece,
                n,
                9.25 - n / 4,
                share,
                share / mass if n < kept else 0.0,
            )
            for n, (piece, share) in enumerate(zip(pieces, shares, strict=True))
        )
        left = kept if kept < len(pieces) else self.vocab_size
        return Chart(
            candidates=candidates,
            others_count=self.vocab_size - len(pieces),
            others_probability=1 - sum(shares),
            others_sampled=0.0 if kept < len(pieces) else 1 - sum(shares),
            entropy_bits=6.25,
            stages=self.effects(Sampler(), left, 1 - mass),
            kept=left,
            taken=None if taken is None else candidates[taken],
        )

    def effects(self, sampler: Sampler, left: int, mass: float) -> tuple[StageEffect, ...]:
        """What the four usual stages did where only top-k cuts: it removes a mass and leaves so many tokens."""
        cut = self.vocab_size - left
        did = ((self.vocab_size, 0, 0.0), (left, cut, mass), (left, 0, 0.0), (left, 0, 0.0))
        return tuple(
            StageEffect(stage, kept, removed, share, share)
            for stage, (kept, removed, share) in zip(sampler.stages, did, strict=True)
        )

    def frame(
        self,
        tokens: tuple[Token, ...],
        chart: Chart | None,
        *,
        prompt_length: int | None = None,
        cursor: int | None = None,
        context: int = 8,
        sampler: Sampler = Sampler(),
        name: str = "model1",
        activity: Activity = "idle",
        **more: Any,
    ) -> Frame:
        cursor = len(tokens) if cursor is None else cursor
        if chart:
            chart = replace(chart, stages=self.effects(sampler, chart.kept, chart.stages[1].removed_mass))
        info = ModelInfo(
            name,
            "zero-layer transformer",
            12_935_733,
            100_277,
            context,
            "cpu",
            "fp32",
            "cl100k",
            "random weights, seed 0",
        )
        snapshot = Snapshot(
            tokens=tokens,
            prompt_length=len(tokens) if prompt_length is None else prompt_length,
            cursor=cursor,
            window=max(0, cursor - context),
            sampler=sampler,
            can_take_back=True,
            can_redo=False,
            chart=chart,
        )
        here = (
            DeviceInfo("cpu", "A processor", 16 * 2**30),
            DeviceInfo("cuda", "NVIDIA GPU", None, "this build of torch is without CUDA"),
        )
        return Frame(activity=activity, choice=ModelChoice(), model=info, devices=here, snapshot=snapshot, **more)

    def oat_milk(self, **changes: Any) -> Frame:
        """A walk of twelve tokens, the last five sampled, in a context of eight."""
        pieces = ["I", " prefer", " oat", " milk", " in", " my", "\n", " cof", "fee", " 字", b" \xf0\x9f", " and"]
        likely = [" the", " my", " a", " tea", ".", "\n", " 字字", b" \xf0\x9f", "\t", " your", " its", " everything"]
        likely += [f" word{n}" for n in range(30)]
        tokens = tuple(
            self.token(token.piece, token.id, None if token.score is None else token.score.surprisal_bits, **origin)
            for n, token in enumerate(self.tokens(pieces))
            for origin in [{"origin": "sampled", "u": 0.25, "sampled_probability": 0.1} if n >= 7 else {}]
        )
        values = {"chart": self.chart(likely), "prompt_length": 7, "rate": 412.0, "generated": 5, **changes}
        return self.frame(tokens, **values)
