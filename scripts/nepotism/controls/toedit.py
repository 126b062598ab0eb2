"""ToEdit: in place of what a model writes, the original text with the tokens drawn anew that it finds all too likely."""

from nepotism.controls.faces import Control

CONTROL = Control(
    "toedit",
    "Train on original text whose tokens the model draws anew where it is sure of them, and not on what it writes.",
    "Zhu et al., arXiv 2412.14689",
    ("lm",),
    {
        "threshold": {
            "description": "Probability of a token, given the original ones before it, from which on it is drawn anew, from the eight "
            "likeliest at temperature 1.5; 1 leaves the text as it is.",
            "type": "number", "minimum": 0, "maximum": 1, "default": 0.99,
        },
    },
)  # fmt: skip
