"""The paper's second control: drop generated images whose single-image FID exceeds a frozen threshold, and replace them."""

from nepotism.controls.faces import Control

CONTROL = Control(
    "sifid_cull",
    "Drop images whose single-image FID exceeds the mean of iteration 0, and replace them.",
    "Bohacek & Farid, arXiv 2311.12202, section 3.4",
    ("diffusion",),
    {
        "features": {
            "description": "Where the features come from. vae: an early block of the autoencoder of `model.path`; inception-64, "
            "inception-192: torchvision's Inception before its first or second pooling.",
            "enum": ["vae", "inception-64", "inception-192"],
            "default": "vae",
        },
        "inception": {
            "description": "torchvision's inception_v3 weights: `torchvision` downloads them; or the path of a safetensors file.",
            "type": ["string", "null"], "format": "path", "minLength": 1, "default": None,
        },
        "inception_sha256": {
            "description": "Their sha256; must be given with a path.",
            "type": ["string", "null"], "pattern": "^[0-9a-f]{64}$", "default": None,
        },
        "pair": {
            "description": "What an image is compared with: its slot's real image, the nearest of its group, or all of its group on "
            "average.",
            "enum": ["slot", "nearest_in_group", "group_mean"],
            "default": "slot",
        },
        "replacement": {
            "description": "What stands in for a dropped image. regenerate: new draws from the same model, and then an accepted image "
            "of the group again; duplicate_kept: the latter at once; drop: nothing, so that the training set shrinks.",
            "enum": ["regenerate", "duplicate_kept", "drop"],
            "default": "regenerate",
        },
        "tries": {
            "description": "New draws per slot, for regenerate.",
            "type": "integer", "minimum": 1, "maximum": 100, "default": 4,
        },
    },
)  # fmt: skip
