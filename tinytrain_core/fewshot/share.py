"""Which part of a shared source a simulated user has."""

from pydantic import BaseModel, ConfigDict, Field, model_validator

MIN_WAYS = 2  # of any task


class UserShare(BaseModel):
    """Which user of how many, and how many classes a user has."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    number: int = Field(ge=0)
    users: int = Field(ge=1)
    seed: int = Field(0, ge=0)
    min_ways: int = Field(5, ge=MIN_WAYS)
    max_ways: int = Field(10, ge=MIN_WAYS)

    @model_validator(mode="after")
    def _consistent(self) -> "UserShare":
        if self.number >= self.users:
            raise ValueError(f"user {self.number} of {self.users}: users count from 0")
        if self.max_ways < self.min_ways:
            raise ValueError(f"max_ways {self.max_ways} is below min_ways {self.min_ways}")
        return self
