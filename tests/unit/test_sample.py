"""Sampling: every image from its own stream, whatever the batch."""

import numpy as np
import pytest
import torch
from diffusers import DDIMScheduler
from nepotism.families.diffusion.pipeline import check_base_model, encode_prompts, load_pipeline
from nepotism.families.diffusion.sample import sample
from nepotism.runtime import streams
from nepotism.runtime.errors import UserError
from nepotism.sources import portraits

CPU = torch.device("cpu")
PROMPTS = ["a handwritten digit one", "a handwritten digit two"] * 3
KEYS = [(0, 1, "sample", f"g/{index:03d}") for index in range(6)]


def draw(pipeline, batch_size, keys=KEYS, prompts=PROMPTS, **options):
    return sample(pipeline, prompts, keys, 3.0, 3, 64, batch_size, "test", **options)


def assert_equal_up_to_rounding(one, other):
    difference = np.abs(one.astype(int) - other)
    assert (difference > 1).mean() <= 0.001


@pytest.mark.parametrize("scheduler", ["DDIMScheduler", "EulerAncestralDiscreteScheduler"])
def test_the_batch_size_changes_results_by_rounding_only(tiny_diffusion, scheduler):
    pipeline = load_pipeline(tiny_diffusion, None, scheduler, CPU)
    together = draw(pipeline, 6)
    assert together.shape == (6, 64, 64, 3)
    assert together.dtype == np.uint8
    assert_equal_up_to_rounding(together, draw(pipeline, 4))
    assert_equal_up_to_rounding(together[[5]], draw(pipeline, 1, KEYS[5:], PROMPTS[5:]))


def test_sampling_twice_gives_the_same_bytes_and_another_key_another_image(tiny_diffusion):
    pipeline = load_pipeline(tiny_diffusion, None, "DDIMScheduler", CPU)
    one = draw(pipeline, 6)
    np.testing.assert_array_equal(one, draw(pipeline, 6))
    assert not np.array_equal(one[0], one[2])


def test_img2img_starts_from_its_source(tiny_diffusion):
    pipeline = load_pipeline(tiny_diffusion, None, "DDIMScheduler", CPU, image_to_image=True)
    rng = streams.generator("test")
    sources = np.stack([portraits.draw_portrait(portraits.choose(rng), rng) for _ in range(6)])
    options = {"guidance_scale": 1.0, "num_inference_steps": 20, "resolution": 64, "batch_size": 6, "label": "test"}
    near = sample(pipeline, PROMPTS, KEYS, sources=sources, strength=0.05, **options)
    far = sample(pipeline, PROMPTS, KEYS, sources=sources, strength=1.0, **options)
    error = [np.abs(images.astype(float) - sources).mean() for images in (near, far)]
    assert error[0] < 0.6 * error[1]


def test_img2img_of_bright_pictures_does_not_depend_on_the_batch(tiny_diffusion):
    """The pipeline guesses the range of pixels from the darkest of a batch; ours must leave it nothing to guess."""
    pipeline = load_pipeline(tiny_diffusion, None, "DDIMScheduler", CPU, image_to_image=True)
    bright, dark = np.full((1, 64, 64, 3), 230, np.uint8), np.zeros((1, 64, 64, 3), np.uint8)
    options = {"guidance_scale": 1.0, "num_inference_steps": 10, "resolution": 64, "label": "test", "strength": 0.3}
    alone = sample(pipeline, PROMPTS[:1], KEYS[:1], sources=bright, batch_size=1, **options)
    sources = np.concatenate([bright, dark])
    together = sample(pipeline, PROMPTS[:2], KEYS[:2], sources=sources, batch_size=2, **options)
    assert_equal_up_to_rounding(alone, together[:1])


def guided_by_hand(pipeline, steps, guided, scale, count=2):
    """Images by DDIM, with guidance at the steps that ``guided`` names, and how often the network was asked for an image."""
    alphas = pipeline.scheduler.alphas_cumprod.double()
    text, empty = (encode_prompts(pipeline, each)["text"] for each in (PROMPTS[:count], [""]))
    empty = empty.expand(count, -1, -1)
    shape = (1, pipeline.unet.config.in_channels, 8, 8)
    noises = [torch.Generator("cpu").manual_seed(streams.integer_seed(*key)) for key in KEYS[:count]]
    latents = torch.cat([torch.randn(shape, generator=each) for each in noises])
    own = DDIMScheduler.from_config(pipeline.scheduler.config)
    own.set_timesteps(steps)
    times = [int(time) for time in own.timesteps]
    passes = 0
    with torch.no_grad():
        for step, time in enumerate(times):
            predicted = pipeline.unet(latents, time, text).sample
            passes += 1
            if step in guided:
                blind = pipeline.unet(latents, time, empty).sample
                predicted = blind + scale * (predicted - blind)
                passes += 1
            before = time - 1000 // steps
            now, then = float(alphas[time]), float(alphas[before] if before >= 0 else own.final_alpha_cumprod)
            # Velocity, which the shipped model predicts.
            clean = now**0.5 * latents - (1 - now) ** 0.5 * predicted
            noise = now**0.5 * predicted + (1 - now) ** 0.5 * latents
            latents = then**0.5 * clean + (1 - then) ** 0.5 * noise
        images = pipeline.vae.decode(latents / pipeline.vae.config.scaling_factor).sample
    shown = (images.permute(0, 2, 3, 1).numpy() / 2 + 0.5).clip(0, 1)
    return np.rint(shown * 255).astype(np.uint8), passes


@pytest.mark.parametrize(
    ("interval", "guided"),
    [([0.0, 1.0], range(5)), ([0.2, 0.8], (1, 2, 3)), ([0.0, 0.4], (0, 1)), ([0.5, 1.0], (2, 3, 4)), ([0.65, 0.75], (3,))],
)  # fmt: skip
def test_only_steps_in_the_interval_are_guided(tiny_diffusion, interval, guided, monkeypatch):
    pipeline = load_pipeline(tiny_diffusion, None, "DDIMScheduler", CPU)
    expected, passes = guided_by_hand(pipeline, 5, guided, 3.0)
    asked = []
    pipeline.unet.register_forward_pre_hook(lambda network, given: asked.append(len(given[0])))
    options = {"guidance_interval": interval, "prompts": PROMPTS[:2], "keys": KEYS[:2]}
    found = sample(
        pipeline, **options, guidance_scale=3.0, num_inference_steps=5, resolution=64, batch_size=2, label="t"
    )
    assert_equal_up_to_rounding(found, expected)
    assert sum(asked) == 2 * passes
    plain = sample(
        pipeline, **options, guidance_scale=1.0, num_inference_steps=5, resolution=64, batch_size=2, label="t"
    )
    np.testing.assert_array_equal(plain, draw_plain(pipeline, 1.0))
    if len(guided) == 5:
        np.testing.assert_array_equal(found, draw_plain(pipeline, 3.0))


def draw_plain(pipeline, scale):
    return sample(pipeline, PROMPTS[:2], KEYS[:2], scale, 5, 64, 2, "test")


@pytest.mark.parametrize(
    "scheduler", ["UniPCMultistepScheduler", "HeunDiscreteScheduler", "EulerAncestralDiscreteScheduler"]
)
def test_the_whole_interval_is_guidance_as_it_is_without_one_whatever_the_scheduler(tiny_diffusion, scheduler):
    pipeline = load_pipeline(tiny_diffusion, None, scheduler, CPU)
    whole, part = (draw(pipeline, 2, KEYS[:2], PROMPTS[:2], guidance_interval=each) for each in ([0, 1], [0.3, 1]))
    np.testing.assert_array_equal(whole, draw(pipeline, 2, KEYS[:2], PROMPTS[:2]))
    assert not np.array_equal(whole, part)


def test_an_unknown_scheduler_is_refused(tiny_diffusion):
    with pytest.raises(UserError, match="diffusers has no scheduler called FastestScheduler"):
        load_pipeline(tiny_diffusion, None, "FastestScheduler", CPU)


def test_a_folder_that_is_no_pipeline_is_refused(tmp_path):
    with pytest.raises(UserError, match="has no model_index.json"):
        check_base_model(tmp_path)
    (tmp_path / "model_index.json").write_text("{}")
    with pytest.raises(UserError, match="is a pipeline without a name; what can be used: .*StableDiffusionPipeline"):
        check_base_model(tmp_path)
    with pytest.raises(UserError, match="there is no such folder"):
        check_base_model(tmp_path / "nowhere")


def test_weights_that_differ_from_their_checksums_are_refused(tiny_diffusion, tmp_path):
    for source in tiny_diffusion.rglob("*"):
        target = tmp_path / source.relative_to(tiny_diffusion)
        target.parent.mkdir(parents=True, exist_ok=True)
        if source.is_file():
            target.write_bytes(source.read_bytes())
    check_base_model(tmp_path)
    (tmp_path / "unet" / "config.json").write_text("{}")
    with pytest.raises(UserError, match=r"unet/config.json is missing or does not match SHA256SUMS"):
        check_base_model(tmp_path)
