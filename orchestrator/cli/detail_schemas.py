"""Describes the details of the events that a registry's consumers take or cause, as JSON Schema."""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter
from pydantic.errors import PydanticInvalidForJsonSchema
from pydantic.json_schema import GenerateJsonSchema
from pydantic_core import core_schema

from orchestrator.cli.flow import following_types
from orchestrator.details import DETAIL_MODELS
from orchestrator.errors import ConfigurationError, shown
from orchestrator.event import EventType
from orchestrator.lifecycle.endings import ENDINGS
from orchestrator.registry import Registry
from orchestrator.run import (
    EVENT_ID_VARIABLE,
    EVENT_TYPE_VARIABLE,
    FAILURE_SUFFIX,
    RUN_ID_VARIABLE,
    SUCCESS_SUFFIX,
    TENANT_ID_VARIABLE,
)

Models = Mapping[str, Sequence[TypeAdapter[Any]]]


class EndingDetail(BaseModel):
    """The detail of an event that the handler publishes about the ending of a run, or about a job that never starts.

    The detail has further members. By default, these are the run's variables or, if the job never starts, `secret`,
    `context`, `tier` and `API_ENDPOINT`, as far as they are known. If the consumer's `EndingEvent` declares a function
    `detail`, they are the members that this function returns.
    """

    model_config = ConfigDict(extra="allow")

    event_id: Annotated[str, Field(alias=EVENT_ID_VARIABLE, description="id of the event that the job is for")]
    event_type: Annotated[str, Field(alias=EVENT_TYPE_VARIABLE, description="type of that event")]
    tenant_id: Annotated[str, Field(alias=TENANT_ID_VARIABLE, description="id of the tenant, or an empty text")]
    run_id: Annotated[
        str | None, Field(alias=RUN_ID_VARIABLE, description="id of the run; missing if the job never starts")
    ] = None
    reason: Annotated[str | None, Field(description="why it failed")] = None
    error: Annotated[str | None, Field(description="type of the error, if the job never starts")] = None
    tenant: Annotated[str | None, Field(description="JSON text with at least the tenant's id")] = None


def models_of(registry: Registry) -> Models:
    """Return, for each event type, the models that an event's detail must fit.

    The result has two groups of event types:

    - The types that the registry's consumers take. Their models are in the consumers' annotations.
    - The other types of events that the consumers can cause. Their models are in `DETAIL_MODELS`. If a type is missing
      there, but its events report the ending of a job, its model is `EndingDetail`.

    A type without a known model has an empty sequence. If `ENDINGS` is in a consumer's `leads_to`, the result also has
    the key `ENDINGS`, with the model `EndingDetail`. The key stands for the events about the endings of all jobs.
    """
    models: dict[str, list[TypeAdapter[Any]]] = {}
    for consumer in registry:
        for event_type in consumer.types:
            adapters = models.setdefault(event_type, [])
            if consumer.model is not None:
                adapters.append(TypeAdapter(consumer.model))
    endings = {event_type for consumer in registry for event_type in consumer.ending_types}
    for event_type in following_types(registry):
        if event_type not in models:
            models[event_type] = _published(event_type, is_declared=event_type in endings)
    if any(ENDINGS in consumer.leads_to for consumer in registry):
        models[ENDINGS] = [TypeAdapter(EndingDetail)]
    return models


def schema_of(event_type: str, adapters: Sequence[TypeAdapter[Any]]) -> dict[str, Any]:
    """Return the JSON schema of one event type's detail, with the definitions that it needs.

    Args:
        event_type: The event type, for error messages.
        adapters: The detail's models, as `models_of` returns them. The schema requires a detail to fit all of them. If
            there is no model, the schema accepts every object.

    Raises:
        ConfigurationError: A model has no JSON schema.
    """
    dialect = {"$schema": GenerateJsonSchema.schema_dialect}
    if len(adapters) == 1:
        try:
            return {**dialect, **adapters[0].json_schema(schema_generator=_Generator)}
        except PydanticInvalidForJsonSchema as error:
            raise _has_no_schema(event_type, error) from None
    schemas, definitions = schemas_of({event_type: adapters}, "#/$defs/{model}")
    return {**dialect, **schemas[event_type], **({"$defs": definitions} if definitions else {})}


def schemas_of(models: Models, reference: str) -> tuple[dict[str, dict[str, Any]], dict[str, Any]]:
    """Return the JSON schema of each event type's detail, and the definitions that the schemas refer to.

    If an event type has several models, the schema requires a detail to fit all of them. If the type has no model, the
    schema accepts every object.

    Args:
        models: The models by event type, as `models_of` returns them.
        reference: Template of the `$ref` values, such as `#/$defs/{model}`. `{model}` is replaced by the name of the
            definition.

    Raises:
        ConfigurationError: A model has no JSON schema.
    """
    schemas: dict[str, dict[str, Any]] = {}
    mode: Literal["validation"] = "validation"
    inputs = [
        ((event_type, number), mode, adapter)
        for event_type, adapters in models.items()
        for number, adapter in enumerate(adapters)
    ]
    try:
        found, rest = TypeAdapter.json_schemas(inputs, ref_template=reference, schema_generator=_Generator)
    except PydanticInvalidForJsonSchema as error:
        raise _has_no_schema(", ".join(models), error) from None
    for event_type, adapters in models.items():
        own = [found[((event_type, number), mode)] for number in range(len(adapters))]
        unique = [schema for place, schema in enumerate(own) if schema not in own[:place]]
        schemas[event_type] = unique[0] if len(unique) == 1 else {"allOf": unique} if unique else {"type": "object"}
    return schemas, rest.get("$defs", {})


class _Generator(GenerateJsonSchema):
    """Generates schemas without the fields' automatic titles and without `null` as a default value.

    The keys of a schema are not sorted. If possible, a nullable type is a list, such as `["string", "null"]`.
    """

    def sort(self, value: dict[str, Any], parent_key: str | None = None) -> dict[str, Any]:
        return value

    def field_title_should_be_set(self, schema: Any) -> bool:
        return False

    def nullable_schema(self, schema: core_schema.NullableSchema) -> dict[str, Any]:
        found = super().nullable_schema(schema)
        inner = found["anyOf"][0] if "anyOf" in found else {}
        if isinstance(inner.get("type"), str) and not inner.keys() & {"enum", "const"}:
            return {**inner, "type": [inner["type"], "null"]}
        return found

    def default_schema(self, schema: core_schema.WithDefaultSchema) -> dict[str, Any]:
        found = super().default_schema(schema)
        return {name: value for name, value in found.items() if name != "default" or value is not None}


def _published(event_type: str, *, is_declared: bool) -> list[TypeAdapter[Any]]:
    if event_type in DETAIL_MODELS:
        return [TypeAdapter(DETAIL_MODELS[EventType(event_type)])]
    is_ending = is_declared or event_type.endswith((SUCCESS_SUFFIX, FAILURE_SUFFIX))
    return [TypeAdapter(EndingDetail)] if is_ending else []


def _has_no_schema(event_types: str, error: PydanticInvalidForJsonSchema) -> ConfigurationError:
    reason = str(error).partition("\n")[0]
    return ConfigurationError(
        f"the detail of {shown(event_types)} has no JSON schema: {reason}; give the field a WithJsonSchema annotation"
    )
