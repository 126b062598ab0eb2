"""Controls: what happens to generated rows before they are mixed in. Each is a package here; its face needs the standard
library only."""

from nepotism.controls import histogram_match, sifid_cull
from nepotism.controls.faces import Control

# Leaves rows as they are: no rule, no `curated.parquet`.
NONE = Control("none", "Generated rows are trained on as they are.", "", ("diffusion", "gmm", "vae", "lm"))

CONTROLS: dict[str, Control] = {
    control.name: control for control in (NONE, histogram_match.CONTROL, sifid_cull.CONTROL)
}
