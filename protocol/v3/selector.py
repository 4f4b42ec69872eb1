"""The selector language: which labelled things a rule is about.

Owns ``parse`` and the ``Selector`` values it returns. A selector is immutable, knows whether it ``matches`` a
mapping of labels, and its ``str`` is the canonical spelling: ``parse(str(s)) == s``.

::

    expression = conjunction { "||" conjunction }
    conjunction = operand { "&&" operand }
    operand    = { "!" } ( "(" expression ")" | "has(" label ")" | "all()" | "global()" | comparison )
    comparison = label ( "==" | "!=" | "contains" | "starts with" | "ends with" ) string
               | label ( "in" | "not in" ) "{" [ string { "," string } [ "," ] ] "}"

An absent label makes every comparison false but ``!=`` and ``not in``, which it makes true. The empty text selects
everything. Words are operators only after a label, so labels may be called ``in`` or ``has``. White space is space
and tab; strings have no escapes, but each kind of quote may hold the other. Runs of ``!`` collapse, and so does a
negated negation in parentheses.

Left out: where ``global()`` is allowed (it matches everything here; the kinds that refuse it do so in
``rules``), and the limit of 1,024 characters of what users write (``fields``).

Follows Calico's libcalico-go/lib/selector, but for a bound on nested parentheses.
"""

from __future__ import annotations

import enum
import re
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping

import attrs

__all__ = [
    "All",
    "And",
    "Compare",
    "Global",
    "Has",
    "In",
    "Not",
    "Operator",
    "Or",
    "Selector",
    "SelectorError",
    "mentions_global",
    "parse",
]

MAX_LABEL = 512
MAX_NESTING = 64
"""Deeper parentheses are refused: evaluation recurses, and no person wrote them."""


class SelectorError(ValueError):
    """The text is no selector. ``position`` is the index of the character at fault."""

    def __init__(self, reason: str, position: int) -> None:
        super().__init__(f"invalid selector: {reason} at character {position + 1}")
        self.reason = reason
        self.position = position


class Selector(ABC):
    __slots__ = ()

    @abstractmethod
    def matches(self, labels: Mapping[str, str]) -> bool: ...


class Operator(enum.Enum):
    """The comparisons with one string; the value is the canonical spelling."""

    EQUAL = "=="
    NOT_EQUAL = "!="
    CONTAINS = "contains"
    STARTS_WITH = "starts with"
    ENDS_WITH = "ends with"


@attrs.frozen
class All(Selector):
    def matches(self, labels: Mapping[str, str]) -> bool:
        return True

    def __str__(self) -> str:
        return "all()"


@attrs.frozen
class Global(Selector):
    """Selects what is in no namespace; whoever evaluates labels has answered that already."""

    def matches(self, labels: Mapping[str, str]) -> bool:
        return True

    def __str__(self) -> str:
        return "global()"


@attrs.frozen
class Has(Selector):
    label: str

    def matches(self, labels: Mapping[str, str]) -> bool:
        return self.label in labels

    def __str__(self) -> str:
        return f"has({self.label})"


@attrs.frozen
class Compare(Selector):
    label: str
    operator: Operator
    value: str

    def matches(self, labels: Mapping[str, str]) -> bool:
        found = labels.get(self.label)
        if found is None:
            return self.operator is Operator.NOT_EQUAL
        match self.operator:
            case Operator.EQUAL:
                return found == self.value
            case Operator.NOT_EQUAL:
                return found != self.value
            case Operator.CONTAINS:
                return self.value in found
            case Operator.STARTS_WITH:
                return found.startswith(self.value)
            case Operator.ENDS_WITH:
                return found.endswith(self.value)

    def __str__(self) -> str:
        return f"{self.label} {self.operator.value} {_quoted(self.value)}"


def _sorted_set(values: Iterable[str]) -> tuple[str, ...]:
    return tuple(sorted(set(values)))


@attrs.frozen
class In(Selector):
    """``in``, or ``not in`` when negated."""

    label: str
    values: tuple[str, ...] = attrs.field(converter=_sorted_set)
    negated: bool = False

    def matches(self, labels: Mapping[str, str]) -> bool:
        # An absent label is None, which is in no set: false for `in`, true for `not in`.
        return (labels.get(self.label) in self.values) is not self.negated

    def __str__(self) -> str:
        word = "not in" if self.negated else "in"
        return f"{self.label} {word} {{{', '.join(map(_quoted, self.values))}}}"


@attrs.frozen
class Not(Selector):
    operand: Selector

    def matches(self, labels: Mapping[str, str]) -> bool:
        return not self.operand.matches(labels)

    def __str__(self) -> str:
        return f"!{self.operand}"


@attrs.frozen
class And(Selector):
    operands: tuple[Selector, ...]

    def matches(self, labels: Mapping[str, str]) -> bool:
        return all(operand.matches(labels) for operand in self.operands)

    def __str__(self) -> str:
        return f"({' && '.join(map(str, self.operands))})"


@attrs.frozen
class Or(Selector):
    operands: tuple[Selector, ...]

    def matches(self, labels: Mapping[str, str]) -> bool:
        return any(operand.matches(labels) for operand in self.operands)

    def __str__(self) -> str:
        return f"({' || '.join(map(str, self.operands))})"


def parse(text: str) -> Selector:
    """The selector a text means. Raises SelectorError."""
    parser = _Parser(text)
    if parser.kind == "end":
        return All()
    selector = parser.expression(0)
    if parser.kind != "end":
        raise parser.unexpected("&& or ||")
    if _nesting(selector) > MAX_NESTING:  # `a && b || c` is two deep in its canonical spelling
        raise SelectorError(_TOO_DEEP, 0)
    return selector


def mentions_global(selector: Selector) -> bool:
    """Whether ``global()`` stands anywhere in it."""
    match selector:
        case And(operands) | Or(operands):
            return any(map(mentions_global, operands))
        case Not(operand):
            return mentions_global(operand)
    return isinstance(selector, Global)


_TOO_DEEP = f"parentheses nest deeper than {MAX_NESTING}"


def _nesting(selector: Selector) -> int:
    """How deep the parentheses of the canonical spelling nest."""
    match selector:
        case And(operands) | Or(operands):
            return 1 + max(map(_nesting, operands))
        case Not(operand):
            return _nesting(operand)
    return 0


def _quoted(text: str) -> str:
    return f"'{text}'" if '"' in text else f'"{text}"'


# -- reading --------------------------------------------------------------------------------------------------------

_IDENTIFIER = r"[A-Za-z0-9_./-]+"
_END_OF_WORD = r"(?![A-Za-z0-9_./-])"
_TOKEN = re.compile(
    rf"""
    (?P<space>[ \t]+)
  | (?P<string>"[^"]*"|'[^']*')
  | (?P<has>has\()
  | (?P<all>all\([ \t]*\))
  | (?P<global>global\([ \t]*\))
  | (?P<label>{_IDENTIFIER})
  | (?P<compare>==|!=)
  | (?P<and>&&)
  | (?P<or>\|\|)
  | (?P<punctuation>[!(){{}},])
    """,
    re.VERBOSE,
)
_WORD = re.compile(
    rf"""
    (?P<space>[ \t]+)
  | (?P<in>in{_END_OF_WORD})
  | (?P<notin>not[ \t]*in{_END_OF_WORD})
  | (?P<contains>contains{_END_OF_WORD})
  | (?P<starts>starts[ \t]*with{_END_OF_WORD})
  | (?P<ends>ends[ \t]*with{_END_OF_WORD})
    """,
    re.VERBOSE,
)
"""After a label, a word is an operator."""

_OPERATORS = {
    "contains": Operator.CONTAINS,
    "starts": Operator.STARTS_WITH,
    "ends": Operator.ENDS_WITH,
}


def _tokens(text: str) -> Iterator[tuple[str, str, int]]:
    """(kind, text, position) of every token; punctuation is its own kind. Ends with one "end"."""
    position = 0
    previous = ""
    in_has = False  # a label in has(...) has no operator after it
    while position < len(text):
        found = None
        if previous == "label" and not in_has:
            found = _WORD.match(text, position)
        found = found or _TOKEN.match(text, position)
        if not found:
            raise SelectorError(_reason(text, position), position)
        kind, word = found.lastgroup or "", found.group()
        if kind == "punctuation":
            kind = word
        if kind == "label":
            if previous == "label":
                raise SelectorError(f"unknown operator {word!r}", position)
            if len(word) > MAX_LABEL:
                raise SelectorError(f"the label is longer than {MAX_LABEL} characters", position)
        if kind != "space":
            in_has = kind == "has" or (in_has and kind != ")")
            previous = kind
            yield kind, word, position
        position = found.end()
    yield "end", "", position


def _reason(text: str, position: int) -> str:
    match text[position]:
        case '"' | "'":
            return "unterminated string"
        case "=":
            return "expected == where there is ="
        case "&":
            return "expected && where there is &"
        case "|":
            return "expected || where there is |"
        case character:
            return f"unexpected character {character!r}"


class _Parser:
    """Recursive descent with one token in hand: ``kind``, ``word``, ``position``."""

    def __init__(self, text: str) -> None:
        self._tokens = _tokens(text)
        self.advance()

    def advance(self) -> str:
        """To the next token; returns the text of the one left behind."""
        left = getattr(self, "word", "")
        self.kind, self.word, self.position = next(self._tokens)
        return left

    def unexpected(self, expected: str) -> SelectorError:
        found = repr(self.word) if self.word else "the end"
        return SelectorError(f"expected {expected}, found {found}", self.position)

    def expect(self, kind: str, expected: str) -> str:
        if self.kind != kind:
            raise self.unexpected(expected)
        return self.advance()

    def expression(self, nesting: int) -> Selector:
        operands = [self.conjunction(nesting)]
        while self.kind == "or":
            self.advance()
            operands.append(self.conjunction(nesting))
        return operands[0] if len(operands) == 1 else Or(tuple(operands))

    def conjunction(self, nesting: int) -> Selector:
        operands = [self.operand(nesting)]
        while self.kind == "and":
            self.advance()
            operands.append(self.operand(nesting))
        return operands[0] if len(operands) == 1 else And(tuple(operands))

    def operand(self, nesting: int) -> Selector:
        negated = False
        while self.kind == "!":
            self.advance()
            negated = not negated
        operand = self.primary(nesting)
        if not negated:
            return operand
        return operand.operand if isinstance(operand, Not) else Not(operand)

    def primary(self, nesting: int) -> Selector:
        match self.kind:
            case "(":
                if nesting == MAX_NESTING:
                    raise SelectorError(_TOO_DEEP, self.position)
                self.advance()
                inner = self.expression(nesting + 1)
                self.expect(")", "&&, || or )")
                return inner
            case "has":
                self.advance()
                label = self.expect("label", "a label")
                self.expect(")", ")")
                return Has(label)
            case "all":
                self.advance()
                return All()
            case "global":
                self.advance()
                return Global()
            case "label":
                return self.comparison(self.advance())
        raise self.unexpected("a label, has(), all(), ! or (")

    def comparison(self, label: str) -> Selector:
        match self.kind:
            case "compare":
                return Compare(label, Operator(self.advance()), self.string())
            case "in" | "notin":
                negated = self.kind == "notin"
                self.advance()
                return In(label, self.values(), negated)
            case kind if kind in _OPERATORS:
                self.advance()
                return Compare(label, _OPERATORS[kind], self.string())
        raise self.unexpected(f"an operator after {label}")

    def string(self) -> str:
        return self.expect("string", "a quoted string")[1:-1]

    def values(self) -> tuple[str, ...]:
        self.expect("{", "{")
        values = []
        while self.kind == "string":
            values.append(self.advance()[1:-1])
            if self.kind != ",":
                break
            self.advance()
        self.expect("}", "a quoted string or }")
        return tuple(values)
