"""The model card: what the embedded models were trained on, for how long, and how good they are."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from nepotism.data.images import ImageSet, Record, contact_sheet
from nepotism.families.diffusion.pipeline import load_pipeline
from nepotism.families.diffusion.sample import sample
from nepotism.measure import scores
from nepotism.measure.features import clip_image_features, convolution_features, load_clip
from nepotism.runtime.errors import UserError
from nepotism.runtime.files import write_text
from nepotism.sources import portraits
from numpy.typing import NDArray

from pretraining import vae
from pretraining.contrastive import parameters, zero_shot_accuracy
from pretraining.data import DIGIT_VARIANTS, PretrainData, indices_of

PER_GROUP = 10
# Without guidance, and as workflow_config.yaml has it: guidance scale and denoising steps.
SETTINGS = ((1.0, 10), (4.0, 7))
SCHEDULER = "UniPCMultistepScheduler"


def write(
    card: Path,
    sheet: Path,
    pretrain: PretrainData,
    develop: PretrainData,
    diffusion: Path,
    clip: Path,
    logs: Path,
    device: torch.device,
) -> None:
    """Score the models and write the card and the contact sheet that it shows.

    Args:
        card: output: the card (Markdown).
        sheet: output: contact sheet of base samples (PNG).
        pretrain: what the models were trained on.
        develop: what they are scored on.
        diffusion: folder of the pipeline.
        clip: folder of the CLIPModel.
        logs: folder of the training logs, which tell steps and time.
        device: where the models run.
    """
    count = len(pretrain.pixels)
    accuracy = zero_shot_accuracy(clip, develop)
    restored = vae.restoration_error(vae.load_autoencoder(diffusion / "vae"), develop.pixels)
    pipeline = load_pipeline(diffusion, None, SCHEDULER, device)
    real = portraits.real_images(PER_GROUP, "develop", 64, portraits.DEFAULT_CAPTION).scoring
    records = [
        Record(f"{group}/{index}", images[0].prompt, group, f"{group}/{index:03d}", "generated")
        for group, images in real.items()
        for index in range(PER_GROUP)
    ]
    keys = [("pretrain", "card", record.slot) for record in records]
    prompts = [record.prompt for record in records]
    drawn = {setting: sample(pipeline, prompts, keys, *setting, 64, 60, "sampling") for setting in SETTINGS}
    # As experiments draw.
    contact_sheet(sheet, ImageSet(drawn[SETTINGS[-1]], records))
    followed = [zero_shot_accuracy(clip, PretrainData(pixels, _asked(records))) for pixels in drawn.values()]
    evaluator = load_clip(clip, device)
    halves = [
        np.stack([image.pixels for images in real.values() for image in images[part : part + PER_GROUP]])
        for part in (0, PER_GROUP)
    ]
    lines = []
    for name, embed in (
        ("tiny CLIP", lambda images: clip_image_features(evaluator, images, 100)),
        ("random convolutions", lambda images: convolution_features(images, 100, device)),
    ):
        one, other = embed(halves[0]), embed(halves[1])
        floor = scores.frechet(other, one)
        distances = [scores.frechet(embed(pixels), one) for pixels in drawn.values()]
        columns = " | ".join(f"{distance:.4g} ({distance / floor:.2f})" for distance in distances)
        lines.append(f"| {name} | {columns} | {floor:.4g} |")
    unet, text = (parameters(part) for part in (pipeline.unet, pipeline.text_encoder))
    channels = pipeline.vae.config.latent_channels
    write_text(
        card,
        f"""# tiny-diffusion and tiny-clip

The base model and the evaluator of the embedded experiments. `snakemake --cores all -s resources/pretrain/Snakefile`
trains them and `resources/pretrain/promote.py` puts them here. The evaluator shares no weights with the generator.

`tiny-diffusion` loads with `StableDiffusionPipeline.from_pretrained`: an autoencoder from 64 x 64 RGB to 8 x 8 latents of
{channels} channels, a U-Net of {unet / 1e6:.1f} million parameters (v-prediction), a text encoder of {text / 1e6:.1f} million.
`tiny-clip` loads with `CLIPModel.from_pretrained` ({parameters(evaluator.model) / 1e6:.1f} million parameters).

## Training

On two CPU cores of one machine, which some trainings shared.

Data: {count:,} pictures drawn or enlarged by this project: portraits with all factors random (pose and colours vary more than
in the reference split), and scikit-learn's handwritten digits of the pretrain split, each with {DIGIT_VARIANTS} moved and
turned copies. Seeds, steps, batch sizes and learning rates are in `resources/pretrain/Snakefile`. No filter, no licence
but this project's: the portraits are drawings of nobody.

| part | steps | time |
| --- | --- | --- |
{_training_rows(logs)}

## Scores on the develop split

Zero-shot accuracy of tiny-clip, by captions that name one factor, on pictures, and on base samples for what their
captions ask, without guidance and with it (txt2img, {" and ".join(f"scale {scale:g}, {steps} steps" for scale, steps in SETTINGS)}
of {SCHEDULER}):

| factor | pictures | base samples | guided |
| --- | --- | --- | --- |
{chr(10).join(_accuracies(factor, share, followed) for factor, share in accuracy.items())}

Mean absolute error of decode(encode(x)) on [-1, 1]: {restored:.4f}.

Fréchet distance of {len(records)} such samples to as many portraits (and over that of two sets of portraits):

| features | base samples | guided | real against real |
| --- | --- | --- | --- |
{chr(10).join(lines)}

![base samples, one column per group](samples.png)

## Limits

The models know drawn portraits and digits, nothing else. They exist so that every rule runs for real within minutes.
What the generator follows of its captions, the table says; chance is 1/2 for the expression, 1/3 for the face.
""",
    )


def _asked(records: list[Record]) -> NDArray[np.int64]:
    """The factors that the records' groups ask for, as in `PretrainData`."""
    groups = [dict(zip(portraits.GROUP_FACTORS, record.group.split("-"), strict=True)) for record in records]
    return np.array([indices_of(named) for named in groups])


def _accuracies(factor: str, share: float, followed: Sequence[Mapping[str, float]]) -> str:
    """A row of the card."""
    return " | ".join([f"| {factor}", f"{share:.1%}", *(_percent(each.get(factor)) for each in followed)]) + " |"


def _percent(share: float | None) -> str:
    return "" if share is None else f"{share:.1%}"


def _training_rows(logs: Path) -> str:
    """Steps and wall-clock of each training, from the last line of its log."""
    rows = []
    parts = ("vae_narrow", "vae", "decoder", "sharpen", "unet_first", "unet", "clip")
    for name in (f"pretrain_{part}" for part in parts):
        log = (logs / f"{name}.log").read_text(encoding="utf-8")
        found = re.findall(r"(\d+) steps in ([0-9.]+) s", log)
        if not found:
            raise UserError(f"{logs / name}.log does not say how long the training took; run it again")
        steps, seconds = found[-1]
        rows.append(f"| {name.removeprefix('pretrain_')} | {steps} | {float(seconds) / 60:.0f} minutes |")
    return "\n".join(rows)
