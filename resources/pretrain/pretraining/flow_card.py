"""The card of tiny-flow: what it was trained on, for how long, and how good it is with which guidance and how many steps."""

from pathlib import Path

import torch
from diffusers import PRXPipeline
from nepotism.data.images import ImageSet, contact_sheet
from nepotism.runtime.files import write_text

from pretraining import flow
from pretraining.contrastive import parameters, zero_shot_accuracy
from pretraining.data import DIGIT_VARIANTS, PretrainData
from pretraining.scoring import PER_GROUP, Asked, Judge, accuracy_rows, distance_rows, training_rows

SCALES = (1.0, 2.0, 3.0, 4.0)
STEPS = (6, 8, 10, 14)
# Guidance scale and Euler steps: without guidance, and what was chosen from the table of all of them.
SHOWN = ((1.0, 10), (2.0, 10))
PARTS = ("flow_first", "flow")


def write(
    card: Path,
    sheet: Path,
    pretrain: PretrainData,
    develop: PretrainData,
    folder: Path,
    clip: Path,
    logs: Path,
    device: torch.device,
) -> None:
    """Score the model and write the card and the contact sheet that it shows.

    Args:
        card: output: the card (Markdown).
        sheet: output: contact sheet of guided samples (PNG).
        pretrain: what the model was trained on.
        develop: what it is scored on.
        folder: of the pipeline.
        clip: folder of the CLIPModel.
        logs: folder of the training logs, which tell steps and time.
        device: where the models run.
    """
    pipeline = PRXPipeline.from_pretrained(folder).to(device)
    asked = Asked.of_develop(PER_GROUP)
    judge = Judge(clip, asked, device)
    keys = [("pretrain", "card", record.slot) for record in asked.records]
    settings = [(scale, steps) for scale in SCALES for steps in STEPS]
    drawn = {setting: flow.sample(pipeline, asked.prompts, keys, *setting) for setting in settings}
    contact_sheet(sheet, ImageSet(drawn[SHOWN[-1]], asked.records))
    followed = {setting: judge.followed(pixels) for setting, pixels in drawn.items()}
    distances = {setting: judge.distances(pixels) for setting, pixels in drawn.items()}
    transformer, text = (parameters(part) for part in (pipeline.transformer, pipeline.text_encoder))
    asked_for, spaces = list(followed[SHOWN[0]]), list(judge.floors)
    rows = []
    for setting in settings:
        shares = " | ".join(f"{followed[setting][factor]:.1%}" for factor in asked_for)
        apart = " | ".join(f"{distances[setting][space]:.4g}" for space in spaces)
        rows.append(f"| {setting[0]:g} | {setting[1]} | {shares} | {apart} |")
    write_text(
        card,
        f"""# tiny-flow

A second base model of the embedded experiments, of the kind of today's large ones: a transformer that learns the flow from
noise to latents, in the format of Photoroom's PRX. `snakemake --cores all -s resources/pretrain/Snakefile` trains it and
`resources/pretrain/promote.py` puts it here. Transformer and text encoder share no weights with tiny-diffusion's U-Net and
text encoder, nor with tiny-clip, which scores both; the frozen autoencoder is tiny-diffusion's.

It loads with `PRXPipeline.from_pretrained`: a transformer of {transformer / 1e6:.1f} million parameters that sees the latents
as {(8 // flow.PATCH) ** 2} patches of {flow.PATCH} x {flow.PATCH}, a T5Gemma encoder of {text / 1e6:.1f} million, a Gemma tokenizer
of {len(pipeline.tokenizer)} tokens. The pipeline wants `height=64, width=64, use_resolution_binning=False`.

## Training

On one CPU core of a machine that other work shared.

Data: {len(pretrain.pixels):,} pictures drawn or enlarged by this project: portraits with all factors random (pose and colours vary
more than in the reference split), and scikit-learn's handwritten digits of the pretrain split, each with {DIGIT_VARIANTS} moved
and turned copies; the same, with the same captions, as tiny-diffusion's. Seeds, steps, batch sizes and learning rates are in
`resources/pretrain/Snakefile`. No filter, no licence but this project's: the portraits are drawings of nobody.

| part | steps | time |
| --- | --- | --- |
{training_rows(logs, PARTS)}

## Scores on the develop split

Zero-shot accuracy of tiny-clip, by captions that name one factor, on pictures, and on base samples for what their
captions ask, without guidance and with it ({" and ".join(f"scale {scale:g}, {steps} steps" for scale, steps in SHOWN)}
of FlowMatchEulerDiscreteScheduler, as the pipeline spaces them):

| factor | pictures | base samples | guided |
| --- | --- | --- | --- |
{accuracy_rows(zero_shot_accuracy(clip, develop), [followed[setting] for setting in SHOWN])}

Fréchet distance of {len(asked.records)} such samples to as many portraits (and over that of two sets of portraits):

| features | base samples | guided | real against real |
| --- | --- | --- | --- |
{distance_rows([distances[setting] for setting in SHOWN], judge.floors)}

The same for other guidance and other numbers of steps, on the same noise; the guidance above was chosen from this table:

| scale | steps | {" | ".join(asked_for)} | {" | ".join(spaces)} |
| --- | --- | {" | ".join("---" for _ in [*asked_for, *spaces])} |
{chr(10).join(rows)}

![guided samples, one column per group](samples.png)

## Limits

The model knows drawn portraits and digits, nothing else. It exists so that every rule of models of its kind runs for real
within minutes. What it follows of its captions, the table says; chance is 1/2 for the expression, 1/3 for the face.
""",
    )
