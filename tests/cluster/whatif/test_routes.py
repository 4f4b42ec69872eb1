"""Tables before and after."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from agents.dataplane.fib import BLACKHOLE, UNREACHABLE, FibRoute, device, via
from cluster.whatif.routes import RouteChange, compare_routes, homes, plain, route_lines
from protocol.prefix import Address, Prefix, format_address, parse_address, parse_prefix

A, B = parse_prefix("10.1.0.0/26"), parse_prefix("10.1.0.64/26")
ADDRESSES = {parse_address(f"10.77.0.{number}"): f"node-{number}" for number in range(1, 5)}


def to(*numbers: int, device: str = "") -> FibRoute:
    return via(tuple(parse_address(f"10.77.0.{number}") for number in numbers), device)


def name_of(address: Address) -> str:
    return ADDRESSES.get(address) or format_address(address)


def test_entries_come_go_and_lead_elsewhere() -> None:
    before = {"x": {A: to(1), B: to(2)}, "y": {A: to(1)}, "gone": {B: BLACKHOLE}, "same": {A: to(1)}}
    after = {"x": {A: to(3)}, "y": {A: to(3), B: UNREACHABLE}, "new": {B: BLACKHOLE}, "same": {A: to(1)}}
    assert compare_routes(before, after) == [
        RouteChange(prefix=A, nodes=("x", "y"), old=to(1), new=to(3)),
        RouteChange(prefix=B, nodes=("x",), old=to(2), new=None),
        RouteChange(prefix=B, nodes=("y",), old=None, new=UNREACHABLE),
    ]


def test_routes_in_words() -> None:
    assert [plain(route) for route in (None, to(1), to(1, 2, device="tunl0"), BLACKHOLE, device("cali1"))] == [
        "", "via 10.77.0.1", "via 10.77.0.1 and 10.77.0.2 dev tunl0", "blackhole", "dev cali1",
    ]  # fmt: skip


def test_what_happens_to_many_prefixes_alike_is_one_line() -> None:
    names = [f"node-{number}" for number in range(1, 5)]
    blocks = {name: parse_prefix(f"10.1.0.{64 * number}/26") for number, name in enumerate(names)}
    before = {
        name: {
            block: BLACKHOLE if owner == name else to(int(owner[-1]))
            for owner, block in blocks.items()
        }
        for name in names
    }  # fmt: skip
    after = {name: {blocks[name]: BLACKHOLE} for name in names}
    lines = [*route_lines(compare_routes(before, after), name_of, homes(before, after))]
    assert lines == [
        "10.1.0.0/26, 10.1.0.64/26, 10.1.0.128/26, 10.1.0.192/26: via its node -> none, on 3 nodes each"
    ]
    moved = compare_routes({"node-1": {A: to(2)}}, {"node-1": {A: to(3, 4, device="tunl0")}})
    assert [*route_lines(moved, name_of, {})] == [
        "10.1.0.0/26: via node-2 -> via node-3, node-4 through tunl0, on node-1"
    ]
    readdressed = compare_routes({"node-1": {A: to(2)}}, {"node-1": {A: to(3)}})
    assert [*route_lines(readdressed, lambda address: "node-2", {A: {"node-2"}})] == [
        "10.1.0.0/26: via 10.77.0.2 -> via 10.77.0.3, on node-1"
    ]


def test_only_the_greatest_changes_are_told() -> None:
    prefixes = [parse_prefix(f"10.{number}.0.0/16") for number in range(12)]
    old = {f"n{node}": {prefix: to(1) for prefix in prefixes[node:]} for node in range(12)}
    lines = [*route_lines(compare_routes(old, {name: {} for name in old}), name_of, {})]
    assert len(lines) == 9
    assert lines[0] == "10.11.0.0/16: via node-1 -> none, on n0, n1, n10 and 9 more"
    assert lines[-1] == "and other changes of 4 prefixes"


ROUTES = st.sampled_from([to(1), to(2), BLACKHOLE])
TABLES = st.dictionaries(st.sampled_from("xyz"), st.dictionaries(st.sampled_from([A, B]), ROUTES))


@given(TABLES, TABLES)
def test_changes_lead_from_one_picture_to_the_other(
    before: dict[str, dict[Prefix, FibRoute]], after: dict[str, dict[Prefix, FibRoute]]
) -> None:
    tables = {node: dict(table) for node, table in before.items()}
    for change in compare_routes(before, after):
        for node in change.nodes:
            table = tables[node]
            assert table.pop(change.prefix, None) == change.old
            if change.new is not None:
                table[change.prefix] = change.new
    assert tables == {node: after.get(node, table) for node, table in before.items()}
