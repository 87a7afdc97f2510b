"""YAML files are bounded, and agree with yaml.safe_load where they are sound."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from hub.errors import BadRecipe
from hub.recipe.yaml_file import parse_scalar, read_yaml

plain = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


@given(plain)
def test_values_are_those_of_safe_load(tmp_path_factory: pytest.TempPathFactory, value: object) -> None:
    path = tmp_path_factory.getbasetemp() / "value.yaml"
    text = yaml.safe_dump(value, allow_unicode=True)
    path.write_text(text, encoding="utf-8")
    assert read_yaml(path).value == yaml.safe_load(text)


def test_each_key_has_its_line(tmp_path: Path) -> None:
    path = tmp_path / "a.yaml"
    path.write_text("a: 1\nb:\n  - c: 2\n  - d:\n      e: 3\n", encoding="utf-8")
    lines = read_yaml(path).lines
    assert (lines["a",], lines["b", 0, "c"], lines["b", 1, "d", "e"]) == (1, 3, 5)


def test_aliases_work_but_cannot_grow_without_end(tmp_path: Path) -> None:
    path = tmp_path / "a.yaml"
    path.write_text("a: &x [1, 2]\nb: *x\n", encoding="utf-8")
    assert read_yaml(path).value == {"a": [1, 2], "b": [1, 2]}
    bomb = "\n".join([f"a{n}: &x{n} [{', '.join([f'*x{n - 1}'] * 9) if n else 1}]" for n in range(9)])
    path.write_text(bomb, encoding="utf-8")
    with pytest.raises(BadRecipe, match="more than 20,000 values"):
        read_yaml(path)
    path.write_text("a: &x [*x]\n", encoding="utf-8")
    with pytest.raises(BadRecipe, match=r"nested too deeply|more than"):
        read_yaml(path)


@pytest.mark.parametrize("text", ["[" * 5000, "a: " * 3000, "? [a]\n: b\n", "\x00", "{{a: 1}: 2}"])
def test_hostile_text_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "a.yaml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(BadRecipe, match=str(path)):
        read_yaml(path)


def test_a_huge_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.yaml"
    path.write_text("# " + "x" * 300_000, encoding="utf-8")
    with pytest.raises(BadRecipe, match="too large"):
        read_yaml(path)


def test_scalars_are_typed() -> None:
    assert [parse_scalar(text) for text in ("2", "0.5", "true", "null", "[a, 1]", "word", "")] == [
        2, 0.5, True, None, ["a", 1], "word", None,
    ]  # fmt: skip
    with pytest.raises(ValueError, match="quote it"):
        parse_scalar("[a")
    with pytest.raises(ValueError, match="quote it"):
        parse_scalar("!!bool maybe")


@pytest.mark.parametrize("text", ["&a [*a]", "[&a [1,1,1], &b [*a,*a,*a]" + ", *b" * 3000 + "]"])
def test_a_value_of_the_command_line_or_of_a_job_is_bounded_as_a_file_is(text: str) -> None:
    with pytest.raises(ValueError, match="quote it"):
        parse_scalar(text)


@pytest.mark.parametrize(
    "value", ["2024-02-30", "!!int abc", "!!bool maybe", "!!float ''", "!!timestamp x", "1" * 5000]
)
def test_a_scalar_that_python_cannot_make_is_named_with_its_line(tmp_path: Path, value: str) -> None:
    path = tmp_path / "a.yaml"
    path.write_text(f"a: 1\nb: {value}\n", encoding="utf-8")
    with pytest.raises(BadRecipe, match=r"a\.yaml:2: .* is not a valid \w+: quote it"):
        read_yaml(path)


@pytest.mark.parametrize(("one", "other"), [("1", "true"), ("1", "1.0"), ("yes", "on")])
def test_keys_that_are_equal_are_one_key(tmp_path: Path, one: str, other: str) -> None:
    path = tmp_path / "a.yaml"
    path.write_text(f"{one}: a\n{other}: b\n", encoding="utf-8")
    with pytest.raises(BadRecipe, match=r"a\.yaml:2: .* is set twice \(first on line 1\)"):
        read_yaml(path)
