"""The card of tiny-diffusion and tiny-clip: what they were trained on, for how long, and how good they are."""

from pathlib import Path

import torch
from nepotism.data.images import ImageSet, contact_sheet
from nepotism.families.diffusion.pipeline import load_pipeline
from nepotism.families.diffusion.sample import sample
from nepotism.runtime.files import write_text

from pretraining import vae
from pretraining.contrastive import parameters, zero_shot_accuracy
from pretraining.data import DIGIT_VARIANTS, PretrainData
from pretraining.scoring import PER_GROUP, Asked, Judge, accuracy_rows, distance_rows, training_rows

# Without guidance, and as workflow_config.yaml has it: guidance scale and denoising steps.
SETTINGS = ((1.0, 10), (4.0, 7))
SCHEDULER = "UniPCMultistepScheduler"
PARTS = ("vae_narrow", "vae", "decoder", "sharpen", "unet_first", "unet", "clip")


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
    asked = Asked.of_develop(PER_GROUP)
    keys = [("pretrain", "card", record.slot) for record in asked.records]
    drawn = {setting: sample(pipeline, asked.prompts, keys, *setting, 64, 60, "sampling") for setting in SETTINGS}
    # As experiments draw.
    contact_sheet(sheet, ImageSet(drawn[SETTINGS[-1]], asked.records))
    judge = Judge(clip, asked, device)
    followed = [judge.followed(pixels) for pixels in drawn.values()]
    distances = [judge.distances(pixels) for pixels in drawn.values()]
    unet, text = (parameters(part) for part in (pipeline.unet, pipeline.text_encoder))
    channels = pipeline.vae.config.latent_channels
    write_text(
        card,
        f"""# tiny-diffusion and tiny-clip

The base model and the evaluator of the embedded experiments. `snakemake --cores all -s resources/pretrain/Snakefile`
trains them and `resources/pretrain/promote.py` puts them here. The evaluator shares no weights with the generator.

`tiny-diffusion` loads with `StableDiffusionPipeline.from_pretrained`: an autoencoder from 64 x 64 RGB to 8 x 8 latents of
{channels} channels, a U-Net of {unet / 1e6:.1f} million parameters (v-prediction), a text encoder of {text / 1e6:.1f} million.
`tiny-clip` loads with `CLIPModel.from_pretrained` ({parameters(judge.evaluator.model) / 1e6:.1f} million parameters).

## Training

On two CPU cores of one machine, which some trainings shared.

Data: {count:,} pictures drawn or enlarged by this project: portraits with all factors random (pose and colours vary more than
in the reference split), and scikit-learn's handwritten digits of the pretrain split, each with {DIGIT_VARIANTS} moved and
turned copies. Seeds, steps, batch sizes and learning rates are in `resources/pretrain/Snakefile`. No filter, no licence
but this project's: the portraits are drawings of nobody.

| part | steps | time |
| --- | --- | --- |
{training_rows(logs, PARTS)}

## Scores on the develop split

Zero-shot accuracy of tiny-clip, by captions that name one factor, on pictures, and on base samples for what their
captions ask, without guidance and with it (txt2img, {" and ".join(f"scale {scale:g}, {steps} steps" for scale, steps in SETTINGS)}
of {SCHEDULER}):

| factor | pictures | base samples | guided |
| --- | --- | --- | --- |
{accuracy_rows(accuracy, followed)}

Mean absolute error of decode(encode(x)) on [-1, 1]: {restored:.4f}.

Fréchet distance of {len(asked.records)} such samples to as many portraits (and over that of two sets of portraits):

| features | base samples | guided | real against real |
| --- | --- | --- | --- |
{distance_rows(distances, judge.floors)}

![base samples, one column per group](samples.png)

## Limits

The models know drawn portraits and digits, nothing else. They exist so that every rule runs for real within minutes.
What the generator follows of its captions, the table says; chance is 1/2 for the expression, 1/3 for the face.
""",
    )
