"""A `UserError` from one template has the same parts as one from pieces."""

import pytest

from core.errors import Action, Option, UserError


def test_a_template_keeps_options_and_actions_as_parts() -> None:
    template = UserError("{dtype} is {value!r}; {key} chooses", dtype=Option("dtype"), value="x", key=Action("choose"))
    pieces = UserError(Option("dtype"), " is 'x'; ", Action("choose"), " chooses")
    assert str(template) == str(pieces) == "option dtype is 'x'; action choose chooses"
    assert [part for part in template.parts if not isinstance(part, str)] == [Option("dtype"), Action("choose")]


def test_values_are_formatted_as_by_str_format() -> None:
    values = {"count": 12345, "share": 0.25, "name": "a\nb", "raw": "{count}"}
    template = "{{{count:,}}} {share:.1%} {name!r:>10} {raw}"
    assert str(UserError(template, **values)) == template.format(**values)


def test_a_text_without_values_is_not_a_template() -> None:
    assert str(UserError("write {name}")) == "write {name}"


def test_a_field_without_a_value_is_an_error() -> None:
    with pytest.raises(KeyError):
        UserError("{a}{b}", a=1)
