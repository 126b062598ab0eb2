"""The paper's first control: give each generated image the colours of the real image whose colours are distributed most alike."""

from nepotism.controls.faces import Control

CONTROL = Control(
    "histogram_match",
    "Match the colours of each generated image to the real image whose colours are distributed most alike.",
    "Bohacek & Farid, arXiv 2311.12202, section 3.4",
    ("diffusion",),
    {
        "direction": {
            "description": "Of the Kullback-Leibler divergence, which is not symmetric: D(generated || real), or the other way round.",
            "enum": ["generated_to_real", "real_to_generated"],
            "default": "generated_to_real",
        },
        "bins": {
            "description": "Bins of each channel's histogram.",
            "type": "integer", "minimum": 2, "maximum": 1024, "default": 256,
        },
        "epsilon": {
            "description": "Added to every bin's share so that empty bins have a logarithm.",
            "type": "number", "exclusiveMinimum": 0, "maximum": 0.1, "default": 1.0e-6,
        },
    },
)  # fmt: skip
