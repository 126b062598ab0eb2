"""FLUX.2 klein, PRX and Z-Image against their own pipelines in diffusers: passes, images, losses, captions left out."""

import inspect
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import diffusers
import numpy as np
import pytest
import tiny
import torch
from diffusers import ZImageImg2ImgPipeline
from nepotism.experiment.intervals import guided
from nepotism.families.diffusion import autoencoders
from nepotism.families.diffusion import fit as fitting
from nepotism.families.diffusion import text as texts
from nepotism.families.diffusion.backbones import backbone_of
from nepotism.families.diffusion.latents import Encoded, encode_images, read_encoded, write_encoded
from nepotism.families.diffusion.low_rank import Lora, adapted
from nepotism.families.diffusion.pipeline import check_base_model, encode_prompts, load_denoiser, load_pipeline
from nepotism.families.diffusion.sample import sample
from nepotism.families.diffusion.schedulers import FLOW
from nepotism.families.diffusion.training_set import TrainingSet
from nepotism.runtime import streams
from test_fit import pictures
from tiny_flows import with_dc_ae

CPU = torch.device("cpu")
KINDS = ["flux2_klein", "prx", "prx_dc_ae", "z_image"]
PROMPTS = ["A photo of a smiling woman", "a man, 80 years old"]
KEYS = [("flows", 0), ("flows", 1)]
STEPS = 5
SOURCES = pictures(2)
SIDE = SOURCES.shape[1]
SETTINGS = fitting.FitSettings(1e-3, 1, 2, random_flip=True, caption_dropout=0.5)
LAYERS = {
    "flux2_klein": ("to_q", "to_qkv_mlp_proj"), "prx": ("img_qkv_proj", "to_out.0"), "z_image": ("to_q", "w1"),
}  # fmt: skip


@dataclass
class Model:
    """A folder, loaded by us and by diffusers."""

    kind: str
    folder: Path
    ours: Any
    plain: Any
    unchanged: dict[float, Any] = field(default_factory=dict)

    @property
    def backbone(self) -> Any:
        return backbone_of(self.folder)

    def drawn(
        self, guidance: float, prompts: list[str] = PROMPTS, keys: Any = KEYS, call: Any = None, **options: Any
    ) -> Any:
        """Images (N, H, W, 3) of the plain pipeline, in levels; ``guidance`` is on our scale."""
        scale = guidance - 1 if self.kind == "z_image" else guidance
        if self.kind.startswith("prx"):
            options |= {"use_resolution_binning": False}
        images = []
        # One by one: with guidance, diffusers' PRXPipeline cannot draw several.
        for row, (prompt, key) in enumerate(zip(prompts, keys)):
            own = {name: value[row : row + 1] if torch.is_tensor(value) else value for name, value in options.items()}
            generator = torch.Generator("cpu").manual_seed(streams.integer_seed(*key))
            size = {} if "image" in own else {"height": SIDE, "width": SIDE}
            made = (call or self.plain)(
                prompt=[prompt], generator=[generator], guidance_scale=scale, output_type="np",
                **{"num_inference_steps": STEPS, **size, **own},
            )  # fmt: skip
            images.append(made.images[0])
        return np.stack(images) * 255

    def sampled(self, guidance: float, **options: Any) -> Any:
        """Images of the same noise by our loop."""
        if not options and guidance in self.unchanged:
            return self.unchanged[guidance]
        settings = {
            "guidance_scale": guidance,
            "num_inference_steps": STEPS,
            "resolution": SIDE,
            "batch_size": 2,
        } | options
        drawn = sample(self.ours, PROMPTS, KEYS, label="test", **settings).astype(float)
        if not options:
            self.unchanged[guidance] = drawn
        return drawn


@pytest.fixture(scope="module", params=KINDS)
def model(request, tmp_path_factory):
    folder = tiny.PIPELINES[request.param.removesuffix("_dc_ae")](tmp_path_factory.mktemp(request.param))
    if request.param.endswith("_dc_ae"):
        with_dc_ae(folder)
    check_base_model(folder)
    kind = json.loads((folder / "model_index.json").read_text())["_class_name"]
    plain = getattr(diffusers, kind).from_pretrained(folder, local_files_only=True)
    plain.set_progress_bar_config(disable=True)
    return Model(request.param, folder, load_pipeline(folder, None, FLOW, CPU), plain)


@pytest.fixture(scope="module")
def encoded(model, tmp_path_factory):
    """What `encode` writes, read again."""
    path = tmp_path_factory.mktemp("encoded") / "latents.safetensors"
    prompts = [*PROMPTS, ""]
    text = texts.single(encode_prompts(model.ours, prompts))
    write_encoded(path, Encoded(encode_images(model.ours.vae, SOURCES), ["a", "b"], text, prompts))
    return read_encoded(path)


class Calls:
    """What a denoiser is given, by name, and answers, while this is open."""

    def __init__(self, network):
        self._network, self.inputs, self.outputs = network, [], []

    def __enter__(self):
        self._hook = self._network.register_forward_hook(self._add, with_kwargs=True)
        return self

    def __exit__(self, *_):
        self._hook.remove()

    def _add(self, network, given, named, answer):
        names = inspect.signature(type(network).forward).bind(network, *given, **named).arguments
        self.inputs.append({name: value for name, value in names.items() if name != "self" and value is not None})
        self.outputs.append(answer[0])


def latents_of(given):
    """Noisy latents (B, C, h, w) in what a denoiser is given."""
    if "x" in given:
        return torch.stack(given["x"]).squeeze(2)
    hidden = given["hidden_states"]
    return hidden if hidden.ndim == 4 else hidden.transpose(1, 2).unflatten(2, (round(hidden.shape[1] ** 0.5), -1))


def close(ours, theirs):
    if isinstance(ours, (list, tuple)):
        return len(ours) == len(theirs) and all(map(close, ours, theirs))
    if not torch.is_tensor(ours):
        return ours == theirs
    # Positions are the same for all images.
    ours, theirs = ours.double(), (theirs[0] if theirs.ndim > ours.ndim else theirs).double()
    return ours.shape == theirs.shape and bool(((ours - theirs).abs() <= 1e-5 * (1 + theirs.abs())).all())


def captions_of(kind, given):
    """The captions that a denoiser is given, each as one that it reads, without what is masked."""
    if "cap_feats" in given:
        return given["cap_feats"]
    hidden = given["encoder_hidden_states"]
    return [row[mask] for row, mask in zip(hidden, given["attention_mask"])] if kind.startswith("prx") else list(hidden)


# ---- Passes and captions


def test_a_pass_on_cached_captions_gives_and_gets_what_the_pipelines_own_does(model, encoded):
    with Calls(model.plain.transformer) as plain:
        model.drawn(1.0, PROMPTS[:1], KEYS[:1])
    times = model.plain.scheduler.timesteps
    assert len(plain.inputs) == len(times) == STEPS
    for given, answer, time in zip(plain.inputs, plain.outputs, times):
        with Calls(model.ours.transformer) as ours, torch.no_grad():
            model.backbone.predict(model.ours.transformer, latents_of(given), time[None], texts.rows(encoded.text, [0]))
        assert ours.inputs[0].keys() == given.keys()
        assert {name: close(value, given[name]) for name, value in ours.inputs[0].items()} == dict.fromkeys(given, True)
        assert close(ours.outputs[0], answer)


def test_what_captions_are_dropped_for_is_what_the_pipeline_guides_away_from(model, encoded):
    with Calls(model.plain.transformer) as plain:
        model.drawn(3.0, PROMPTS[:1], KEYS[:1], num_inference_steps=1)
    seen = [caption for given in plain.inputs for caption in captions_of(model.kind, given)]
    with_caption, away_from = seen if model.kind in ("flux2_klein", "z_image") else seen[::-1]
    assert not close(with_caption, away_from)
    data = training_set(model, encoded)
    settings = fitting.FitSettings(1e-3, 1, 2, random_flip=False, caption_dropout=1.0)
    piece = fitting.Plan(data, settings, 0, 1, 1000).pieces(0)[0]
    with Calls(model.ours.transformer) as ours, torch.no_grad():
        loss(model, data)(model.ours.transformer, piece)
    dropped = captions_of(model.kind, ours.inputs[0])
    assert len(dropped) == 2
    assert all(close(caption, away_from) for caption in dropped)


# ---- Losses


def training_set(model, encoded):
    scale = autoencoders.scaling_factor(model.ours.vae)
    return TrainingSet(["a", "b"], encoded.posteriors, scale, encoded.text, [0, 1])


def loss(model, data):
    return fitting.Loss(model.backbone.objective(model.folder), data, CPU)


@torch.no_grad()
def test_the_first_loss_is_that_of_the_pipelines_parts(model, encoded):
    data, plain = training_set(model, encoded), model.plain
    piece = fitting.Plan(data, SETTINGS, 0, 1, 1000).pieces(0)[0]
    assert len(piece.rows) == 2
    errors = []
    for row in range(2):
        image = SOURCES[piece.rows[row]][:, :: -1 if piece.mirrors[row] else 1]
        pixels = torch.from_numpy(image.copy()).permute(2, 0, 1)[None] / 127.5 - 1
        noise, drawn = (torch.from_numpy(array[row])[None] for array in (piece.noise, piece.posterior))
        clean = by_hand(model.kind, plain, pixels, drawn)
        level = model.backbone.objective(model.folder).sigma(torch.tensor(int(piece.levels[row])))
        noisy = (1 - level) * clean + level * noise
        caption = [*PROMPTS, ""][piece.prompts[row]]
        errors.append(((answer(model.kind, plain, noisy, level, caption) - (noise - clean)) ** 2).mean())
    assert float(loss(model, data)(model.ours.transformer, piece)) == pytest.approx(float(sum(errors)) / 2, rel=1e-5)


def by_hand(kind, plain, pixels, drawn):
    """The latents of a training step, as diffusers' training scripts make them, but drawn from the posterior."""
    vae = plain.vae
    if kind == "prx_dc_ae":
        return vae.encode(pixels).latent * vae.config.scaling_factor
    found = vae.encode(pixels).latent_dist
    if kind != "flux2_klein":
        return (found.mean + found.std * drawn - vae.config.shift_factor) * vae.config.scaling_factor
    whole = plain._patchify_latents(found.mean + found.std * plain._unpatchify_latents(drawn))
    spread = torch.sqrt(vae.bn.running_var + vae.config.batch_norm_eps)
    return (whole - vae.bn.running_mean.view(1, -1, 1, 1)) / spread.view(1, -1, 1, 1)


def answer(kind, plain, noisy, level, caption):
    """A pass of the plain pipeline's denoiser, in the sign of noise minus image."""
    network, time = plain.transformer, level.view(1)
    if kind == "z_image":
        (text,), _ = plain.encode_prompt([caption], do_classifier_free_guidance=False)
        return -network([noisy[0][:, None]], 1 - time, [text]).sample[0].squeeze(1)[None]
    if kind == "flux2_klein":
        text, positions = plain.encode_prompt([caption])
        places = plain._prepare_latent_ids(noisy)
        flow = network(plain._pack_latents(noisy), text, time, places, positions, return_dict=False)[0]
        return plain._unpack_latents_with_ids(flow, places)
    text, mask, _, _ = plain.encode_prompt([caption], do_classifier_free_guidance=False)
    return network(noisy, time, text, mask).sample


# ---- Images


@pytest.mark.parametrize("guidance", [1.0, 3.0])
def test_images_are_those_of_the_plain_pipeline(model, guidance):
    ours, theirs = model.sampled(guidance), model.drawn(guidance)
    assert np.abs(ours - np.rint(theirs)).max() <= 1
    # Captions, guidance and noise all show.
    other = model.sampled(4.0 - guidance)
    assert np.abs(ours - other).max() > 2
    assert np.abs(ours[0] - ours[1]).max() > 20


# Diffusers starts no images of the others from images.
@pytest.mark.parametrize("model", ["z_image"], indirect=True)
@pytest.mark.parametrize("guidance", [1.0, 3.0])
def test_images_from_images_are_those_of_z_images_own_pipeline(model, guidance):
    call = ZImageImg2ImgPipeline(**model.plain.components)
    call.set_progress_bar_config(disable=True)
    pixels = torch.from_numpy(SOURCES).permute(0, 3, 1, 2) / 255
    theirs = model.drawn(guidance, call=call, image=pixels, strength=0.6)
    assert np.abs(model.sampled(guidance, sources=SOURCES, strength=0.6) - np.rint(theirs)).max() <= 1


def test_full_strength_forgets_the_source_and_the_least_keeps_it(model):
    whole = model.sampled(1.0, sources=SOURCES, strength=1.0)
    assert np.array_equal(whole, model.sampled(1.0, sources=255 - SOURCES, strength=1.0))
    # What the latents that the source is encoded to would be as an image, with no noise and no step.
    generators = [torch.Generator("cpu").manual_seed(streams.integer_seed(*key)) for key in KEYS]
    mean, deviation = autoencoders.posterior(model.ours.vae, torch.from_numpy(SOURCES).permute(0, 3, 1, 2) / 127.5 - 1)
    drawn = torch.stack([torch.randn(mean.shape[1:], generator=generator) for generator in generators])
    with torch.no_grad():
        scale = autoencoders.scaling_factor(model.ours.vae)
        decoded = autoencoders.decode(model.ours.vae, (mean + deviation * drawn) * scale)
    clean = ((decoded.clamp(-1, 1) + 1) * 127.5).permute(0, 2, 3, 1).numpy()
    kept = model.sampled(1.0, sources=SOURCES, strength=0.01, num_inference_steps=100)
    assert np.abs(kept - clean).mean() < 0.3 * np.abs(whole - clean).mean()


def test_an_interval_of_guidance_costs_a_second_pass_only_inside(model):
    interval = (0.3, 0.7)
    with Calls(model.ours.transformer) as calls:
        some = model.sampled(3.0, guidance_interval=interval)
    assert [len(latents_of(given)) for given in calls.inputs] == [4 if each else 2 for each in guided(STEPS, interval)]
    assert np.array_equal(model.sampled(3.0, guidance_interval=(0, 1)), model.sampled(3.0))
    assert np.array_equal(model.sampled(3.0, guidance_interval=(0, 0)), model.sampled(1.0))
    assert np.abs(some - model.sampled(3.0)).max() > 1


# ---- Other networks


def test_merged_updates_predict_what_applied_ones_do(model, encoded):
    network = load_denoiser(model.folder, None)
    noisy = torch.randn(2, *encoded.posteriors.mean.shape[2:], generator=torch.Generator().manual_seed(0))
    given = (noisy, torch.tensor([300.0, 700.0]), texts.rows(encoded.text, [0, 1]))
    with torch.no_grad():
        before = model.backbone.predict(network, *given)
        applied = adapted(network, Lora(2, 4.0, LAYERS[model.kind.removesuffix("_dc_ae")]), 0, 1)
        for name, value in applied.named_parameters():
            if "lora_B" in name:
                torch.nn.init.normal_(value, std=0.3)
        changed = model.backbone.predict(applied, *given)
        merged = model.backbone.predict(applied.merge_and_unload(), *given)
    assert float((changed - before).abs().max()) > 1e-2
    assert float((merged - changed).abs().max()) < 1e-5 * (1 + float(changed.abs().max()))


def test_a_network_steered_away_from_itself_by_nothing_draws_the_same(model):
    steered = load_pipeline(model.folder, None, FLOW, CPU, copy=model.folder / "transformer", negative_weight=0.0)
    both = Model(model.kind, model.folder, steered, model.plain)
    assert np.array_equal(both.sampled(3.0), model.sampled(3.0))


@torch.no_grad()
def test_half_precision_draws_and_trains_about_the_same(model, encoded):
    half = Model(model.kind, model.folder, load_pipeline(model.folder, None, FLOW, CPU, "bf16"), model.plain)
    assert np.abs(half.sampled(1.0) - model.sampled(1.0)).mean() < 5
    sources = {"sources": SOURCES, "strength": 0.5}
    assert np.abs(half.sampled(1.0, **sources) - model.sampled(1.0, **sources)).mean() < 5
    data = training_set(model, encoded)
    piece = fitting.Plan(data, SETTINGS, 0, 1, 1000).pieces(0)[0]
    whole = float(loss(model, data)(model.ours.transformer, piece))
    with torch.autocast("cpu", torch.bfloat16):
        assert float(loss(model, data)(model.ours.transformer, piece)) == pytest.approx(whole, rel=0.02)
