"""Put a page together: one file that loads nothing, and whose scripts and styles are the only ones that a browser runs."""

import base64
import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from nepotism.page.numbers import MISSING, Number

# page.html, page.css and page.js.
TEMPLATES = Path(__file__).parents[3] / "resources" / "page"


def render(values: Mapping[str, Any]) -> str:
    """The page as HTML. All that comes from data is escaped; of styles and scripts the browser takes those alone that are ours.

    Args:
        values: what the template names.
    """
    # Everything is escaped that is not marked as HTML here.
    environment = Environment(
        loader=FileSystemLoader(TEMPLATES, encoding="utf-8"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["number"] = _number
    style, script = ((TEMPLATES / name).read_text(encoding="utf-8") for name in ("page.css", "page.js"))
    own = {"style": Markup(style), "script": Markup(script), "policy": _policy(style, script)}  # noqa: S704
    return environment.get_template("page.html").render(**values, **own)


def _number(number: Number) -> str:
    """A number as people read it, with the number of the table beside it."""
    return Markup('<data value="{}">{}</data>').format(number.raw, str(number)) if number else MISSING


def _policy(style: str, script: str) -> str:
    """A content security policy: no file is loaded from anywhere, and no other script or style than these is run."""
    return (
        "default-src 'none'; img-src data:; base-uri 'none'; form-action 'none'; "
        f"style-src {_hash(style)}; script-src {_hash(script)}"
    )


def _hash(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"
