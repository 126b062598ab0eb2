"""What flow models are made of: autoencoders, noise levels and their weights, and folders with a wrong part."""

import json
import math
import shutil

import numpy as np
import pytest
import tiny
import torch
from diffusers import (
    AutoencoderKL,
    FlowMatchEulerDiscreteScheduler,
    Flux2Transformer2DModel,
    PRXTransformer2DModel,
    StableDiffusionPipeline,
    ZImageTransformer2DModel,
)
from diffusers.training_utils import compute_density_for_timestep_sampling
from nepotism.families.diffusion import autoencoders, preflight
from nepotism.families.diffusion.backbones import backbone_of
from nepotism.families.diffusion.objectives import Flow
from nepotism.families.diffusion.pipeline import check_base_model, load_pipeline
from nepotism.families.diffusion.schedulers import FLOW
from nepotism.runtime.errors import UserError
from test_backbone_flows import CPU, SOURCES
from tiny_flows import qwen, qwen_tokenizer, rename, with_dc_ae

KINDS = ["flux2_klein", "prx", "z_image"]
IMAGES = torch.from_numpy(SOURCES).permute(0, 3, 1, 2) / 127.5 - 1


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    made = {name: tiny.PIPELINES[name](tmp_path_factory.mktemp(name)) for name in [*KINDS, "stable_diffusion"]}
    return {**made, "prx_dc_ae": with_dc_ae(tiny.prx(tmp_path_factory.mktemp("prx_dc_ae")))}


# ---- Autoencoders


@pytest.mark.parametrize("name", [*KINDS, "prx_dc_ae", "stable_diffusion"])
@torch.no_grad()
def test_latents_are_those_of_the_pipelines_and_decode_to_their_images(folders, name):
    ours = load_pipeline(folders[name], None, backbone_of(folders[name]).any_scheduler, CPU)
    vae, scale = ours.vae, autoencoders.scaling_factor(ours.vae)
    mean, deviation = autoencoders.posterior(vae, IMAGES)
    shrinks = {"flux2_klein": 16, "prx_dc_ae": 4}.get(name, 8)
    assert mean.shape == (2, autoencoders.channels(vae), 64 // shrinks, 64 // shrinks)
    assert autoencoders.shrinks(vae) == shrinks
    drawn = torch.randn(mean.shape, generator=torch.Generator().manual_seed(0))
    seen = (mean + deviation * drawn) * scale
    if name == "flux2_klein":
        # Without noise there is a method of the pipeline.
        assert torch.allclose(mean, ours._encode_vae_image(IMAGES, None), atol=1e-5)
        whole = vae.encode(IMAGES).latent_dist.mean + vae.encode(IMAGES).latent_dist.std * ours._unpatchify_latents(
            drawn
        )
        spread = torch.sqrt(vae.bn.running_var + vae.config.batch_norm_eps).view(1, -1, 1, 1)
        centre = vae.bn.running_mean.view(1, -1, 1, 1)
        assert torch.allclose(seen, (ours._patchify_latents(whole) - centre) / spread, atol=1e-5)
    elif name == "prx_dc_ae":
        whole = vae.encode(IMAGES).latent
        assert not deviation.any()
        assert torch.allclose(seen, whole * 0.41407, atol=1e-5)
    else:
        found = vae.encode(IMAGES).latent_dist
        whole = found.mean + found.std * drawn
        shift = 0 if name == "stable_diffusion" else 0.1159
        assert torch.allclose(seen, (whole - shift) * vae.config.scaling_factor, atol=1e-5)
    assert torch.allclose(autoencoders.decode(vae, seen), vae.decode(whole).sample, atol=1e-4)
    assert torch.allclose(autoencoders.decode(vae, mean * scale), autoencoders.restored(vae, IMAGES), atol=1e-4)
    if name == "stable_diffusion":
        assert isinstance(ours, StableDiffusionPipeline)
        assert vae.config.shift_factor is None


# ---- Noise levels


def scripted(kind, scheduler, count):
    """Noise levels as the training scripts draw them."""
    random = torch.Generator().manual_seed(0)
    scheme = "none" if kind == "flux2_klein" else "logit_normal"
    shares = compute_density_for_timestep_sampling(scheme, count, 0.0, 1.0, generator=random)
    levels = scheduler.sigmas[(shares * 1000).long()]
    if kind != "prx":
        return levels
    # Photoroom's trainer: shifted, and then one of ten drawn evenly anew.
    even = torch.rand(count, generator=random)
    return torch.where(torch.rand(count, generator=random) < 0.1, even, levels)


@pytest.mark.parametrize("kind", KINDS)
def test_noise_levels_have_the_density_and_shift_of_training_scripts(folders, kind):
    objective = backbone_of(folders[kind]).objective(folders[kind])
    scheduler = FlowMatchEulerDiscreteScheduler.from_pretrained(folders[kind] / "scheduler")
    ours = objective.sigma(torch.arange(objective.timesteps))
    theirs = scripted(kind, scheduler, 400_000)
    shares = np.linspace(0.01, 0.99, 99)
    assert np.abs(np.quantile(ours, shares) - np.quantile(theirs, shares)).max() < 0.01
    median = {"flux2_klein": 0.5, "prx": 0.735, "z_image": 6 / 7}[kind]
    assert float(ours.median()) == pytest.approx(median, abs=0.01)
    assert torch.equal(objective.times(torch.arange(1000)), ours * 1000)


@pytest.mark.parametrize("scheme", ["none", "logit_normal"])
@pytest.mark.parametrize("shift", [1.0, 3.0])
def test_levels_are_quantiles_of_what_diffusers_draws(scheme, shift):
    scheduler = FlowMatchEulerDiscreteScheduler(shift=shift)
    ours = Flow(scheduler, None, "uniform" if scheme == "none" else "logit_normal").sigma(torch.arange(1000)).double()
    shares = compute_density_for_timestep_sampling(
        scheme, 1_000_000, 0.0, 1.0, generator=torch.Generator().manual_seed(0)
    )
    theirs = scheduler.sigmas[(shares * 1000).long()].sort().values.double()
    # The middles of a thousand equal parts of all that was drawn.
    assert float((ours - theirs[500::1000]).abs().max()) < 0.01
    assert float(ours.mean()) == pytest.approx(float(theirs.mean()), abs=1e-3)


def test_weights_are_min_snr_of_the_image_as_an_error_of_the_flow():
    objective = Flow(FlowMatchEulerDiscreteScheduler(shift=3.0), None, "logit_normal")
    levels = objective.sigma(torch.arange(1000)).double()
    snr = ((1 - levels) / levels) ** 2
    # An image told from a flow is x - s v, so that its squared error is s^2 times that of the flow.
    assert torch.allclose(objective.min_snr(5.0).double(), snr.clamp(max=5.0) * levels**2, atol=1e-6)
    assert objective.min_snr(5.0).max() <= 1


# ---- Networks that predict other things


class Oracle:
    """Predicts what it is told of given clean latents, from noisy ones, as the network of an architecture would."""

    def __init__(self, kind, what, clean):
        self.kind, self.what, self.clean = kind, what, clean

    def _answer(self, noisy, level):
        level = level.view(-1, 1, 1, 1)
        noise = (noisy - (1 - level) * self.clean) / level
        return {"flow": noise - self.clean, "sign": self.clean - noise, "noise": noise, "image": self.clean}[self.what]

    def __call__(self, *given, hidden_states=None, timestep=None, **_):
        if self.kind == "z_image":
            frames, time, _ = given
            return (list(-self._answer(torch.stack(frames).squeeze(2), 1 - time).unsqueeze(2)),)
        if self.kind == "prx":
            return (self._answer(hidden_states, timestep),)
        height = math.isqrt(hidden_states.shape[1])
        flow = self._answer(hidden_states.transpose(1, 2).unflatten(2, (height, height)), timestep)
        return (flow.flatten(2).transpose(1, 2),)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("what", "named"),
    [("flow", None), ("sign", "flow with the other sign"), ("noise", "the noise"), ("image", "the image")],
)
def test_a_network_that_predicts_another_thing_is_found_out(folders, kind, what, named):
    clean = torch.randn(4, 8, 6, 6, generator=torch.Generator().manual_seed(0))
    objective = backbone_of(folders[kind]).objective(folders[kind])
    text = {"text": torch.zeros(4, 5, 3), "mask": torch.ones(4, 5, dtype=torch.bool)}
    problems = list(preflight.prediction_problems(Oracle(kind, what, clean), objective, clean, text))
    assert len(problems) == (named is not None)
    if problems:
        assert problems[0].startswith(
            f"`model.path`: its scheduler says flow, but on real images the model fits {named} better"
        )
        assert problems[0].endswith("take a model whose files are those of its kind")


# ---- Folders with a wrong part


def settings(folder, part, **entries):
    path = next(
        path for path in (folder / part / "config.json", folder / part / "scheduler_config.json") if path.exists()
    )
    path.write_text(json.dumps(json.loads(path.read_text()) | entries))


def network(made):
    def change(folder):
        shutil.rmtree(folder / "transformer")
        made.save_pretrained(folder / "transformer")

    return change


def klein(**changed):
    given = {
        "in_channels": 16, "num_layers": 1, "num_single_layers": 1, "attention_head_dim": 16, "num_attention_heads": 2,
        "joint_attention_dim": 48, "axes_dims_rope": (4, 4, 4, 4), "guidance_embeds": False,
    }  # fmt: skip
    return Flux2Transformer2DModel(**given | changed)


def z_image(**changed):
    given = {"dim": 32, "n_layers": 1, "n_refiner_layers": 1, "n_heads": 2, "n_kv_heads": 2, "axes_dims": [8, 4, 4]}
    return ZImageTransformer2DModel(**given | {"cap_feat_dim": 16} | changed)


def shallow(folder):
    shutil.rmtree(folder / "text_encoder")
    qwen(qwen_tokenizer(folder / "tokenizer", jinja_file=True), 20).save_pretrained(folder / "text_encoder")


def without_shift(folder):
    settings(folder, "vae", shift_factor=None)


WRONG = {
    "klein with another autoencoder": (
        "flux2_klein", lambda folder: rename(folder, vae=["diffusers", "AutoencoderKL"]),
        "the vae of FOLDER is AutoencoderKL; what can be used is a AutoencoderKLFlux2",
    ),
    "klein, distilled": (
        "flux2_klein", lambda folder: rename(folder, is_distilled=True), "take a base model, such as FLUX.2-klein-base-4B",
    ),
    "klein, told a scale": (
        "flux2_klein", network(klein(guidance_embeds=True)), "its transformer is told a guidance scale (`guidance_embeds`)",
    ),
    "klein and a shallow encoder": (
        "flux2_klein", shallow, "its text encoder has 20 layers, and the transformer reads the 27th; they are of two models",
    ),
    "klein of other captions": (
        "flux2_klein", network(klein(joint_attention_dim=32)),
        "its transformer reads embeddings 32 wide, its text encoder writes 48; they are of two models",
    ),
    "klein of other latents": (
        "flux2_klein", network(klein(in_channels=8)), "its transformer takes 8 channels, where the autoencoder has 16",
    ),
    "Z-Image with another encoder": (
        "z_image", lambda folder: rename(folder, text_encoder=["transformers", "CLIPTextModel"]),
        "the text_encoder of FOLDER is CLIPTextModel; what can be used is a Qwen3Model or a Qwen3ForCausalLM",
    ),
    "Z-Image without a shift": ("z_image", without_shift, "lacks a `scaling_factor` or a `shift_factor`"),
    "Z-Image of other captions": (
        "z_image", network(z_image(cap_feat_dim=24)), "its transformer reads embeddings 24 wide, its text encoder writes 16",
    ),
    "Z-Image that is given images": (
        "z_image", network(z_image(siglip_feat_dim=8)), "its transformer is given images beside text (`siglip_feat_dim`)",
    ),
    "Z-Image of other patches": (
        "z_image", network(z_image(all_patch_size=(4,))), "its transformer has no patches of 2 by 2 latents (`all_patch_size`",
    ),
    "PRX without an autoencoder": (
        "prx", lambda folder: rename(folder, vae=[None, None]),
        "the vae of FOLDER is missing; what can be used is a AutoencoderKL or a AutoencoderDC",
    ),
    "PRX with a third autoencoder": (
        "prx", lambda folder: rename(folder, vae=["diffusers", "AutoencoderTiny"]),
        "the vae of FOLDER is AutoencoderTiny; what can be used is a AutoencoderKL or a AutoencoderDC",
    ),
    "PRX without a shift": ("prx", without_shift, "its autoencoder has no `shift_factor`, as that of Flux has"),
    "PRX of other captions": (
        "prx",
        network(PRXTransformer2DModel(context_in_dim=24, hidden_size=32, num_heads=2, depth=1, axes_dim=[8, 8])),
        "its transformer reads embeddings 24 wide, its text encoder writes 32; they are of two models",
    ),
    "PRX of pixels": (
        "prx",
        network(PRXTransformer2DModel(in_channels=3, context_in_dim=32, hidden_size=32, num_heads=2, depth=1, axes_dim=[8, 8])),
        "its transformer takes 3 channels, where the autoencoder has 16; they are of two models",
    ),
    "a schedule of betas": (
        "prx", lambda folder: settings(folder, "scheduler", _class_name="DDIMScheduler"),
        "a DDIMScheduler is for models with betas, and this one is of flow",
    ),
}  # fmt: skip


def checked(folder):
    check_base_model(folder)
    load_pipeline(folder, None, FLOW, CPU)
    backbone_of(folder).objective(folder)


@pytest.mark.parametrize("wrong", WRONG)
def test_a_wrong_part_is_one_line_that_names_the_key_and_what_to_do(folders, tmp_path, wrong):
    kind, change, said = WRONG[wrong]
    folder = shutil.copytree(folders[kind], tmp_path / "model")
    change(folder)
    with pytest.raises(UserError) as error:
        checked(folder)
    assert str(error.value).startswith("`model.path`: ")
    assert said.replace("FOLDER", str(folder)) in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("kind", ["flux2_klein", "z_image"])
def test_a_scheduler_that_takes_no_noise_levels_is_refused(folders, kind):
    backbone = backbone_of(folders[kind])
    with pytest.raises(
        UserError, match=f"`scheduler`: a FlowMatchHeunDiscreteScheduler has noise .*; {FLOW} is a safe choice"
    ):
        backbone.scheduler(folders[kind], "FlowMatchHeunDiscreteScheduler")
    with pytest.raises(UserError, match="`scheduler`: a DDIMScheduler is for models with betas"):
        backbone.scheduler(folders[kind], "DDIMScheduler")


def test_prx_says_the_resolution_of_its_file_and_all_say_what_sides_they_draw(folders):
    sides = {"flux2_klein": (16, None), "prx": (16, 256), "prx_dc_ae": (4, 256), "z_image": (16, None)}
    for name, said in sides.items():
        pipeline, backbone = load_pipeline(folders[name], None, FLOW, CPU), backbone_of(folders[name])
        assert (backbone.pixel_step(pipeline), backbone.usual_resolution(pipeline)) == said
        assert isinstance(pipeline.vae, AutoencoderKL) == (name in ("prx", "z_image"))
        # Captions are cut where the pipeline cuts them.
        assert pipeline.tokenizer.model_max_length == (256 if name.startswith("prx") else 512)
