"""What people write, to resources: strict, and with every reason at once.

Owns ``resource_of``, and the converter behind it (``structured``, for documents that are no resources of ours). A document goes
through three sieves, and whatever one of them finds keeps it from the next: its frame (kind, apiVersion, no other
top-level fields), its fields (types, enums, ranges, formats, unknown and missing fields, from the class declarations and
``fields``), and the rules between its fields (``rules``). Each finding is a ``Fault`` with its path; only ``loader`` knows files and lines.

Strict means: 123 is not "123" and "true" is not true. The exceptions are written in the types: labels, annotations
and protocols take bare scalars, AS numbers take "x.y". A null is a field that is not set, and so is "" where the
default is "": documents come from Go programs.

Left out: other resources (``rules.conflicts``), and trusted documents (``codec.decode``).
"""

from __future__ import annotations

import difflib
import types
import typing
from collections.abc import Callable, Container, Iterable, Iterator, Mapping
from typing import Any, Final, Literal, TypeVar, get_args, get_origin

import attrs
import cattrs
from cattrs.errors import (
    AttributeValidationNote,
    ClassValidationError,
    ForbiddenExtraKeysError,
    IterableValidationError,
    IterableValidationNote,
)
from cattrs.gen import make_dict_structure_fn, override

from protocol.v3 import rules
from protocol.v3.codec import KINDS, Resource
from protocol.v3.fields import AsText, Check, DottedNumber, check_as_number, json_names, parse_as_number
from protocol.v3.rules import Fault
from protocol.v3.yamltree import Written

T = TypeVar("T")

Hook = Callable[[Any, Any], Any]


class InvalidResource(ValueError):
    """A document is no resource. ``faults`` has all that is wrong with it."""

    def __init__(self, faults: Iterable[Fault]) -> None:
        self.faults = tuple(faults)
        super().__init__("; ".join(map(str, self.faults)))


def resource_of(doc: Mapping[str, Any]) -> Resource:
    """The resource a person's document means, defaults filled in. Raises InvalidResource.

    Values are plain JSON values or ``Written``.
    """
    faults = list(_frame_faults(doc))
    if faults:
        raise InvalidResource(faults)
    body = {key: value for key, value in doc.items() if key not in ("apiVersion", "kind")}
    resource: Resource = structured(KINDS[doc["kind"]].cls, body)
    faults = list(rules.check(resource))
    if faults:
        raise InvalidResource(faults)
    return resource


def structured(cls: type[T], value: Mapping[str, Any]) -> T:
    """An instance of any class that is declared with the types of ``fields``. Raises InvalidResource."""
    try:
        return _CONVERTER.structure(value, cls)
    except ClassValidationError as error:
        raise InvalidResource(_faults(error, ())) from None


def _frame_faults(doc: Mapping[str, Any]) -> Iterator[Fault]:
    kind = doc.get("kind")
    if kind is None:
        yield Fault(("kind",), "required, but missing")
    elif not isinstance(kind, str):
        yield Fault(("kind",), f"expected text, found {_seen(kind)}")
    elif kind not in KINDS:
        yield Fault(("kind",), f"unknown kind {kind!r}; known are {', '.join(KINDS)}")
    version = doc.get("apiVersion")
    if version is None:
        yield Fault(("apiVersion",), "required, but missing")
    elif isinstance(kind, str) and kind in KINDS and version != KINDS[kind].api_version:
        seen = repr(version) if isinstance(version, str) else _seen(version)
        yield Fault(("apiVersion",), f"expected {KINDS[kind].api_version}, found {seen}")


# -- the report -------------------------------------------------------------------------------------------------------


def _faults(error: BaseException, path: tuple[str | int, ...]) -> Iterator[Fault]:
    """The tree of exceptions as a list, in the order of the class's fields."""
    match error:
        case ClassValidationError():
            names = json_names(error.cl)
            for inner in error.exceptions:
                note = _note(inner, AttributeValidationNote)
                yield from _faults(inner, (*path, names[note.name]) if note else path)
        case IterableValidationError():
            for inner in error.exceptions:
                index = _note(inner, IterableValidationNote)
                yield from _faults(inner, (*path, index.index) if index else path)
        case ForbiddenExtraKeysError():
            known = list(json_names(error.cl).values())
            for name in sorted(error.extra_fields):
                yield Fault((*path, name), _unknown_field(name, known))
        case KeyError():
            yield Fault(path, "required, but missing")
        case ValueError():
            yield Fault(path, str(error))
        case _:
            raise error  # a bug of ours


_Note = TypeVar("_Note", AttributeValidationNote, IterableValidationNote)


def _note(error: BaseException, kind: type[_Note]) -> _Note | None:
    return next((note for note in getattr(error, "__notes__", ()) if isinstance(note, kind)), None)


def _unknown_field(name: str, known: list[str]) -> str:
    folded = {field.lower(): field for field in known}
    close = difflib.get_close_matches(name.lower(), folded, n=1)
    return "unknown field" + (
        f"; did you mean {folded[close[0]]}?" if close else f"; known are {', '.join(known)}"
    )


def _seen(value: object) -> str:
    """What was found, in the words of somebody who writes YAML."""
    if isinstance(value, Written):
        kind = {bool: "the boolean", int: "the number", float: "the number"}[type(value.value)]
        return f"{kind} {value.text}"
    match value:
        case None:
            return "nothing"
        case bool():
            return f"the boolean {str(value).lower()}"
        case int() | float():
            return f"the number {value}"
        case str():
            return f"the text {value if len(value) <= 40 else value[:37] + '...'!r}"
        case Mapping():
            return "an object"
    return "a list"


# -- the converter ----------------------------------------------------------------------------------------------------


def _text(value: Any, _: Any) -> str:
    if isinstance(value, str):
        return value
    hint = f'; to mean the text, quote it: "{value.text}"' if isinstance(value, Written) else ""
    raise ValueError(f"expected text, found {_seen(value)}{hint}")


def _text_as_written(value: Any, _: Any) -> str:
    if isinstance(value, Written):
        # Calico's tools read YAML into text fields this way: `yes` becomes "true", numbers stay as they are written.
        return str(value.value).lower() if isinstance(value.value, bool) else value.text
    return "" if value is None else _text(value, _)


def _value(value: Any) -> Any:
    return value.value if isinstance(value, Written) else value


def _integer(value: Any, _: Any) -> int:
    number = _value(value)
    if type(number) is not int:
        raise ValueError(f"expected an integer, found {_seen(value)}")
    return number


def _boolean(value: Any, _: Any) -> bool:
    found = _value(value)
    if not isinstance(found, bool):
        raise ValueError(f"expected true or false, found {_seen(value)}")
    return found


def _as_number(value: Any, _: Any) -> int:
    if isinstance(value, str):
        return parse_as_number(value)
    if isinstance(value, Written) and type(value.value) is float:
        return parse_as_number(value.text)
    number = _value(value)
    if type(number) is not int:
        raise ValueError(f"expected an AS number, found {_seen(value)}")
    check_as_number(number)
    return number


def _anything(value: Any, _: Any) -> Any:
    if isinstance(value, dict):
        return {key: _anything(inner, _) for key, inner in value.items()}
    if isinstance(value, list):
        return [_anything(inner, _) for inner in value]
    return _value(value)


def _integer_or_text(value: Any, _: Any) -> int | str:
    return value if isinstance(value, str) else _integer(value, _)


def _make_converter() -> cattrs.Converter:
    converter = cattrs.Converter(detailed_validation=True, forbid_extra_keys=True)

    def for_annotated(type_: Any) -> Hook:
        markers = type_.__metadata__
        looks = [marker.look for marker in markers if isinstance(marker, Check)]
        basic: Hook
        if any(isinstance(marker, DottedNumber) for marker in markers):
            basic = _as_number
        elif any(isinstance(marker, AsText) for marker in markers):
            basic = _text_as_written
        else:
            basic = converter.get_structure_hook(get_args(type_)[0])
        inner_type = get_args(type_)[0]

        def structure(value: Any, _: Any) -> Any:
            made = basic(value, inner_type)
            for look in looks:
                look(made)
            return made

        return structure

    def for_literal(type_: Any) -> Hook:
        words = get_args(type_)
        listed = ", ".join(word or '""' for word in words)

        def structure(value: Any, _: Any) -> Any:
            if not isinstance(value, str) or value not in words:
                raise ValueError(f"expected one of {listed}; found {_seen(value)}")
            return value

        return structure

    def for_tuple(type_: Any) -> Hook:
        inner_type = get_args(type_)[0]
        inner = converter.get_structure_hook(inner_type)

        def structure(value: Any, _: Any) -> Any:
            if not isinstance(value, list | tuple):
                raise ValueError(f"expected a list, found {_seen(value)}")
            return tuple(_collect(enumerate(value), lambda item: inner(item, inner_type)).values())

        return structure

    def for_mapping(type_: Any) -> Hook:
        key_type, inner_type = get_args(type_)
        key_hook = converter.get_structure_hook(key_type)
        inner = converter.get_structure_hook(inner_type)

        def structure(value: Any, _: Any) -> Any:
            if not isinstance(value, Mapping):
                raise ValueError(f"expected an object, found {_seen(value)}")
            _collect(zip(value, value, strict=True), lambda key: key_hook(key, key_type))
            return _collect(value.items(), lambda item: inner(item, inner_type))

        return structure

    def for_class(cls: type) -> Hook:
        names = json_names(cls)
        renames: Any = {name: override(rename=json) for name, json in names.items()}
        generated: Callable[..., Any] = make_dict_structure_fn(cls, converter, **renames)
        unset = {
            names[field.name]: (None, "") if _means_nothing(field) else (None,) for field in attrs.fields(cls)
        }
        ignores: Container[str] = getattr(cls, "ignores", ())
        # What is only misspelt is not one of the fields that are none of our business.
        folded = {name.lower() for name in unset}

        def structure(value: Any, _: Any) -> Any:
            if not isinstance(value, Mapping):
                raise ValueError(f"expected an object, found {_seen(value)}")
            if ignores:
                value = {key: it for key, it in value.items() if key.lower() in folded or key not in ignores}
            return generated({key: it for key, it in value.items() if it not in unset.get(key, ())}, cls)

        return structure

    # Later registrations are asked first.
    converter.register_structure_hook(str, _text)
    converter.register_structure_hook(int, _integer)
    converter.register_structure_hook(bool, _boolean)
    converter.register_structure_hook_func(lambda type_: type_ is Any, _anything)
    converter.register_structure_hook_func(_is_int_or_str, _integer_or_text)
    converter.register_structure_hook_factory(attrs.has, for_class)
    converter.register_structure_hook_factory(_has_origin(tuple), for_tuple)
    converter.register_structure_hook_factory(_has_origin(Mapping), for_mapping)
    converter.register_structure_hook_factory(_has_origin(Literal), for_literal)
    converter.register_structure_hook_factory(lambda type_: hasattr(type_, "__metadata__"), for_annotated)
    return converter


def _has_origin(origin: Any) -> Callable[[Any], bool]:
    return lambda type_: get_origin(type_) is origin


def _is_int_or_str(type_: Any) -> bool:
    return get_origin(type_) in (types.UnionType, typing.Union) and set(get_args(type_)) == {int, str}


def _means_nothing(field: attrs.Attribute[Any]) -> bool:
    """Whether "" in this field is the same as leaving it out: its default is "", or it must be there and be checked."""
    if field.default is attrs.NOTHING:
        return any(isinstance(marker, Check) for marker in getattr(field.type, "__metadata__", ()))
    return field.default == ""


def _collect(items: Iterable[tuple[Any, Any]], structure: Callable[[Any], Any]) -> dict[Any, Any]:
    """Structures every item; raises all that went wrong, each with its index, in cattrs' own way."""
    made, errors = {}, []
    for index, item in items:
        try:
            made[index] = structure(item)
        except (ValueError, ClassValidationError, IterableValidationError) as error:
            error.add_note(IterableValidationNote(f"at {index!r}", index, None))
            errors.append(error)
    if errors:
        raise IterableValidationError("invalid items", errors, dict)
    return made


_CONVERTER: Final = _make_converter()
