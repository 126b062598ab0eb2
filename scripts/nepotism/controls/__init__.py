"""Controls: what happens to generated rows before they are mixed in.

Every module or package here with a `CONTROL` is one. What does the work is beside it, or in it, and imported by the rule's
script; the face needs the standard library only.
"""

import importlib
import pkgutil

from nepotism.controls.faces import Control

# Leaves rows as they are: no rule, no `curated.parquet`.
NONE = Control("none", "Generated rows are trained on as they are.", "")

CONTROLS: dict[str, Control] = {"none": NONE} | {
    control.name: control
    for found in pkgutil.iter_modules(__path__, f"{__name__}.")
    if (control := getattr(importlib.import_module(found.name), "CONTROL", None))
}
