"""The function's settings, read from its environment once."""

import os
from collections.abc import Mapping
from typing import Annotated

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from orchestrator.errors import ConfigurationError
from orchestrator.validation import explain

# A template passes an unset parameter on as an empty text.
_Text = Annotated[str | None, BeforeValidator(lambda value: (value or "").strip() or None)]


class Settings(BaseModel):
    """The settings, named after their environment variables (CONTRACT section 2).

    Attributes:
        tier_details_table: DynamoDB table of the tiers; without it a tier's job is `{tier}-job`.
        tier_details_max_age: Seconds for which a tier's details are kept before they are read again.
        data_store_table: DynamoDB table of the tenant records; without it none are kept.
        dynamo_db_region: Region of both tables; `None` is the function's own.
        code_build_region: Region of the CodeBuild projects; `None` is the function's own.
        aws_region: The function's own region; `None` leaves it to the SDK's configuration.
        default_builder: The build system of jobs that name none.
    """

    model_config = ConfigDict(frozen=True, alias_generator=str.upper, populate_by_name=True)

    tier_details_table: _Text = None
    tier_details_max_age: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 300.0
    data_store_table: _Text = None
    dynamo_db_region: _Text = None
    code_build_region: _Text = None
    aws_region: _Text = None
    default_builder: Annotated[str, Field(min_length=1)] = "CODE_BUILD"

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] = os.environ) -> "Settings":
        """Read the settings.

        Args:
            environment: Where to read them from; an empty value counts as unset.

        Returns:
            The settings.

        Raises:
            ConfigurationError: A variable has a value that it cannot have; the message names it.
        """
        try:
            return cls.model_validate({name: value for name, value in environment.items() if value.strip()})
        except ValidationError as error:
            raise ConfigurationError(f"environment variable {explain(error)}; correct or remove it") from None
