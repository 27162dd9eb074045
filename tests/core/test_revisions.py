"""Names with a revision: found in the cache, fetched, refused where they mean nothing, and listed."""

from pathlib import Path
from typing import Any

import huggingface_hub
import pytest
import torch
from huggingface_hub import errors

from core.engine.packed.linear import matrix
from core.errors import UserError
from core.loading import catalog, listing, models, revisions
from core.loading.choice import ModelChoice

ID = "EleutherAI/pythia-tiny"


@pytest.fixture(autouse=True)
def no_network(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def unreachable(*_: Any, **__: Any) -> str:
        raise errors.LocalEntryNotFoundError("no network")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", unreachable)
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def cached(pythia_cache: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HF_HUB_CACHE", str(pythia_cache))
    return pythia_cache


def embedding(name: str) -> torch.Tensor:
    return matrix(models.load_model(ModelChoice(name=name, device="cpu", dtype="fp32")).transformer.embed)


@pytest.mark.usefixtures("cached")
def test_each_revision_in_the_cache_is_its_own_model() -> None:
    """By branch, by a branch with a slash, by commit; without a revision it is the main branch."""
    names = [ID, f"{ID}@step1000", f"{ID}@refs/pr/1", f"{ID}@{'d' * 40}"]
    weights = [embedding(name) for name in names]
    assert torch.equal(embedding(f"{ID}@main"), weights[0])
    for n, one in enumerate(weights):
        assert not any(torch.equal(one, other) for other in weights[n + 1 :])
    loaded = models.load_model(ModelChoice(name=names[1], device="cpu"))
    assert (loaded.info.name, loaded.info.title) == (names[1], "GPT-NeoX")
    assert loaded.info.weights == f"{ID}@step1000 in the Hugging Face cache"


@pytest.mark.usefixtures("cached")
def test_the_list_of_models_has_each_revision() -> None:
    """The main branch first, then branches, then commits without a name."""
    found = [offer for offer in listing.offers() if offer.name.startswith(ID)]
    assert [offer.name for offer in found] == [ID, f"{ID}@refs/pr/1", f"{ID}@step1000", f"{ID}@{'d' * 40}"]
    assert {(offer.family, offer.problem) for offer in found} == {("GPT-NeoX", None)}


@pytest.mark.usefixtures("cached")
def test_a_revision_that_is_not_here_is_asked_of_the_hub(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UserError, match=f"{ID}@step2 is not on this machine"):
        embedding(f"{ID}@step2")
    asked: list[tuple[str, str]] = []

    def download(id: str, *, revision: str, **_: Any) -> str:
        asked.append((id, revision))
        raise errors.RevisionNotFoundError("no such revision", response=_Response())  # type: ignore[arg-type]

    monkeypatch.setattr(huggingface_hub, "snapshot_download", download)
    with pytest.raises(UserError, match=f"{ID} has no revision step2; its revisions are .*huggingface.co/{ID}"):
        embedding(f"{ID}@step2")
    assert asked == [(ID, "step2")]


class _Response:
    """What an error of huggingface_hub reads of an answer."""

    headers: dict[str, str] = {}
    request = None
    status_code = 404


@pytest.mark.parametrize(
    ("name", "revision", "expected"),
    [
        ("a/b", None, "a/b"), ("a/b", "main", "a/b"), ("a/b", "step1000", "a/b@step1000"), ("gpt2", "v1", "gpt2@v1"),
        ("model1", None, "model1"), ("a/b@x", None, "a/b@x"),
    ],
)  # fmt: skip
def test_a_name_and_a_revision_make_one_name(name: str, revision: str | None, expected: str) -> None:
    assert revisions.with_revision(name, revision) == expected


@pytest.mark.parametrize(
    ("name", "revision", "says"),
    [
        ("model1", "step1", "model1 has no revisions"),
        ("./folder", "step1", "./folder has no revisions"),
        ("a/b@x", "y", "a/b@x has a revision already"),
        ("a/b", "../../secret", "'../../secret' is not a revision"),
        ("a/b", "", "'' is not a revision"),
        ("a/b", "x y", "'x y' is not a revision"),
    ],
)
def test_impossible_revisions_are_refused(name: str, revision: str, says: str) -> None:
    with pytest.raises(UserError) as caught:
        revisions.with_revision(name, revision)
    assert says in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1


@pytest.mark.parametrize("name", ["a/b@../x", "a/b@", "a/b@/x"])
def test_a_name_with_an_impossible_revision_is_no_model(name: str) -> None:
    with pytest.raises(UserError, match="is not a revision"):
        catalog.find(name)


@pytest.mark.parametrize("content", [b"", b"../../../etc", b"\xff\xfe", b"nothing"])
def test_a_damaged_reference_is_a_model_that_is_not_here(content: bytes, tmp_path: Path) -> None:
    """And nothing outside the cache is read."""
    references = tmp_path / "models--a--b" / "refs"
    references.mkdir(parents=True)
    (references / "main").write_bytes(content)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HF_HUB_CACHE", str(tmp_path))
        assert catalog.find("a/b") is None
        assert not [offer for offer in listing.offers() if offer.name.startswith("a/b")]
