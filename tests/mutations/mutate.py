"""Changes a tree at random, in the ways that find faults in code that takes JSON."""

import base64
import random
from collections.abc import Callable, Sequence

from tests.mutations.tree import (
    Array,
    Embedded,
    Literal,
    Node,
    Object,
    Slot,
    at,
    children,
    copied,
    name_of,
    put,
    slots,
    written,
)

MOST_MUTATIONS = 5
_STACKED = 0.55
_ANYWHERE = 0.4
_HALFWAY = 0.25
_NUMBERS = (
    *("0", "-0", "-0.0", "1", "-1", "2", "1.0", "0.1", "1.5", "-1.5", "1e2", "1E400", "-1e400", "1e-400", "NaN"),
    *("Infinity", "-Infinity", "2147483648", "-9223372036854775809", "9007199254740993", "1e38", "1e125", "1e126"),
    *(
        "1e-131",
        "1795510800000",
        "0.1234567890123456789012345678901234567890123",
        "1" * 39,
        "9" * 400,
        "-" + "7" * 4300,
    ),
)
_ODD = (
    *("\0", "\x01", "\x1b[31m", "\x7f", "\x85", "\n", "\r\n", "\t", "\ud800", "\udfff", "\ud83d", "\ufffe", "\uffff"),
    *("\u2028", "\u00a0", "\u200b", "\u202e", "\ufeff", "\u3000", "\u0661\u0662", "\uff11", "\u00b2", "\u00df"),
    *("\u0130", "\U0001f600", "e\u0301", "'", '"', "\\", "`$(id)`", "%00", "%s{0}{}", "../", "<script>", "*", ":", "/"),
    *("@", "#", "?", "&", ";", ",", " ", ".", "-", "_"),
)
_TEXTS = (
    *("", " ", "0", "1", "true", "null", "NaN", "{}", "[]", '""', "{", "[[", '{"id":', '{"id":"a"}x', "[" * 2000),
    *('{"id":' * 1200 + "1" + "}" * 1200, "9" * 5000, '{"id":' + "9" * 5000 + "}", "1e999", "\ufeff{}", "arn:aws:s3"),
    *("http://[", "https://user:pw@control-plane.example.com/webhook", "http://control-plane.example.com/webhook"),
    *("https://control-plane.example.com:99999/webhook", "https://control-plane.example.com:/webhook", "//x", "https:"),
    *("https://169.254.169.254/", "https://xn--a/", "https://\u2024.example.com/", "https://control-plane.example.com"),
    *("https://control-plane.example.com\u3002/webhook", "https://control-plane.example.com/\u00e9?a=\ud800"),
    *("__proto__", "constructor", "None", "undefined", "\u0661\u0662\u0663", "PT5M", "CODE_BUILD", "JENKINS"),
    *("STEP_FUNCTIONS", "code_build", "BASIC", "STANDARD", "PREMIUM", "ENTERPRISE", "DEDICATED", "premium", "1", "0"),
    *("TENANT_PROVISIONING", "TENANT_PROVISIONING_SUCCESS", "TENANT_PROVISIONING_FAILURE", "TENANT_DEPLOYMENT"),
    *(
        "TENANT_DEPLOYMENT_SUCCESS",
        "TENANT_DEPLOYMENT_FAILURE",
        "TENANT_DEPROVISIONING",
        "TENANT_DEPROVISIONING_SUCCESS",
    ),
    *("TENANT_DEPROVISIONING_FAILURE", "CodeBuild Build State Change", "Step Functions Execution Status Change"),
    *(
        "Scheduled Event",
        "aws.codebuild",
        "aws.states",
        "aws.scheduler",
        "orchestrator",
        "saas.tenant.provisioning.jenkins",
    ),
    *("SUCCEEDED", "FAILED", "IN_PROGRESS", "aws:sqs", "arn:aws:sqs:us-east-1:123456789012:orchestrator-failures.fifo"),
)
_TIMES = (
    *("0000-01-01T00:00:00Z", "0001-01-01T00:00:00Z", "0001-01-01T00:00:00+14:00", "1970-01-01T00:00:00Z"),
    *("1999-12-31T23:59:59Z", "2000-01-01T00:00:00+14:00", "9999-12-31T23:59:59Z", "9999-12-31T23:59:59-12:00"),
    *("10000-01-01T00:00:00Z", "2016-12-31T23:59:60Z", "2026-11-24T24:00:00Z", "2026-02-30T00:00:00Z"),
    *("2026-11-24T09:00:00", "2026-11-24", "2026-11-24 09:00:00", "2026-11-24T09:00:00+99:00", "20261124T090000Z"),
    *("2026-W48-2", "1795510800", "-1", "1e400", "\u0662\u0660\u0662\u0666-11-24T09:00:00Z", "now", "inf", "NaN"),
    *("2026-11-24T09:00:00.123456789Z", "2026-11-24T09:00:00,5Z", "2020-01-01T00:00:00Z", "2400-01-01T00:00:00Z"),
)
_NAMES = (
    *("", " ", "id", "tenant", "tenantId", "data", "detail", "type", "tier", "secret", "context", "subscription"),
    *("planConfig", "builderConfig", "plan", "config", "environmentOverride", "API_ENDPOINT", "ORCHESTRATOR_RUN_ID"),
    *("PATH", "LD_PRELOAD", "BASH_ENV", "1x", "a b", "a=b", "\u00e9", "\ud800", "a\0b", "a\nb", "$x", "x.y", "n" * 300),
    *("requestPayload", "requestContext", "Records", "SystemMetadata", "Data", "replay-name", "body", "reason"),
    *(
        "n" * 70_000,
        "eventId",
        "startedAt",
        "status",
        "waitingFor",
        "openJob",
        "expiration",
        "__class__",
        "model_config",
    ),
)
_LONG = (81, 128, 256, 257, 1025, 2049, 5501, 9000, 33_000, 70_000, 263_000, 420_000, 1_050_000)
_DEPTHS = (2, 20, 31, 32, 33, 40, 60, 63, 64, 65, 100, 300)


def mutated(node: Node, others: Sequence[Node], choose: random.Random) -> Node:
    """Return a changed copy of a tree.

    Args:
        node: The tree.
        others: Trees to take parts from.
        choose: Makes every choice.
    """
    changed: Node = Array([copied(node)])  # so that the whole tree has a place, too
    for number in range(MOST_MUTATIONS):
        if number and choose.random() > _STACKED:
            break
        places = _places(changed, choose)
        if places:
            choose.choices(_WAYS, _WEIGHTS)[0](places, others, choose)
    members = children(changed)
    return members[0] if members else Literal("null")


def _places(changed: Node, choose: random.Random) -> list[Slot]:
    """Return two places: every node is as likely for some, and for the others those near the root are more likely."""
    everywhere = list(slots(changed))
    return [_place(changed, everywhere, choose) for _ in range(2)] if everywhere else []


def _place(changed: Node, everywhere: Sequence[Slot], choose: random.Random) -> Slot:
    if choose.random() < _ANYWHERE:
        return choose.choice(everywhere)
    slot = choose.choice([(holder, place) for holder, place in everywhere if holder is changed])
    while (members := children(at(slot))) and choose.random() > _HALFWAY:
        holder = at(slot)
        assert not isinstance(holder, Literal | str)
        slot = (holder, choose.randrange(len(members)))
    return slot


Places = list[Slot]
Others = Sequence[Node]


def _delete(places: Places, others: Others, choose: random.Random) -> None:
    holder, place = places[0]
    if isinstance(holder, Object | Array):
        del holder.members[place]


def _rename(places: Places, others: Others, choose: random.Random) -> None:
    holder, place = places[0]
    if not isinstance(holder, Object):
        return
    name, member = holder.members[place]
    names = (
        choose.choice(_NAMES),
        name.upper(),
        name + " ",
        name[:-1],
        name_of(places[1]),
        f"{name}{choose.choice(_ODD)}",
    )
    holder.members[place] = (choose.choice(names), member)


def _repeat(places: Places, others: Others, choose: random.Random) -> None:
    holder, place = places[0]
    if isinstance(holder, Object):
        holder.members.append((holder.members[place][0], _junk(choose)))
    elif isinstance(holder, Array):
        holder.members.extend(copied(holder.members[place]) for _ in range(choose.choice((1, 2, 11, 30))))


def _replace(places: Places, others: Others, choose: random.Random) -> None:
    put(places[0], _junk(choose))


def _add(places: Places, others: Others, choose: random.Random) -> None:
    holder, _ = places[0]
    if isinstance(holder, Object):
        holder.members.insert(choose.randrange(len(holder.members) + 1), (choose.choice(_NAMES), _junk(choose)))
    elif isinstance(holder, Array):
        holder.members.append(_junk(choose))


def _retype(places: Places, others: Others, choose: random.Random) -> None:
    """Keep the value, but in another form."""
    node = at(places[0])
    text = node if isinstance(node, str) else written(node)
    forms: list[Node] = [Array([node]), Object([(choose.choice(_NAMES), node)]), Embedded(node), text]
    if isinstance(node, Embedded):
        forms.append(node.value)
    if isinstance(node, Object) and node.members:
        forms += [Array(children(node)), node.members[0][1]]
    put(places[0], choose.choice(forms))


def _tweak(places: Places, others: Others, choose: random.Random) -> None:
    """Change a string a little."""
    node = at(places[0])
    text = written(node.value) if isinstance(node, Embedded) else node if isinstance(node, str) else None
    if text is None:
        put(places[0], Literal(choose.choice(_NUMBERS)))
        return
    cut = choose.randrange(len(text) + 1)
    odd = choose.choice(_ODD)
    forms = (
        *(odd + text, text + odd, text[:cut] + odd + text[cut:], text[:cut], text[cut:], text.upper(), text.lower()),
        *(f" {text} ", text + "x" * choose.choice(_LONG[:8]), base64.b64encode(text.encode(errors="replace")).decode()),
        *(text * 2, text.replace('"', "'"), text[::-1]),
    )
    put(places[0], choose.choice(forms))


def _break_text(places: Places, others: Others, choose: random.Random) -> None:
    """Cut off JSON in a string at a byte, or change a byte of it."""
    embedded = [slot for slot in slots(places[0][0]) if isinstance(at(slot), Embedded)]
    if not embedded:
        _tweak(places, others, choose)
        return
    slot = choose.choice(embedded)
    node = at(slot)
    assert isinstance(node, Embedded)
    raw = bytearray(written(node.value).encode())
    cut = choose.randrange(len(raw) + 1)
    if choose.random() < 0.5:
        raw = raw[:cut]
    else:
        raw[cut : cut + choose.randrange(3)] = bytes(choose.randrange(256) for _ in range(choose.randrange(4)))
    put(slot, raw.decode(errors=choose.choice(("replace", "surrogateescape", "ignore"))))


def _swap(places: Places, others: Others, choose: random.Random) -> None:
    """Put a part of another tree, or of this one, in the place of a node."""
    source = choose.choice(others) if choose.random() < 0.6 else None
    slot = places[1] if source is None else choose.choice(list(slots(source)))
    put(places[0], copied(at(slot)))


def _swap_namesake(places: Places, others: Others, choose: random.Random) -> None:
    """Put what another tree has under the same name in the place of a node."""
    name = name_of(places[0])
    found = [slot for slot in slots(choose.choice(others)) if name and name_of(slot) == name]
    if found:
        put(places[0], copied(at(choose.choice(found))))


def _grow(places: Places, others: Others, choose: random.Random) -> None:
    forms: tuple[Callable[[], Node], ...] = (
        lambda: choose.choice(("x", "\u00e9", "\U0001f600", "\x1f", '"')) * choose.choice(_LONG),
        lambda: _deep(choose),
        lambda: Array([Literal("1")] * choose.choice((11, 1000))),
        lambda: Object([(f"name{number}", "x") for number in range(choose.choice((11, 400, 5000)))]),
    )
    put(places[0], choose.choice(forms)())


def _time(places: Places, others: Others, choose: random.Random) -> None:
    timed = [
        slot for slot in slots(places[0][0]) if name_of(slot) in ("time", "SentTimestamp", "stopDate", "startDate")
    ]
    put(choose.choice(timed) if timed else places[0], choose.choice(_TIMES))


def _deep(choose: random.Random) -> Node:
    depth = choose.choice(_DEPTHS)
    opening, closing = choose.choice((("[", "]"), ('{"id":', "}"), ('{"data":', "}"), ('{"requestPayload":', "}")))
    return Literal(opening * depth + choose.choice(("1", '"x"', "{}")) + closing * depth)


def _junk(choose: random.Random) -> Node:
    forms: tuple[Node, ...] = (
        Literal("null"),
        Literal(choose.choice(("true", "false"))),
        Literal(choose.choice(_NUMBERS)),
        Literal(choose.choice(_NUMBERS)),
        choose.choice(_TEXTS),
        choose.choice(_TEXTS),
        choose.choice(_TEXTS) + choose.choice(_ODD),
        choose.choice(_TIMES),
        Array([]),
        Object([]),
        Array([Literal("null")]),
        Array([choose.choice(_TEXTS), Literal(choose.choice(_NUMBERS))]),
        Object([(choose.choice(_NAMES), choose.choice(_TEXTS))]),
        Object([(choose.choice(_NAMES), Object([(choose.choice(_NAMES), Literal(choose.choice(_NUMBERS)))]))]),
        Embedded(Object([("id", choose.choice(_TEXTS))])),
        Embedded(Literal(choose.choice(_NUMBERS))),
        choose.choice(_ODD) * choose.choice((1, 3)),
    )
    return choose.choice(forms)


_WAYS, _WEIGHTS = zip(
    *(
        (_delete, 10),
        (_rename, 8),
        (_repeat, 6),
        (_replace, 20),
        (_add, 8),
        (_retype, 10),
        (_tweak, 14),
        (_break_text, 5),
        (_swap, 7),
        (_swap_namesake, 10),
        (_grow, 3),
        (_time, 4),
    ),
    strict=True,
)
