"""Stable Diffusion XL and 3 against diffusers' own pipelines: what the denoiser sees, images, losses."""

import inspect
from functools import cache
from statistics import NormalDist

import diffusers
import numpy as np
import pytest
import tiny
import torch
from accelerate import Accelerator
from diffusers.callbacks import SD3CFGCutoffCallback, SDXLCFGCutoffCallback
from nepotism.families.diffusion import fit as fitting
from nepotism.families.diffusion import text as texts
from nepotism.families.diffusion.backbones import backbone_of
from nepotism.families.diffusion.latents import Encoded, encode_images, read_encoded, write_encoded
from nepotism.families.diffusion.low_rank import Lora, adapted
from nepotism.families.diffusion.pipeline import encode_prompts, load_denoiser, load_pipeline
from nepotism.families.diffusion.sample import sample
from nepotism.runtime import streams
from test_fit import pictures
from test_loading import edit_json

CPU = torch.device("cpu")
PROMPTS = ["a man with a hat", "an old woman", "a man with a hat"]
KEYS = [(0, 1, "sample", f"g/{index:03d}") for index in range(3)]
SCHEDULERS = {"stable_diffusion_xl": "EulerDiscreteScheduler", "stable_diffusion_3": "FlowMatchEulerDiscreteScheduler"}
IMAGE_TO_IMAGE = {
    "stable_diffusion_xl": diffusers.StableDiffusionXLImg2ImgPipeline,
    "stable_diffusion_3": diffusers.StableDiffusion3Img2ImgPipeline,
}
# What beside the captions' own embeddings the folders may ask for.
KINDS = ("stable_diffusion_xl", "xl_without_zeros", "stable_diffusion_3", "3_without_t5", "3_shifted_by_size")
BOTH = ("stable_diffusion_xl", "stable_diffusion_3")


class Folder:
    """A pipeline's folder, and what is loaded from it, once."""

    def __init__(self, kind, path):
        self.module = "stable_diffusion_xl" if "xl" in kind else "stable_diffusion_3"
        self.has_all = kind != "3_without_t5"
        self.path = tiny.PIPELINES[self.module](path) if self.has_all else tiny.stable_diffusion_3(path, t5=False)
        if kind == "xl_without_zeros":
            edit_json(path / "model_index.json", force_zeros_for_empty_prompt=False)
        if kind == "3_shifted_by_size":
            edit_json(path / "scheduler" / "scheduler_config.json", use_dynamic_shifting=True)
        self.backbone = backbone_of(path)
        self.load, self.theirs = cache(self._load), cache(self._theirs)

    def _load(self, model=None, scheduler=None, precision="fp32", image_to_image=False, **more):
        return load_pipeline(
            self.path, model, scheduler or SCHEDULERS[self.module], CPU, precision, image_to_image, **more
        )

    def _theirs(self, image_to_image=False):
        chosen = IMAGE_TO_IMAGE[self.module] if image_to_image else diffusers.DiffusionPipeline
        # What is null in its index must be said to diffusers again.
        without = {} if self.has_all else {"text_encoder_3": None, "tokenizer_3": None}
        pipeline = chosen.from_pretrained(self.path, **without)
        pipeline.set_progress_bar_config(disable=True)
        return pipeline


def builder(tmp_path_factory):
    """What makes the folder of a kind, once."""
    made = {}

    def folder(kind):
        if kind not in made:
            made[kind] = Folder(kind, tmp_path_factory.mktemp(kind))
        return made[kind]

    return folder


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    return builder(tmp_path_factory)


def generators(count=3):
    return [torch.Generator("cpu").manual_seed(streams.integer_seed(*key)) for key in KEYS[:count]]


def draw(pipeline, scale, steps=5, count=3, **options):
    return sample(pipeline, PROMPTS[:count], KEYS[:count], scale, steps, 64, 2, "test", **options)


def draw_theirs(pipeline, scale, steps=5, count=3, **options):
    # Theirs decides in a batch of three, where ours is told to take two at a time.
    images = pipeline(
        PROMPTS[:count],
        guidance_scale=scale,
        num_inference_steps=steps,
        generator=generators(count),
        output_type="np",
        **options,
    ).images
    return np.rint(images * 255)


def assert_same_images(ours, theirs):
    assert np.abs(ours.astype(float) - theirs).max() <= 1


class Passes:
    """What a denoiser was given at each pass, by name, and what it answered."""

    def __init__(self, network):
        self.given, self.answers = [], []
        names = list(inspect.signature(type(network).forward).parameters)[1:]

        def note(_, arguments, named, answer):
            self.given.append({**dict(zip(names, arguments)), **named})
            self.answers.append(answer[0])

        network.register_forward_hook(note, with_kwargs=True)

    def rows(self):
        return [len(answer) for answer in self.answers]


def assert_same_inputs(ours, theirs):
    theirs = {name: value for name, value in theirs.items() if value is not None}
    assert ours.keys() == theirs.keys()
    for name, value in theirs.items():
        if isinstance(value, dict):
            assert_same_inputs(ours[name], value)
        elif isinstance(value, torch.Tensor):
            torch.testing.assert_close(ours[name], value.expand_as(ours[name]), rtol=1e-5, atol=1e-5)
        else:
            assert ours[name] == value


# ---- What the denoiser sees


@pytest.mark.parametrize("kind", KINDS)
def test_a_pass_on_cached_captions_is_that_of_the_pipeline_itself(folders, kind, tmp_path):
    folder = folders(kind)
    theirs = folder.theirs()
    passes = Passes(getattr(theirs, folder.backbone.denoiser))
    draw_theirs(theirs, 5.0, steps=4, height=64, width=64)
    assert passes.rows() == [6] * 4

    ours = folder.load()
    prompts = [*dict.fromkeys(PROMPTS), ""]
    posteriors = encode_images(ours.vae, pictures(1))
    write_encoded(tmp_path / "encoded", Encoded(posteriors, ["0"], encode_prompts(ours, prompts), prompts))
    cached = read_encoded(tmp_path / "encoded").text
    text = texts.rows(cached, [2, 2, 2, 0, 1, 0])
    network = load_denoiser(folder.path, None)
    own = Passes(network)
    for given, answer in zip(passes.given, passes.answers, strict=True):
        noisy = given.get("sample", given.get("hidden_states"))
        with torch.no_grad():
            predicted = folder.backbone.predict(network, noisy, given["timestep"].expand(6), text)
        torch.testing.assert_close(predicted, answer, rtol=1e-5, atol=1e-5)
        assert_same_inputs(own.given[-1], given)


def test_sizes_are_those_of_the_image(folders):
    folder = folders("stable_diffusion_xl")
    network, text = load_denoiser(folder.path, None), {"text": torch.zeros(2, 77, 80), "pooled": torch.zeros(2, 48)}
    passes = Passes(network)
    with torch.no_grad():
        folder.backbone.predict(network, torch.zeros(2, 4, 8, 16), torch.tensor([1, 2]), text)
    assert passes.given[0]["added_cond_kwargs"]["time_ids"].tolist() == [[64, 128, 0, 0, 64, 128]] * 2


# ---- Images


@pytest.mark.parametrize("scale", [1.0, 5.0])
@pytest.mark.parametrize("kind", KINDS)
def test_images_from_captions_are_those_of_the_pipeline_itself(folders, kind, scale):
    folder = folders(kind)
    ours = draw(folder.load(), scale)
    assert_same_images(ours, draw_theirs(folder.theirs(), scale, height=64, width=64))
    assert ours.std() > 10
    assert np.abs(ours[0].astype(float) - ours[2]).max() > 1, "the noise counts"
    other = sample(folder.load(), PROMPTS[1:2], KEYS[:1], scale, 5, 64, 1, "test")
    assert np.abs(other.astype(float) - ours[:1]).max() > 1, "captions count"


@pytest.mark.parametrize("scale", [1.0, 5.0])
@pytest.mark.parametrize("kind", KINDS)
def test_images_from_images_are_those_of_the_pipeline_itself(folders, kind, scale):
    folder, sources = folders(kind), pictures(3)
    ours = draw(folder.load(image_to_image=True), scale, sources=sources, strength=0.55)
    given = torch.from_numpy(sources).permute(0, 3, 1, 2).float() / 255
    assert_same_images(ours, draw_theirs(folder.theirs(image_to_image=True), scale, image=given, strength=0.55))


def test_a_scheduler_of_second_order_starts_from_images_as_the_pipeline_does(folders, monkeypatch):
    folder, sources = folders("stable_diffusion_3"), pictures(3)
    name = "FlowMatchHeunDiscreteScheduler"
    theirs = folder.theirs(image_to_image=True)
    other = diffusers.FlowMatchHeunDiscreteScheduler.from_config(theirs.scheduler.config)
    monkeypatch.setattr(theirs, "scheduler", other)
    given = torch.from_numpy(sources).permute(0, 3, 1, 2).float() / 255
    ours = draw(folder.load(scheduler=name, image_to_image=True), 5.0, sources=sources, strength=0.55)
    assert_same_images(ours, draw_theirs(theirs, 5.0, image=given, strength=0.55))


def test_the_noise_of_a_stochastic_flow_scheduler_is_the_images_own(folders):
    pipeline = folders("stable_diffusion_3").load(scheduler="FlowMatchLCMScheduler")
    together = draw(pipeline, 1.0)
    torch.manual_seed(7)
    np.testing.assert_array_equal(together, draw(pipeline, 1.0))


@pytest.mark.parametrize("kind", BOTH)
@pytest.mark.parametrize(("interval", "guided"), [((0, 1), "11111"), ((0, 0.6), "11100"), ((0.4, 1), "00111")])
def test_only_steps_in_the_interval_take_two_passes(folders, kind, interval, guided):
    folder = folders(kind)
    pipeline = folder.load()
    whole = draw(pipeline, 5.0, count=2)
    passes = Passes(getattr(pipeline, folder.backbone.denoiser))
    found = draw(pipeline, 5.0, count=2, guidance_interval=interval)
    assert passes.rows() == [4 if step == "1" else 2 for step in guided]
    assert np.array_equal(found, whole) == (interval == (0, 1))
    draw(pipeline, 1.0, count=2, guidance_interval=interval)
    assert passes.rows()[5:] == [2] * 5


@pytest.mark.parametrize("kind", BOTH)
def test_guidance_that_ends_is_that_of_diffusers_own_callback(folders, kind):
    folder = folders(kind)
    callback = (SDXLCFGCutoffCallback if "xl" in kind else SD3CFGCutoffCallback)(cutoff_step_ratio=0.4)
    theirs = draw_theirs(folder.theirs(), 5.0, count=1, height=64, width=64, callback_on_step_end=callback)
    assert_same_images(draw(folder.load(), 5.0, count=1, guidance_interval=(0, 0.6)), theirs)


@pytest.mark.parametrize("kind", BOTH)
def test_two_networks_with_weight_0_draw_what_one_draws(folders, kind):
    folder = folders(kind)
    two = folder.load(copy=folder.path / folder.backbone.denoiser, negative_weight=0.0)
    np.testing.assert_array_equal(draw(two, 5.0), draw(folder.load(), 5.0))
    sources = {"sources": pictures(3), "strength": 0.55}
    two = folder.load(copy=folder.path / folder.backbone.denoiser, negative_weight=0.0, image_to_image=True)
    np.testing.assert_array_equal(draw(two, 5.0, **sources), draw(folder.load(image_to_image=True), 5.0, **sources))


# ---- Losses


def schedule(theirs, level):
    """Of a noise level by its number: the shares of image and noise, what the denoiser is told, and its target's shares."""
    if "Flow" not in type(theirs.scheduler).__name__:
        signal = diffusers.DDPMScheduler.from_config(theirs.scheduler.config).alphas_cumprod[level]
        return signal**0.5, (1 - signal) ** 0.5, float(level), (0, 1)
    normal = NormalDist().inv_cdf((level + 0.5) / 1000)
    share = (1 + int(1000 / (1 + np.exp(-normal)))) / 1000
    if not theirs.scheduler.config.use_dynamic_shifting:
        share = 3 * share / (1 + 2 * share)
    return 1 - share, share, 1000 * share, (-1, 1)


@pytest.mark.parametrize("dropped", [False, True])
@pytest.mark.parametrize("kind", KINDS)
def test_the_first_loss_is_that_of_the_pipelines_parts_and_dropped_captions_are_what_is_guided_away_from(
    folders, kind, dropped
):
    folder, images = folders(kind), pictures(3)
    ours = folder.load()
    prompts = [*dict.fromkeys(PROMPTS), ""]
    data = fitting.TrainingSet(
        [f"g/{index}" for index in range(3)], encode_images(ours.vae, images), ours.vae.config.scaling_factor,
        encode_prompts(ours, prompts), [prompts.index(prompt) for prompt in PROMPTS],
    )  # fmt: skip
    settings = fitting.FitSettings(1e-4, 1, 3, random_flip=False, caption_dropout=float(dropped))
    network, objective = load_denoiser(folder.path, None), folder.backbone.objective(folder.path)
    _, losses = fitting.fit(network, objective, data, settings, 0, 1, Accelerator(cpu=True), "test")

    theirs = folder.theirs()
    pixels = torch.from_numpy(images).permute(0, 3, 1, 2).float() / 127.5 - 1
    others = {"prompt_2": None} | ({} if "xl" in kind else {"prompt_3": None})
    with torch.no_grad():
        seen, blind, pooled, blind_pooled = theirs.encode_prompt(PROMPTS, **others, device=CPU)
        posterior = theirs.vae.encode(pixels).latent_dist
    text, summary = (blind, blind_pooled) if dropped else (seen, pooled)
    errors = []
    for index, slot in enumerate(data.rows):
        drawn = fitting.draw_numbers((0, 1, "finetune", 0, slot), posterior.mean.shape[1:], 1000, False, float(dropped))
        assert drawn.drop_caption == dropped
        latent = posterior.mean[index] + posterior.std[index] * torch.from_numpy(drawn.posterior)
        clean = (latent - (theirs.vae.config.shift_factor or 0)) * theirs.vae.config.scaling_factor
        noise = torch.from_numpy(drawn.noise)
        image_share, noise_share, time, (of_image, of_noise) = schedule(theirs, drawn.timestep)
        noisy, times = (image_share * clean + noise_share * noise)[None], torch.tensor([time])
        one, its = text[[index]], summary[[index]]
        with torch.no_grad():
            if "xl" in kind:
                told = {"text_embeds": its, "time_ids": torch.tensor([[64.0, 64, 0, 0, 64, 64]])}
                predicted = theirs.unet(noisy, times, one, added_cond_kwargs=told).sample
            else:
                predicted = theirs.transformer(noisy, one, its, times).sample
        errors.append(float(((predicted - of_noise * noise - of_image * clean) ** 2).mean()))
    assert losses[0] == pytest.approx(np.mean(errors), rel=1e-5)


def test_an_empty_caption_is_zeros_where_the_index_says_so(folders):
    zeros, words = (
        encode_prompts(folders(kind).load(), ["a", ""]) for kind in ("stable_diffusion_xl", "xl_without_zeros")
    )
    assert not any(tensor[1].any() for tensor in zeros.values())
    assert all(tensor[1].any() for tensor in words.values())
    assert all(torch.equal(zeros[name][0], words[name][0]) for name in words)


@pytest.mark.parametrize("kind", BOTH)
def test_an_update_of_low_rank_does_the_same_beside_the_weights_and_in_them(folders, kind):
    folder = folders(kind)
    network = load_denoiser(folder.path, None)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    text = encode_prompts(folder.load(), PROMPTS[:1])
    noisy = torch.randn(1, network.config.in_channels, 8, 8, generator=torch.Generator().manual_seed(0))

    def predicted():
        with torch.no_grad():
            return folder.backbone.predict(network, noisy, torch.tensor([500]), text)

    plain = predicted()
    adapter = adapted(network, Lora(4, 4.0, ("to_q", "to_k", "to_v", "to_out.0")), 0, 1)
    torch.testing.assert_close(predicted(), plain, rtol=0, atol=0)
    torch.manual_seed(0)
    for name, parameter in adapter.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.5)
    beside = predicted()
    network = adapter.merge_and_unload()
    torch.testing.assert_close(predicted(), beside, rtol=1e-5, atol=1e-5)
    assert float((beside - plain).abs().max()) > 1e-3
    changed = {name for name, value in network.state_dict().items() if not torch.equal(value, before[name])}
    assert {name.rsplit(".", 1)[0].split(".to_")[-1] for name in changed} == {"q", "k", "v", "out.0"}
