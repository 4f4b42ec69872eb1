from __future__ import annotations

from collections.abc import Mapping

import pytest
from hypothesis import given

from protocol.v3.selector import (
    All,
    And,
    Compare,
    Global,
    Has,
    In,
    Not,
    Operator,
    Or,
    Selector,
    SelectorError,
    parse,
)
from tests.strategies import v3 as strategies


@given(strategies.selectors)
def test_the_canonical_text_means_the_selector(selector: Selector) -> None:
    assert parse(str(selector)) == selector


@given(strategies.selectors, strategies.labels)
def test_matches_what_the_words_say(selector: Selector, labels: dict[str, str]) -> None:
    assert parse(str(selector)).matches(labels) is meaning(selector, labels)


@given(strategies.selector_texts)
def test_any_text_parses_or_is_refused_with_a_position(text: str) -> None:
    selector = parsed(text)
    if isinstance(selector, SelectorError):
        assert 0 <= selector.position <= len(text)
    else:
        assert parse(str(selector)) == selector


def parsed(text: str) -> Selector | SelectorError:
    try:
        return parse(text)
    except SelectorError as error:
        return error


def meaning(selector: Selector, labels: Mapping[str, str]) -> bool:
    """The grammar's words, one by one, for a second opinion."""
    match selector:
        case All() | Global():
            return True
        case Has(label):
            return label in labels
        case Compare(label, Operator.NOT_EQUAL, value):
            return label not in labels or labels[label] != value
        case In(label, values, negated=True):
            return label not in labels or labels[label] not in values
        case Compare(label) | In(label) if label not in labels:
            return False
        case Compare(label, Operator.EQUAL, value):
            return labels[label] == value
        case Compare(label, Operator.CONTAINS, value):
            return labels[label].find(value) >= 0
        case Compare(label, Operator.STARTS_WITH, value):
            return labels[label][: len(value)] == value
        case Compare(label, Operator.ENDS_WITH, value):
            return labels[label][::-1][: len(value)] == value[::-1]
        case In(label, values):
            return labels[label] in values
        case Not(operand):
            return not meaning(operand, labels)
        case And(operands):
            return {meaning(operand, labels) for operand in operands} == {True}
        case Or(operands):
            return True in {meaning(operand, labels) for operand in operands}
    raise AssertionError(selector)


@pytest.mark.parametrize(
    ("text", "canonical"),
    [
        ("", "all()"),
        (" \t", "all()"),
        ("all( )", "all()"),
        ("global()", "global()"),
        ("has( a )", "has(a)"),
        ("a=='b'", 'a == "b"'),
        ("""a == 'say "b"'""", """a == 'say "b"'"""),
        ('a != "it\'s"', 'a != "it\'s"'),
        ("a in{'y','x','y',}", 'a in {"x", "y"}'),
        ("a in {}", "a in {}"),
        ("a notin {'x'}", 'a not in {"x"}'),
        ("a not \t in {'x'}", 'a not in {"x"}'),
        (
            "a startswith 'x' && a endswith 'y' && a contains 'z'",
            '(a starts with "x" && a ends with "y" && a contains "z")',
        ),
        ("has(a) || has(b) && !has(c)", "(has(a) || (has(b) && !has(c)))"),
        ("(has(a) || has(b)) && has(c)", "((has(a) || has(b)) && has(c))"),
        ("!!!has(a)", "!has(a)"),
        ("! !has(a)", "has(a)"),
        ("((has(a)))", "has(a)"),
        ("in in {'in'}", 'in in {"in"}'),
        ("not not in {'x'}", 'not not in {"x"}'),
        ("has == 'x'", 'has == "x"'),
        ("has(in)", "has(in)"),
        ("projectcalico.org/ns-1_a == 'x'", 'projectcalico.org/ns-1_a == "x"'),
    ],
)
def test_canonical_spelling(text: str, canonical: str) -> None:
    assert str(parse(text)) == canonical


@pytest.mark.parametrize(
    ("text", "position", "reason"),
    [
        ("a == 'b", 5, "unterminated string"),
        ("a = 'b'", 2, "expected =="),
        ("has(a) & has(b)", 7, "expected &&"),
        ("has(a) | has(b)", 7, "expected ||"),
        ("a == b", 5, "quoted string"),
        ("a", 1, "operator after a"),
        ("a like 'b'", 2, "unknown operator 'like'"),
        ("a inx {'b'}", 2, "unknown operator 'inx'"),
        ("a in {'b'", 9, "or }"),
        ("a in {'b' 'c'}", 10, "or }"),
        ("a in {,}", 6, "or }"),
        ("a in {b}", 6, "or }"),
        ("a in 'b'", 5, "expected {"),
        ("(has(a)", 7, "or )"),
        ("has(a))", 6, "&& or ||"),
        ("has(a) has(b)", 7, "&& or ||"),
        ("has(a", 5, "expected )"),
        ("has()", 4, "a label"),
        ("has (a)", 4, "operator after has"),
        ("all ()", 4, "operator after all"),
        ("!", 1, "a label"),
        ("has(a) &&", 9, "a label"),
        ("has(a)\n", 6, "unexpected character"),
        (f"has({'x' * 513})", 4, "512"),
        ("(" * 65 + "all()" + ")" * 65, 64, "deeper"),
        ("has(a) || has(b) && (" * 40 + "has(c)" + ")" * 40, 0, "deeper"),
    ],
)
def test_errors_have_a_position(text: str, position: int, reason: str) -> None:
    with pytest.raises(SelectorError) as caught:
        parse(text)
    assert caught.value.position == position
    assert reason in str(caught.value)
    assert f"character {position + 1}" in str(caught.value)


def test_a_label_of_512_characters_is_allowed() -> None:
    assert parse(f"has({'x' * 512})").matches({"x" * 512: ""})
