"""The architectures that can be retrained, one module each; which one a model is, its model_index.json says."""

from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any

from nepotism.families.diffusion.backbones.base import KEY, Backbone
from nepotism.runtime.errors import UserError
from nepotism.weights import loading

# Module by class of the pipeline, as a model_index.json names it.
MODULES = {
    "StableDiffusionPipeline": "stable_diffusion",
    "StableDiffusionImg2ImgPipeline": "stable_diffusion",
    "StableDiffusionXLPipeline": "stable_diffusion_xl",
    "StableDiffusionXLImg2ImgPipeline": "stable_diffusion_xl",
    "StableDiffusion3Pipeline": "stable_diffusion_3",
    "StableDiffusion3Img2ImgPipeline": "stable_diffusion_3",
    "Flux2KleinPipeline": "flux2_klein",
    "PRXPipeline": "prx",
    "ZImagePipeline": "z_image",
    "ZImageImg2ImgPipeline": "z_image",
}
# What they are called, for those who look for one.
TITLES = (
    "Stable Diffusion 1 and 2 (StableDiffusionPipeline)",
    "Stable Diffusion XL (StableDiffusionXLPipeline)",
    "Stable Diffusion 3 and 3.5 (StableDiffusion3Pipeline)",
    "base models of FLUX.2 klein (Flux2KleinPipeline)",
    "PRX (PRXPipeline)",
    "Z-Image (ZImagePipeline)",
)


@cache
def named(pipeline: str) -> Backbone:
    """The architecture of a pipeline's class, which must be one of `MODULES`."""
    backbone: Backbone = import_module(f"{__name__}.{MODULES[pipeline]}").BACKBONE
    return backbone


def of_pipeline(pipeline: Any) -> Backbone:
    """The architecture of a pipeline of diffusers."""
    return named(type(pipeline).__name__)


def backbone_of(folder: Path) -> Backbone:
    """The architecture of a pipeline's folder, whose parts are known to be of the classes that it has.

    Raises:
        UserError: if it is none, or of an architecture that cannot be used, naming those that can.
    """
    if not (folder / "model_index.json").exists():
        what = "it has no model_index.json" if folder.is_dir() else "there is no such folder"
        raise UserError(f"`{KEY}`: {folder} is no diffusers pipeline: {what}")
    index = loading.read_json(folder / "model_index.json", KEY)
    kind = index.get("_class_name", "pipeline without a name")
    if kind not in MODULES:
        raise UserError(f"`{KEY}`: {folder} is a {kind}; what can be used: {'; '.join(TITLES)}")
    backbone = named(kind)
    for problem in backbone.unusable(index):
        raise UserError(f"`{KEY}`: {folder}: {problem}")
    weights = {part: tuple(each.__name__ for each in backbone.classes(part)) for part in backbone.parts}
    for part, names in {**weights, **backbone.tokenizers}.items():
        name = class_of(index, part)
        if name is None and backbone.may_lack(part):
            continue
        if name not in names:
            usable = " or a ".join(names if part in weights else names[:1])
            raise UserError(f"`{KEY}`: the {part} of {folder} is {name or 'missing'}; what can be used is a {usable}")
    return backbone


def part_class(folder: Path, part: str) -> Any:
    """The class of a part with weights of a pipeline's folder: that of its model_index.json."""
    classes = backbone_of(folder).classes(part)
    name = class_of(loading.read_json(folder / "model_index.json", KEY), part)
    return next((each for each in classes if each.__name__ == name), classes[0])


def has_part(folder: Path, part: str) -> bool:
    """Whether a model has a part, which its model_index.json decides: a folder may lie there unused, or be missing."""
    return class_of(loading.read_json(folder / "model_index.json", KEY), part) is not None


def class_of(index: dict[str, Any], part: str) -> str | None:
    """The class of a part by the content of a model_index.json; None if there is no such part."""
    library_and_class = index.get(part)
    return library_and_class[-1] if isinstance(library_and_class, list) and library_and_class else None
