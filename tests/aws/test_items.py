"""Items of DynamoDB are written and read as by boto3's own serializer and deserializer."""

from decimal import Decimal
from typing import Any

from boto3.dynamodb.types import TypeDeserializer, TypeSerializer
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.aws.items import from_item, to_item

_SCALARS = (
    st.none()
    | st.booleans()
    | st.text()
    | st.binary()
    | st.integers(-(10**38) + 1, 10**38 - 1)
    | st.decimals(-9, 9, places=3)
)
_SETS = st.sets(st.text(), min_size=1) | st.sets(st.integers(0, 9), min_size=1) | st.sets(st.binary(), min_size=1)


@given(st.recursive(_SCALARS | _SETS, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner)))
def test_a_value_is_converted_as_the_sdk_does(value: Any) -> None:
    item = {"a": TypeSerializer().serialize(value)}

    assert to_item({"a": value}) == item
    assert from_item(item) == {"a": TypeDeserializer().deserialize(item["a"])}


def test_a_float_is_stored_in_its_shortest_form() -> None:
    assert to_item({"a": 0.1}) == {"a": TypeSerializer().serialize(Decimal("0.1"))}
