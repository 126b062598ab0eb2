"""A model's scheduler as one of another class, with all that the model was trained with."""

from pathlib import Path
from typing import Any

import diffusers

from nepotism.runtime.errors import UserError
from nepotism.weights import loading

KEY = "model.path"
# What a model was trained with, whoever samples from it: the scheduler file's own class says what is left out there.
TRAINED_WITH = (
    "num_train_timesteps", "beta_start", "beta_end", "beta_schedule", "trained_betas", "prediction_type",
    "rescale_betas_zero_snr", "set_alpha_to_one",
)  # fmt: skip
# Latent diffusion's own, where a file's class does not know of them. The first two are what every pipeline sets.
LATENT = {"clip_sample": False, "steps_offset": 1, "set_alpha_to_one": False}
FLOW = "FlowMatchEulerDiscreteScheduler"


def diffusion_scheduler(base_model: Path, name: str) -> Any:
    """The scheduler of a model with betas, as one of a class that may be another than that of its file.

    Diffusers hands over what the file spells out. What the file leaves to the defaults of its class is the model's too, as
    far as the model was trained with it; and what its class does not know is as latent diffusion has it, not as DDIM was
    first written for pixels. What pipelines correct in old files, whatever these say, is corrected here too.

    Raises:
        UserError: if the file cannot be read, or one of the two is no scheduler of models of this kind.
    """
    scheduler_class = _scheduler_class(name, "DDIMScheduler")
    own = _own(base_model)
    if not hasattr(own, "alphas_cumprod"):
        raise UserError(
            f"`{KEY}`: {base_model / 'scheduler'}: a {type(own).__name__} is of another kind of diffusion, without betas"
        )
    trained_with = {key: own.config[key] for key in TRAINED_WITH if key in own.config}
    with loading.readable("scheduler", base_model / "scheduler"):
        made = scheduler_class.from_config(own.config, **{**LATENT, **trained_with})
    if not hasattr(made, "alphas_cumprod"):
        raise UserError(
            f"`scheduler`: a {name} is for another kind of diffusion, without betas; DDIMScheduler is a safe choice"
        )
    return made


def flow_scheduler(base_model: Path, name: str = FLOW) -> Any:
    """The scheduler of a flow model, as one of a class that may be another than that of its file.

    Raises:
        UserError: if the file cannot be read, or one of the two is no scheduler of flow models.
    """
    scheduler_class = _scheduler_class(name, FLOW)
    own = _own(base_model)
    if hasattr(own, "alphas_cumprod") and not own.config.get("use_flow_sigmas"):
        raise UserError(
            f"`{KEY}`: {base_model / 'scheduler'}: a {type(own).__name__} is for models with betas, and this one is of flow"
        )
    if not name.startswith("FlowMatch"):
        raise UserError(
            f"`scheduler`: a {name} is for models with betas, and this one is of flow; {FLOW} is a safe choice"
        )
    with loading.readable("scheduler", base_model / "scheduler"):
        return scheduler_class.from_config(own.config)


def _own(base_model: Path) -> Any:
    """The scheduler as its file has it."""
    folder = base_model / "scheduler"
    name = loading.read_json(folder / "scheduler_config.json", KEY).get("_class_name")
    if name is None:
        index = loading.read_json(base_model / "model_index.json", KEY).get("scheduler")
        name = index[-1] if isinstance(index, list) and index else None
    own_class = getattr(diffusers, str(name), None)
    if own_class is None:
        raise UserError(f"`{KEY}`: {folder}: diffusers has no scheduler called {name}")
    with loading.readable(KEY, folder):
        return own_class.from_pretrained(folder, local_files_only=True)


def _scheduler_class(name: str, safe: str) -> Any:
    found = getattr(diffusers, name, None)
    if not (isinstance(found, type) and issubclass(found, diffusers.SchedulerMixin)):
        raise UserError(f"`scheduler`: diffusers has no scheduler called {name}; {safe} is a safe choice")
    return found
