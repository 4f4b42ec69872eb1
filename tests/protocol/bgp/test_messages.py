"""Messages are values."""

from __future__ import annotations

import attrs
import pytest
from hypothesis import given

from protocol.bgp.messages import Capabilities, Keepalive, Message
from protocol.prefix import IPV4, parse_prefix
from tests.strategies.bgp import messages

PREFIX = parse_prefix("10.0.0.0/8")


@given(messages)
def test_a_message_can_be_a_key_and_cannot_be_changed(message: Message) -> None:
    assert {message: 1}[attrs.evolve(message)] == 1
    for field in attrs.fields(type(message)):
        with pytest.raises(attrs.exceptions.FrozenInstanceError):
            setattr(message, field.name, None)


def test_keepalives_are_all_the_same_and_capabilities_start_with_ipv4() -> None:
    assert Keepalive() == Keepalive()
    assert Capabilities().families == (IPV4,)
