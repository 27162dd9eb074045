"""The draft that the dialog proposes has the tokens of the model."""

import pytest

from core.loading import catalog
from core.loading.choice import ModelChoice
from tui.walk.walking import draft_line, likely_draft


@pytest.mark.parametrize("name", ["model1", "model6", "model1-trained", "model4-trained"])
def test_a_proposed_draft_has_the_tokenizer_of_its_model(name: str) -> None:
    draft, proposals = draft_line(f"{likely_draft(name)} 4")
    own, other = (catalog.tokenizer_of(ModelChoice(name=each)) for each in (name, draft))
    assert own.name == other.name and proposals == 4


def test_a_model_from_files_is_its_own_draft() -> None:
    assert likely_draft("~/models/large.gguf") == "~/models/large.gguf"
