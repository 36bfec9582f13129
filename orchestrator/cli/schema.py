"""The command `orchestrator schema`: prints the schemas of a handler's events, as AsyncAPI or JSON Schema."""

import argparse
import sys

from orchestrator.cli.load import load_registry
from orchestrator.cli.output import print_json, print_yaml
from orchestrator.errors import ConfigurationError, shown


def add_to(commands: "argparse._SubParsersAction[argparse.ArgumentParser]", *parents: argparse.ArgumentParser) -> None:
    """Add the command `schema` to the parser's commands.

    Args:
        parents: Parsers that define the options which `schema` shares with other commands.
    """
    parser = commands.add_parser(
        "schema",
        parents=parents,
        help="print the contracts of the events, as AsyncAPI or JSON Schema",
        description="Print an AsyncAPI 3.0 document (YAML) of the events that the handler receives and publishes, with "
        "the models of their details.",
    )
    parser.add_argument("--json-schema", metavar="TYPE", help="print the JSON Schema of this event type's detail")
    parser.set_defaults(run=_schema)


def _schema(options: argparse.Namespace) -> int:
    from orchestrator.cli.asyncapi import document
    from orchestrator.cli.detail_schemas import models_of, schema_of

    registry = load_registry(options.handler)
    if options.json_schema is None:
        print_yaml(document(registry, options.handler), sys.stdout)
        return 0
    models = models_of(registry)
    if options.json_schema not in models:
        known = ", ".join(f"'{event_type}'" for event_type in models) or "none"
        raise ConfigurationError(
            f"--json-schema {shown(options.json_schema)}: the handler has no such event type; name one of: {known}"
        )
    print_json(schema_of(options.json_schema, models[options.json_schema]), sys.stdout)
    return 0
