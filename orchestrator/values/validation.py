"""Says in one line, without repeating any value, what a pydantic model found wrong."""

from pydantic import ValidationError

from orchestrator.errors import shown

_MOST_SHOWN = 10
# Their texts repeat the input, or were written by a model's author who may have put it there.
_QUOTING_TYPES = frozenset(
    {"assertion_error", "import_error", "value_error", "union_tag_invalid", "url_parsing", "uuid_parsing"}
)
_PLAIN_WORDS = {
    "missing": "is missing",
    "string_type": "must be a text",
    "string_too_short": "is empty",
    "dict_type": "must be an object",
    "model_type": "must be an object",
    "list_type": "must be a list",
    "json_invalid": "is no valid JSON",
    "json_type": "must be a text that holds JSON",
}


def explain(error: ValidationError, root: str = "") -> str:
    """Name every field that is wrong and why.

    Args:
        error: What pydantic raised.
        root: Name of the validated thing, set before each field's path.

    Returns:
        For example `detail.tenant.id is missing, detail.planConfig.tier must be a text`. At most ten fields
        are named, then the number of the others. Texts of hand-written validators (`ValueError`) are left
        out, because they may repeat secrets; raise `pydantic_core.PydanticCustomError` to have one shown.
    """
    problems = error.errors(include_url=False, include_context=False, include_input=False)
    texts = [f"{path_of(root, problem['loc'])} {_reason(problem['type'], problem['msg'])}" for problem in problems]
    unique = list(dict.fromkeys(texts))
    rest = len(unique) - _MOST_SHOWN
    return ", ".join(unique[:_MOST_SHOWN]) + (f" and {rest} more" if rest > 0 else "")


def path_of(root: str, location: tuple[int | str, ...]) -> str:
    """Write where a field is.

    Args:
        root: Name of the thing that holds it; may be empty.
        location: The names and indexes that lead to it.

    Returns:
        For example `detail.tenant.domains[0]`; names that are no identifiers are quoted, escaped and cut.
    """
    path = root
    for part in location:
        if isinstance(part, int):
            path += f"[{part}]"
        else:
            name = part if part.replace("-", "").isidentifier() else shown(part)
            path += f".{name}" if path else name
    return path or "it"


def _reason(error_type: str, message: str) -> str:
    if error_type in _QUOTING_TYPES:
        return f"is refused by its model ({error_type})"
    return _PLAIN_WORDS.get(error_type) or f"is wrong: {message[:1].lower()}{message[1:]}"
