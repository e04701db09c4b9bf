"""A device's private images as one task: what it learns from, and the holdout that it judges itself by."""

from client.config import DeviceConfig
from tinytrain_core.fewshot.datasets import ImageSource
from tinytrain_core.fewshot.episodes import Episode, personal_episode
from tinytrain_core.fewshot.sources import open_source
from tinytrain_core.fewshot.users import user_source
from tinytrain_core.seeds import Draw, generator


def device_source(device: DeviceConfig) -> ImageSource:
    """The images of a device, or of the user that it simulates.

    Raises:
        ConfigurationError: there is nothing at `device.data`.
        DataError: what is there holds no images.
    """
    return open_source(device.data) if device.user is None else user_source(device.data, device.user)


def device_episode(device: DeviceConfig, resolution: int) -> Episode:
    """The device's task, images square with `resolution` pixels a side.

    The split into support and holdout is the device's own: no round and no server's seed enters it, so that an
    image of the holdout is never learnt from, however often the device personalises.

    Raises:
        ConfigurationError: there is nothing at `device.data`.
        DataError: fewer than two classes have an image for either side.
    """
    seed = device.user.seed if device.user else 0
    rng = generator(seed, Draw.HOLDOUT, device.number)
    return personal_episode(device_source(device), device.shots, device.holdout, resolution, rng)
