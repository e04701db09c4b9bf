"""Which part of a shared source a simulated user has, and how what users have differs."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

MIN_WAYS = 2  # of any task


class Sharing(BaseModel):
    """How a stock of images falls to users. The defaults give every user classes of a free choice, evenly.

    Attributes:
        scheme: who gets which images.
            choice: a user draws classes; the images of a class are dealt evenly to those who drew it.
            dirichlet: a user draws classes, and a preference over them from Dirichlet(alpha); a user who prefers a
                class gets more of its images.
            by_class: specialists. The classes, shuffled once, stand in a ring; a user has some that follow each other.
            by_writer: the images of a user come from as few groups (writers, tracks) as possible, by the groups'
                names. Glyphs need none of it: each user is a writer.
        alpha: for dirichlet; below 1 most images of a user are of one class, 100 is nearly even.
        imbalance: the user's k-th class has shots x k^-imbalance support images, at least one; 0 is the same for all.
        shots_spread: standard deviation of the logarithm of a user's shots; 0 gives all users the same.
        label_noise: share of the support images whose label is wrong. Holdouts are never touched.
        style: from 0 to 1, how far each user's camera shifts brightness, contrast, hue, sharpness and noise; the
            same shift for all images of a user, on both sides.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    scheme: Literal["choice", "dirichlet", "by_class", "by_writer"] = "choice"
    alpha: float = Field(0.5, ge=1e-3, le=1e4)
    imbalance: float = Field(0.0, ge=0, le=5)
    shots_spread: float = Field(0.0, ge=0, le=2)
    label_noise: float = Field(0.0, ge=0, le=0.9)
    style: float = Field(0.0, ge=0, le=1)


EVEN = Sharing()


class UserShare(BaseModel):
    """Which user of how many, how many classes a user has, and how the images fall to users."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    number: int = Field(ge=0)
    users: int = Field(ge=1)
    seed: int = Field(0, ge=0)
    min_ways: int = Field(5, ge=MIN_WAYS)
    max_ways: int = Field(10, ge=MIN_WAYS)
    sharing: Sharing = EVEN

    @model_validator(mode="after")
    def _consistent(self) -> "UserShare":
        if self.number >= self.users:
            raise ValueError(f"user {self.number} of {self.users}: users count from 0")
        if self.max_ways < self.min_ways:
            raise ValueError(f"max_ways {self.max_ways} is below min_ways {self.min_ways}")
        return self
