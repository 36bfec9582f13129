"""Describes pydantic's validation errors in one line, without repeating any value."""

from pydantic import ValidationError

from orchestrator.errors import shown

_MOST_SHOWN = 10
_LONGEST_NAME = 80
# The texts of these errors repeat the input, or were written by a model's author, who may have included the input.
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
    "json_invalid": "is not valid JSON",
    "json_type": "must be a text with JSON",
}


def explain(error: ValidationError, root: str = "") -> str:
    """Describe up to ten errors, as in `detail.tenant.id is missing, detail.tier must be a text`.

    Further errors are only counted, as in `and 2 more`. The text of a validator's `ValueError` is left out, because the
    text may repeat a secret. The text of a `pydantic_core.PydanticCustomError` is included.

    Args:
        root: The beginning of each field's path, such as `detail`.
    """
    problems = error.errors(include_url=False, include_context=False, include_input=False)
    texts = [f"{path_of(root, problem['loc'])} {_reason(problem['type'], problem['msg'])}" for problem in problems]
    unique = list(dict.fromkeys(texts))
    rest = len(unique) - _MOST_SHOWN
    return ", ".join(unique[:_MOST_SHOWN]) + (f" and {rest} more" if rest > 0 else "")


def path_of(root: str, location: tuple[int | str, ...]) -> str:
    """Write the path of a field, such as `detail.tenant.domains[0]`.

    A name is written unchanged if it is a Python identifier of at most 80 characters; hyphens are allowed, too, as in
    `user-id`. Any other name is quoted, escaped, and cut if it is long (see `shown`). If the path is empty, the result
    is the word `it`, so that the result can always be the subject of an error message.

    Args:
        root: The beginning of the path, such as `detail`; may be empty.
        location: The names and list indexes that lead from `root` to the field.
    """
    path = root
    for part in location:
        if isinstance(part, int):
            path += f"[{part}]"
        else:
            is_plain = len(part) <= _LONGEST_NAME and part.replace("-", "").isidentifier()
            name = part if is_plain else shown(part)
            path += f".{name}" if path else name
    return path or "it"


def _reason(error_type: str, message: str) -> str:
    if error_type in _QUOTING_TYPES:
        return f"is refused by its model ({error_type})"
    return _PLAIN_WORDS.get(error_type) or f"is wrong: {message[:1].lower()}{message[1:]}"
