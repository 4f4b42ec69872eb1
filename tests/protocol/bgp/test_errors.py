"""Code points and their words."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol.bgp.errors import (
    Cease,
    Code,
    FsmError,
    Header,
    LocalProtocolError,
    OpenError,
    ProtocolError,
    RemoteProtocolError,
    UpdateError,
    describe,
)

OCTET = st.integers(0, 255)


@pytest.mark.parametrize(
    ("name", "code", "subcode"),
    [  # RFC 4271 4.5, RFC 5492, RFC 6608, RFC 4486: their numbers, written out a second time
        (Header.NOT_SYNCHRONIZED, 1, 1), (Header.BAD_LENGTH, 1, 2), (Header.BAD_TYPE, 1, 3),
        (OpenError.UNSUPPORTED_VERSION, 2, 1), (OpenError.BAD_PEER_AS, 2, 2), (OpenError.BAD_IDENTIFIER, 2, 3),
        (OpenError.UNSUPPORTED_PARAMETER, 2, 4), (OpenError.UNACCEPTABLE_HOLD_TIME, 2, 6),
        (OpenError.UNSUPPORTED_CAPABILITY, 2, 7),
        (UpdateError.MALFORMED_ATTRIBUTE_LIST, 3, 1), (UpdateError.UNRECOGNIZED_WELL_KNOWN, 3, 2),
        (UpdateError.MISSING_WELL_KNOWN, 3, 3), (UpdateError.ATTRIBUTE_FLAGS, 3, 4), (UpdateError.ATTRIBUTE_LENGTH, 3, 5),
        (UpdateError.INVALID_ORIGIN, 3, 6), (UpdateError.INVALID_NEXT_HOP, 3, 8), (UpdateError.OPTIONAL_ATTRIBUTE, 3, 9),
        (UpdateError.INVALID_NETWORK, 3, 10), (UpdateError.MALFORMED_AS_PATH, 3, 11),
        (FsmError.UNEXPECTED_IN_OPENSENT, 5, 1), (FsmError.UNEXPECTED_IN_OPENCONFIRM, 5, 2),
        (FsmError.UNEXPECTED_IN_ESTABLISHED, 5, 3),
        (Cease.ADMINISTRATIVE_SHUTDOWN, 6, 2), (Cease.PEER_DECONFIGURED, 6, 3), (Cease.ADMINISTRATIVE_RESET, 6, 4),
        (Cease.CONNECTION_REJECTED, 6, 5), (Cease.OTHER_CONFIGURATION_CHANGE, 6, 6), (Cease.COLLISION, 6, 7),
    ],
)  # fmt: skip
def test_the_registers_numbers(name: int, code: int, subcode: int) -> None:
    assert name == subcode
    assert describe(code, subcode) not in (describe(code, 0), describe(code, 99)), "a known subcode has words"


@pytest.mark.parametrize(
    ("code", "subcode", "words"),
    [
        (2, 2, "Bad peer AS"),
        (2, 6, "Unacceptable hold time"),
        (4, 0, "Hold timer expired"),
        (4, 9, "Hold timer expired"),
        (6, 2, "Administrative shutdown"),
        (6, 7, "Connection collision"),
        (6, 0, "Cease error"),
        (6, 200, "Cease error 200"),
        (77, 3, "Unknown error 77.3"),
    ],
)
def test_words(code: int, subcode: int, words: str) -> None:
    assert describe(code, subcode) == words


@given(OCTET, OCTET)
def test_everything_a_notification_can_say_has_words(code: int, subcode: int) -> None:
    assert describe(code, subcode)


@given(st.sampled_from(Code), OCTET, st.binary(max_size=5))
def test_a_remote_error_carries_its_notification(code: Code, subcode: int, data: bytes) -> None:
    error = RemoteProtocolError("why", code, subcode, data)
    assert (error.reason, error.code, error.subcode, error.data) == ("why", code, subcode, data)
    assert type(error.code) is type(error.subcode) is int
    assert str(error) == f"why (NOTIFICATION {int(code)}/{subcode})"


def test_our_bugs_and_theirs_are_told_apart() -> None:
    assert issubclass(LocalProtocolError, ProtocolError)
    assert issubclass(RemoteProtocolError, ProtocolError)
    assert not issubclass(LocalProtocolError, RemoteProtocolError)
