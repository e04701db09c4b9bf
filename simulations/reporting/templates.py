"""The HTML templates of this folder, and the colours of the style sheet that they share."""

import re
from functools import lru_cache
from importlib.resources import files

import jinja2

STYLE = "style.html"


def _read(name: str) -> str:
    return (files(__package__) / name).read_text(encoding="utf-8")


@lru_cache
def template(name: str) -> jinja2.Template:
    """The template in the file `name`; what it is not given is an error, what it is given is escaped."""
    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, loader=jinja2.FunctionLoader(_read)
    )
    return environment.get_template(name)


@lru_cache
def light_colours() -> dict[str, str]:
    """The style sheet's variables where the page is light, as name -> colour."""
    light = _read(STYLE).partition("}")[0]
    return dict(re.findall(r"--([\w-]+): (#\w+);", light))
