"""A device's private images as one task: what it learns from, and the holdout that it judges itself by."""

from client.config import DeviceConfig
from tinytrain_core.fewshot.datasets import ImageSource
from tinytrain_core.fewshot.differences import user_episode, wanted_shots
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
    if device.user is None:
        return open_source(device.data)
    return user_source(device.data, device.user, wanted_shots(device.user, device.shots) + device.holdout)


def device_episode(device: DeviceConfig, resolution: int) -> Episode:
    """The device's task, images square with `resolution` pixels a side.

    The split into support and holdout is the device's own: no round and no server's seed enters it, so that an
    image of the holdout is never learnt from, however often the device personalises.

    Raises:
        ConfigurationError: there is nothing at `device.data`.
        DataError: fewer than two classes have an image for either side.
    """
    source, user = device_source(device), device.user
    rng = generator(user.seed if user else 0, Draw.HOLDOUT, device.number)
    if user is None:
        return personal_episode(source, device.shots, device.holdout, resolution, rng)
    return user_episode(source, user, device.shots, device.holdout, resolution, rng)
