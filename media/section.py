"""The base of every configuration section: frozen, and no unknown key gets in."""

from pydantic import BaseModel, ConfigDict


class Section(BaseModel):
    """One section of `config.yaml`. Each is defined beside the code that it steers."""

    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=True)
