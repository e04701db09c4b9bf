"""Tasks of one shape to look at costs and settings with, wherever their images come from."""

from tinytrain_core.fewshot.episodes import Episode, load_episode, sample_fixed
from tinytrain_core.fewshot.sources import is_glyphs, open_source
from tinytrain_core.seeds import Draw, generator

WAYS, SHOTS, QUERIES = 5, 5, 10
SUPPORT = WAYS * SHOTS


def example_task(data: str, resolution: int, draw: Draw, seed: int, number: int) -> Episode:
    """Task `number` of a source, 5-way 5-shot; of glyphs each is in another writer's hand, as simulated users have.

    Args:
        draw: what the task is drawn for; what is chosen by tasks of one draw is judged by those of another.

    Raises:
        ConfigurationError, DataError: there is no such source, or it has too few classes or images.
    """
    source = open_source(data, writer=number if is_glyphs(data) else None, seed=seed)
    draws = sample_fixed(source, WAYS, SHOTS, QUERIES, generator(seed, draw, number))
    return load_episode(source, draws, resolution)
