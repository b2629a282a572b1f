"""HTML pages: one file each, no network, no scripts, every picture inside."""

import base64
import functools
import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jinja2
from PIL import Image

from tlkit import text

FILTERS = ("percent", "duration", "compact", "rates", "short")


def render(template: str, context: Mapping[str, Any]) -> str:
    """Returns a page of the folder `templates`; a name it uses and lacks is an error."""
    return _environment().get_template(template).render(context)


def data_uri(image: Image.Image, kind: str = "jpeg") -> str:
    """Returns an RGB image as an address that holds it, compressed as `jpeg` or `png`."""
    buffer = io.BytesIO()
    image.save(buffer, kind, **({"quality": 82} if kind == "jpeg" else {}))
    return f"data:image/{kind};base64,{base64.b64encode(buffer.getvalue()).decode()}"


@functools.cache
def _environment() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent / "templates"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {name: getattr(text, name) for name in FILTERS}
    return environment
