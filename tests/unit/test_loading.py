"""Weights as people have them: prefixed, halved, in shards, cut off, of other kinds; and schedulers of any class."""

import json
import re
import shutil
import subprocess
import sys
from itertools import pairwise

import diffusers
import numpy as np
import pytest
import tiny
import torch
from conftest import ROOT
from convert_weights import convert
from nepotism.families import fit_state
from nepotism.families.diffusion import pipeline as pipelines
from nepotism.families.diffusion.backbones import backbone_of
from nepotism.families.diffusion.sample import sample
from nepotism.families.diffusion.schedulers import diffusion_scheduler
from nepotism.families.lm import networks as lm
from nepotism.families.vae import networks as vae
from nepotism.measure import features
from nepotism.runtime.errors import UserError
from nepotism.runtime.files import POINTER_ADVICE
from nepotism.weights import loading
from safetensors.torch import load_file, save_file

CPU = torch.device("cpu")
PARTS = {"unet": "diffusion_pytorch_model", "vae": "diffusion_pytorch_model", "text_encoder": "model"}
SETTINGS = {"block_size": 12}


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    return tiny.stable_diffusion(tmp_path_factory.mktemp("sd"))


@pytest.fixture(scope="module")
def language_model(tmp_path_factory):
    folder = tmp_path_factory.mktemp("lm")
    tiny.tiny_language_model(folder)
    return folder


@pytest.fixture
def base(whole, tmp_path):
    """A pipeline that a test may spoil."""
    return shutil.copytree(whole, tmp_path / "sd")


def load(folder):
    """All that jobs load of a pipeline."""
    pipelines.check_base_model(folder)
    return pipelines.load_pipeline(folder, None, "DDIMScheduler", CPU)


def draw(pipeline):
    return sample(pipeline, ["a face"] * 2, [("a",), ("b",)], 3.0, 3, 64, 2, "test")


def state(pipeline):
    return {f"{part}.{name}": value for part in PARTS for name, value in getattr(pipeline, part).state_dict().items()}


def assert_same_weights(one, other):
    one, other = state(one), state(other)
    assert one.keys() == other.keys()
    assert all(torch.equal(one[name], other[name]) for name in one)


def change(file, change):
    """Rewrite a file of weights."""
    save_file(change(load_file(file)), file, {"format": "pt"})


def edit_json(file, **values):
    file.write_text(json.dumps({**json.loads(file.read_text()), **values}))


# ---- Every tensor in its place


def prefixed(prefix):
    return lambda tensors: {prefix + name: value for name, value in tensors.items()}


def without_first(tensors):
    return dict(sorted(tensors.items())[1:])


def with_another(tensors):
    return {**tensors, "lora.up.weight": torch.zeros(2)}


def of_another_shape(tensors):
    name = min(tensors)
    return {**tensors, name: torch.zeros(*tensors[name].shape, 2)}


def no_numbers(tensors):
    name = min(tensors)
    return {**tensors, name: torch.full_like(tensors[name], torch.nan)}


FAULTS = [
    (prefixed("module."), r"lacks .*; it has module\..*strip the prefix `module.`"),
    (prefixed("_orig_mod."), r"lacks .*strip the prefix `_orig_mod.`"),
    (prefixed("module._orig_mod."), r"strip the prefix `module._orig_mod.`"),
    (without_first, r"lacks \S+\. Take the weights and the config.json of one"),
    (with_another, r"has lora.up.weight, of which the network knows nothing"),
    (of_another_shape, r"of shape \(.*2,?\) where \(.*\) is wanted"),
    (no_numbers, r"has values that are no numbers in float32"),
]


@pytest.mark.parametrize(("fault", "told"), FAULTS)
@pytest.mark.parametrize("part", PARTS)
def test_weights_of_a_pipeline_that_do_not_fit_are_told_and_not_drawn_at_random(base, part, fault, told):
    change(base / part / f"{PARTS[part]}.safetensors", fault)
    with pytest.raises(UserError, match=rf"^`model.path`: .*/{part}/.*{told}") as raised:
        load(base)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(("fault", "told"), FAULTS)
def test_a_clip_that_does_not_fit_is_told(tiny_clip, tmp_path, fault, told):
    folder = shutil.copytree(tiny_clip, tmp_path / "clip", ignore=shutil.ignore_patterns("SHA256SUMS"))
    change(folder / "model.safetensors", fault)
    with pytest.raises(UserError, match=rf"^`score.clip`: .*{told}"):
        features.load_clip(folder, CPU)


def test_a_clip_without_its_half_of_images_is_told(tiny_clip, tmp_path):
    folder = shutil.copytree(tiny_clip, tmp_path / "clip", ignore=shutil.ignore_patterns("SHA256SUMS"))
    change(folder / "model.safetensors", lambda all: {k: v for k, v in all.items() if not k.startswith("vision_model")})
    with pytest.raises(UserError, match=r"`score.clip`: .* lacks vision_model.embeddings\S+, .* and \d+ more"):
        features.load_clip(folder, CPU)


@pytest.mark.parametrize(("fault", "told"), FAULTS)
def test_a_language_model_that_does_not_fit_is_told(language_model, tmp_path, fault, told):
    folder = shutil.copytree(language_model, tmp_path / "lm")
    change(folder / "model.safetensors", fault)
    with pytest.raises(UserError, match=rf"^`lm.model`: .*{told}"):
        lm.start({**SETTINGS, "model": str(folder)}, 260)


def test_only_tied_weights_may_lack(language_model):
    assert "lm_head.weight" not in load_file(language_model / "model.safetensors")
    model = lm.start({**SETTINGS, "model": str(language_model)}, 260)
    assert model.lm_head.weight is model.get_input_embeddings().weight
    kept = lm.arrays(model)
    lm.restore(model, kept)
    with pytest.raises(UserError, match=r"`lm`: a generation's weights lacks model.decoder.embed_positions.weight"):
        lm.restore(model, {name: value for name, value in kept.items() if "embed_positions" not in name})


def test_a_language_model_that_reads_too_little_is_told(language_model):
    with pytest.raises(UserError, match="`lm.block_size`: 65, but the model reads 128 tokens"):
        lm.start({"block_size": 65, "model": str(language_model)}, 260)
    with pytest.raises(UserError, match="the tokenizer has 261 tokens, the model 260"):
        lm.start({**SETTINGS, "model": str(language_model)}, 261)


def test_a_retrained_unet_that_does_not_fit_is_told(base, tmp_path):
    retrained = shutil.copytree(base / "unet", tmp_path / "model")
    change(retrained / "diffusion_pytorch_model.safetensors", without_first)
    with pytest.raises(UserError, match="^`model`: .*/model/diffusion_pytorch_model.safetensors lacks"):
        pipelines.load_pipeline(base, retrained, "DDIMScheduler", CPU)


def test_restored_networks_of_other_settings_are_told():
    weights = vae.arrays(vae.Autoencoder(28, 8, 4))
    vae.restored(vae.Autoencoder(28, 8, 4), weights)
    with pytest.raises(UserError, match="`vae`: the weights of its Autoencoder .*made with other settings"):
        vae.restored(vae.Autoencoder(28, 8, 5), weights)


def test_a_checkpoint_of_another_network_is_told():
    def made(width):
        network = torch.nn.Linear(3, width)
        optimizer = torch.optim.AdamW(network.parameters())
        network(torch.ones(1, 3)).sum().backward()
        optimizer.step()
        return network, optimizer

    kept = fit_state.tensors(*made(2))
    fit_state.restore(*made(2), kept)
    with pytest.raises(
        UserError, match=r"checkpoint of this training .* of shape .*delete the job's checkpoints, a hidden"
    ):
        fit_state.restore(*made(4), kept)
    del kept["exp_avg/bias"]
    with pytest.raises(UserError, match="lacks exp_avg/bias"):
        fit_state.restore(*made(2), kept)


def test_buffers_that_torch_itself_does_not_miss_may_lack():
    network = torch.nn.BatchNorm2d(3)
    tensors = {name: value for name, value in network.state_dict().items() if name != "num_batches_tracked"}
    loading.fill(network, tensors, "test")


# ---- Files


@pytest.mark.parametrize("part", PARTS)
def test_files_that_are_not_whole_are_named(base, part):
    file = base / part / f"{PARTS[part]}.safetensors"
    content = file.read_bytes()
    file.write_bytes(content[:-10])
    with pytest.raises(UserError, match=rf"^`model.path`: {file} is no whole safetensors file .*ended early"):
        load(base)
    file.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 3\n")
    with pytest.raises(UserError, match=rf"^`model.path`: {file}: {re.escape(POINTER_ADVICE)}$"):
        load(base)
    file.unlink()
    file.symlink_to("nothing")
    with pytest.raises(UserError, match=rf"^`model.path`: {file} is a link to nothing"):
        load(base)


@pytest.mark.parametrize("file", ["unet/config.json", "vae/config.json", "tokenizer/vocab.json", "tokenizer/tokenizer_config.json",
                                  "text_encoder/config.json", "scheduler/scheduler_config.json", "model_index.json"])  # fmt: skip
@pytest.mark.parametrize("content", ["version https://git-lfs.github.com/spec/v1\n", "{", "[]", None])
def test_damaged_and_missing_configurations_are_one_line(base, file, content):
    (base / file).unlink() if content is None else (base / file).write_text(content)
    with pytest.raises(UserError, match="^`model.path`: ") as raised:
        load(base)
    assert "\n" not in str(raised.value)
    assert str(base) in str(raised.value)


@pytest.mark.parametrize("file", ["unet/config.json", "tokenizer/tokenizer_config.json", "scheduler/scheduler_config.json",
                                  "model_index.json"])  # fmt: skip
def test_a_key_given_twice_in_a_models_folder_is_told(base, file):
    text = (base / file).read_text()
    name = next(iter(json.loads(text)))
    (base / file).write_text(text.replace("{", f'{{"{name}": "another", ', 1))
    with pytest.raises(UserError, match=rf"^`model.path`: {base / file} cannot be read as JSON \({name} given twice\)"):
        load(base)


def split(model, folder):
    """Save in many shards."""
    model.save_pretrained(folder, max_shard_size="20KB")


def test_models_in_shards_draw_the_same(base, whole):
    original = load(whole)
    for part, name in PARTS.items():
        (base / part / f"{name}.safetensors").unlink()
        split(getattr(original, part), base / part)
        assert len(list((base / part).glob("*.safetensors"))) > 1
    sharded = load(base)
    assert_same_weights(sharded, original)
    np.testing.assert_array_equal(draw(sharded), draw(original))


def test_the_digest_of_a_unet_in_shards_follows_its_weights(base, whole):
    assert pipelines.denoiser_digest(whole, None) == loading_sha(whole / "unet" / "diffusion_pytorch_model.safetensors")
    (base / "unet" / "diffusion_pytorch_model.safetensors").unlink()
    split(pipelines.load_denoiser(whole, None), base / "unet")
    before = pipelines.denoiser_digest(base, None)
    assert before == pipelines.denoiser_digest(base, None)
    shard = max((base / "unet").glob("*.safetensors"))
    change(shard, lambda tensors: {name: value + 1 for name, value in tensors.items()})
    assert pipelines.denoiser_digest(base, None) != before


def loading_sha(file):
    import hashlib

    return hashlib.sha256(file.read_bytes()).hexdigest()


def test_shards_that_do_not_hold_what_their_index_says_are_told(base, whole):
    (base / "unet" / "diffusion_pytorch_model.safetensors").unlink()
    split(pipelines.load_denoiser(whole, None), base / "unet")
    first, second = sorted((base / "unet").glob("*.safetensors"))[:2]
    content = first.read_bytes()
    first.write_bytes(second.read_bytes())
    with pytest.raises(
        UserError, match=rf"{first} does not hold what diffusion_pytorch_model.safetensors.index.json says"
    ):
        load(base)
    first.unlink()
    with pytest.raises(UserError, match=f"there is no {first}"):
        load(base)
    first.write_bytes(content)
    shutil.copy(whole / "unet" / "diffusion_pytorch_model.safetensors", base / "unet")
    with pytest.raises(UserError, match="has both .*; remove the one that is not meant"):
        load(base)


def test_a_clip_and_a_language_model_in_shards_are_loaded(tiny_clip, language_model, tmp_path):
    ignore = shutil.ignore_patterns("SHA256SUMS", "*.safetensors")
    clip = features.load_clip(tiny_clip, CPU).model
    split(clip, shutil.copytree(tiny_clip, tmp_path / "clip", ignore=ignore))
    assert len(list((tmp_path / "clip").glob("*.safetensors"))) > 1
    again = features.load_clip(tmp_path / "clip", CPU).model
    assert all(torch.equal(one, other) for one, other in zip(clip.parameters(), again.parameters(), strict=True))
    model = lm.start({**SETTINGS, "model": str(language_model)}, 260)
    split(model, shutil.copytree(language_model, tmp_path / "lm", ignore=ignore))
    again = lm.start({**SETTINGS, "model": str(tmp_path / "lm")}, 260)
    assert all(torch.equal(one, other) for one, other in zip(model.parameters(), again.parameters(), strict=True))


@pytest.mark.parametrize("sharded", [False, True])
def test_where_only_weights_of_16_bits_are_there_they_are_taken(base, whole, sharded):
    original = load(whole)
    for part, name in PARTS.items():
        (base / part / f"{name}.safetensors").unlink()
        shards = {"max_shard_size": "20KB"} if sharded else {}
        half = getattr(pipelines.load_pipeline(whole, None, "DDIMScheduler", CPU), part).half()
        half.save_pretrained(base / part, variant="fp16", **shards)
    loaded = state(load(base))
    for name, value in state(original).items():
        assert loaded[name].dtype == value.dtype
        assert torch.equal(loaded[name], value.half().to(value.dtype))


def test_weights_of_full_precision_come_before_others(base, whole):
    original = load(whole)
    torch.manual_seed(1)
    for part in PARTS:
        getattr(load(whole), part).half().save_pretrained(base / part, variant="fp16")
    assert_same_weights(load(base), original)


@pytest.mark.parametrize("sharded", [False, True])
def test_full_precision_that_is_pickled_beside_16_bits_is_converted_and_not_halved(base, whole, tmp_path, sharded):
    original = load(whole)
    for part, name in PARTS.items():
        (base / part / f"{name}.safetensors").unlink()
        getattr(load(whole), part).half().save_pretrained(base / part, variant="fp16")
        tensors = getattr(original, part).state_dict()
        stem = "pytorch_model" if part == "text_encoder" else name
        if sharded:
            files = {f"{stem}-0000{number}-of-00002.bin": list(tensors)[number - 1 :: 2] for number in (1, 2)}
            index = {"metadata": {}, "weight_map": {key: file for file, keys in files.items() for key in keys}}
            (base / part / f"{stem}.bin.index.json").write_text(json.dumps(index))
        else:
            files = {f"{stem}.bin": list(tensors)}
        for file, keys in files.items():
            torch.save({key: tensors[key] for key in keys}, base / part / file)
    told = rf"of full precision only as \S+.bin, beside those of fp16; .*convert_weights.py {base} --output FOLDER"
    with pytest.raises(UserError, match=told):
        load(base)
    convert(base, tmp_path / "converted")
    assert_same_weights(load(tmp_path / "converted"), original)
    for file in base.rglob("*.bin*"):
        file.unlink()
    convert(base, tmp_path / "halved")
    assert (tmp_path / "halved" / "unet" / "diffusion_pytorch_model.fp16.safetensors").is_file()
    assert_same_weights(load(tmp_path / "halved"), load(base))


@pytest.mark.parametrize("part", PARTS)
def test_pickled_weights_are_named_with_the_command_that_converts_the_whole_pipeline(base, part):
    file = base / part / f"{PARTS[part]}.safetensors"
    file.rename(file.with_suffix(".bin"))
    with pytest.raises(UserError, match=rf"pickled weights .*convert_weights.py {base} --output FOLDER") as raised:
        load(base)
    assert "network is" not in str(raised.value)


def test_a_folder_of_links_as_the_hubs_cache_has_it_is_loaded(base, whole, tmp_path):
    """Also without the safety checker that its index names."""
    blobs = tmp_path / "blobs"
    blobs.mkdir()
    for number, file in enumerate(sorted(path for path in base.rglob("*") if path.is_file())):
        file.rename(blobs / str(number))
        file.symlink_to(blobs / str(number))
    index = base / "model_index.json"
    content = json.loads(index.read_text())
    index.unlink()
    content |= {"safety_checker": ["stable_diffusion", "StableDiffusionSafetyChecker"], "requires_safety_checker": True}
    index.write_text(json.dumps(content))
    assert_same_weights(load(base), load(whole))
    assert pipelines.denoiser_digest(base, None) == pipelines.denoiser_digest(whole, None)


# ---- Kinds of pipelines


@pytest.mark.parametrize(
    "kind", ["StableDiffusionInpaintPipeline", "StableDiffusionDepth2ImgPipeline", "KandinskyPipeline"]
)
def test_other_kinds_of_pipelines_are_named_with_what_can_be_used(base, kind):
    edit_json(base / "model_index.json", _class_name=kind)
    with pytest.raises(UserError, match=rf"`model.path`: .* is a {kind}; what can be used: .*StableDiffusionPipeline"):
        pipelines.check_base_model(base)


@pytest.mark.parametrize(
    ("part", "entry", "told"),
    [
        ("text_encoder", ["transformers", "T5EncoderModel"], "the text_encoder of .* is T5EncoderModel"),
        ("vae", [None, None], "the vae of .* is missing"),
        ("vae", None, "the vae of .* is missing"),
        ("tokenizer", [], "the tokenizer of .* is missing"),
        (
            "unet",
            ["diffusers", "UNet3DConditionModel"],
            "UNet3DConditionModel; what can be used is a UNet2DConditionModel",
        ),
    ],
)
def test_parts_of_other_classes_are_named(base, part, entry, told):
    edit_json(base / "model_index.json", **{part: entry})
    with pytest.raises(UserError, match=told):
        pipelines.check_base_model(base)


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"in_channels": 9}, "takes 9 channels and gives 4, where the autoencoder has 4: models for inpainting"),
        ({"cross_attention_dim": 16}, "reads embeddings 16 wide, its text encoder writes 32"),
        ({"class_embed_type": "timestep"}, "given more than text .class_embed_type: timestep"),
    ],
)
def test_a_unet_that_wants_more_than_text_is_told(base, changed, told):
    config = json.loads((base / "unet" / "config.json").read_text())
    shutil.rmtree(base / "unet")
    diffusers.UNet2DConditionModel.from_config({**config, **changed}).save_pretrained(base / "unet")
    with pytest.raises(UserError, match=told):
        load(base)


def test_an_autoencoder_without_a_scaling_factor_has_diffusers_own(base):
    config = json.loads((base / "vae" / "config.json").read_text())
    config.pop("scaling_factor")
    (base / "vae" / "config.json").write_text(json.dumps(config))
    assert load(base).vae.config.scaling_factor == 0.18215
    edit_json(base / "vae" / "config.json", scaling_factor=None)
    with pytest.raises(UserError, match="its autoencoder has no `scaling_factor`"):
        load(base)


# ---- Tokenizers


def test_a_tokenizer_that_names_no_length_reads_as_much_as_the_text_encoder(base, whole):
    config = json.loads((base / "tokenizer" / "tokenizer_config.json").read_text())
    config.pop("model_max_length")
    (base / "tokenizer" / "tokenizer_config.json").write_text(json.dumps(config))
    loaded = load(base)
    assert loaded.tokenizer.model_max_length == 77
    long = ["a" * 100]
    found, wanted = (pipelines.encode_prompts(each, long)["text"] for each in (loaded, load(whole)))
    assert torch.equal(found, wanted)


def test_tokenizers_without_their_vocabulary_are_told_and_not_made_up(base, tiny_clip, language_model, tmp_path):
    for name in ("vocab.json", "merges.txt"):
        (base / "tokenizer" / name).unlink()
    told = "has no vocabulary of its tokenizer: tokenizer.json or vocab.json and merges.txt"
    with pytest.raises(UserError, match=rf"`model.path`: .*{told}"):
        load(base)
    clip = shutil.copytree(tiny_clip, tmp_path / "clip", ignore=shutil.ignore_patterns("SHA256SUMS", "tokenizer.json"))
    with pytest.raises(UserError, match=rf"`score.clip`: .*{told}"):
        features.load_clip(clip, CPU)
    ignored = shutil.ignore_patterns("vocab.json", "merges.txt")
    folder = shutil.copytree(language_model, tmp_path / "lm", ignore=ignored)
    with pytest.raises(UserError, match=rf"`lm.model`: .*{told}"):
        lm.pretrained_tokenizer(str(folder))


@pytest.mark.parametrize("missing", ["vocab.json", "merges.txt"])
def test_half_a_vocabulary_is_told(base, missing):
    (base / "tokenizer" / missing).unlink()
    with pytest.raises(UserError, match=r"`model.path`: .*tokenizer cannot be loaded"):
        load(base)


def test_a_tokenizer_with_more_words_than_the_text_encoder_is_told(base):
    vocabulary = json.loads((base / "tokenizer" / "vocab.json").read_text())
    edit_json(base / "tokenizer" / "vocab.json", another=len(vocabulary))
    with pytest.raises(UserError, match=r"knows 191 tokens, the text encoder 190"):
        load(base)


def test_a_clip_whose_processor_makes_images_of_another_size_is_told(tiny_clip, tmp_path):
    folder = shutil.copytree(tiny_clip, tmp_path / "clip", ignore=shutil.ignore_patterns("SHA256SUMS"))
    content = json.loads((folder / "processor_config.json").read_text())
    content["image_processor"]["crop_size"] = {"height": 32, "width": 32}
    (folder / "processor_config.json").write_text(json.dumps(content))
    with pytest.raises(UserError, match="makes 32 x 32 pixels, the model reads 64 x 64"):
        features.load_clip(folder, CPU)


# ---- Schedulers

TRAINED = {
    "beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear", "num_train_timesteps": 1000,
    "prediction_type": "v_prediction",
}  # fmt: skip
SPELLED_OUT = {
    **TRAINED,
    "_class_name": "DDIMScheduler",
    "clip_sample": False,
    "set_alpha_to_one": False,
    "steps_offset": 1,
}


def with_scheduler(folder, content):
    (folder / "scheduler" / "scheduler_config.json").write_text(json.dumps(content))
    return folder


@pytest.mark.parametrize(
    ("own", "name"),
    [
        ("EulerDiscreteScheduler", "DDIMScheduler"),
        ("DPMSolverMultistepScheduler", "DDIMScheduler"),
        ("PNDMScheduler", "DDIMScheduler"),
        ("EulerDiscreteScheduler", "DDPMScheduler"),
        ("DPMSolverMultistepScheduler", "DDPMScheduler"),
    ],
)
def test_images_do_not_depend_on_the_class_of_the_scheduler_file(base, own, name):
    images = []
    for content in (SPELLED_OUT, {**TRAINED, "_class_name": own}):
        images.append(draw(pipelines.load_pipeline(with_scheduler(base, content), None, name, CPU)))
    np.testing.assert_array_equal(*images)


@pytest.mark.parametrize(
    ("own", "left_out"),
    [
        ("DDIMScheduler", "clip_sample"),
        ("DDIMScheduler", "set_alpha_to_one"),
        ("DDIMScheduler", "steps_offset"),
        ("PNDMScheduler", "set_alpha_to_one"),
        ("EulerDiscreteScheduler", "steps_offset"),
    ],
)
def test_a_pipeline_samples_as_diffusers_does_after_loading(base, own, left_out):
    content = {key: value for key, value in {**SPELLED_OUT, "_class_name": own}.items() if key != left_out}
    if own == "PNDMScheduler":
        content["skip_prk_steps"] = True
    with_scheduler(base, content)
    edit_json(base / "model_index.json", scheduler=["diffusers", own])
    pipeline = diffusers.StableDiffusionPipeline.from_pretrained(base, safety_checker=None, local_files_only=True)
    pipeline.set_progress_bar_config(disable=True)
    ours, theirs = draw(pipelines.load_pipeline(base, None, own, CPU)), draw(pipeline)
    # Tensors are laid out in another way here, so that sums are rounded in another way.
    np.testing.assert_allclose(ours.astype(int), theirs, rtol=0, atol=1)


def test_the_class_of_an_old_scheduler_file_is_that_of_the_index(base):
    content = {key: value for key, value in SPELLED_OUT.items() if key != "_class_name"}
    assert diffusion_scheduler(with_scheduler(base, content), "DDIMScheduler").config.clip_sample is False


def test_training_sees_the_schedule_that_the_files_class_means(base):
    """Heun's own first beta is not DDPM's."""
    left_out = {key: value for key, value in TRAINED.items() if key not in ("beta_start", "beta_end")}
    targets = []
    for content in (
        SPELLED_OUT,
        {**TRAINED, "_class_name": "EulerDiscreteScheduler"},
        {**left_out, "_class_name": "HeunDiscreteScheduler"},
    ):
        scheduler = diffusion_scheduler(with_scheduler(base, content), "DDPMScheduler")
        assert scheduler.config.prediction_type == "v_prediction"
        times, noise = torch.tensor([0, 500, 999]), torch.ones(3, 1)
        targets.append(
            torch.stack([scheduler.add_noise(0 * noise, noise, times), scheduler.get_velocity(noise, noise, times)])
        )
    assert all(torch.equal(one, other) for one, other in pairwise(targets))


def test_schedulers_of_other_kinds_of_diffusion_are_told(base):
    with pytest.raises(
        UserError, match="`scheduler`: a FlowMatchEulerDiscreteScheduler is for another kind of diffusion"
    ):
        diffusion_scheduler(base, "FlowMatchEulerDiscreteScheduler")
    with_scheduler(base, {"_class_name": "FlowMatchEulerDiscreteScheduler"})
    with pytest.raises(UserError, match="`model.path`: .* a FlowMatchEulerDiscreteScheduler is of another kind"):
        load(base)
    with_scheduler(base, {"_class_name": "DDIMScheduler", "prediction_type": "sample"})
    with pytest.raises(
        UserError, match="its scheduler predicts 'sample'; only epsilon and v_prediction can be retrained"
    ):
        backbone_of(base).objective(base)
    with_scheduler(base, {"_class_name": "FastestScheduler"})
    with pytest.raises(UserError, match="diffusers has no scheduler called FastestScheduler"):
        load(base)


# ---- Scripts


def script(*arguments):
    command = [sys.executable, *map(str, arguments)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300)


def preflight(base, tmp_path, *more):
    options = {
        "base-model": base, "device": "cpu", "guidance-scale": 3, "num-inference-steps": 2, "scheduler": "DDIMScheduler",
        "batch-size": 2, "precision": "fp32", "training-precision": "fp32", "resolution": 64, "prompts": "a face",
        "output": tmp_path / "found.json",
    }  # fmt: skip
    words = [word for name, value in options.items() for word in (f"--{name}", value)]
    return script("scripts/preflight.py", *words, *more)


@pytest.mark.slow
def test_preflight_ends_with_one_line(base, tiny_clip, tmp_path):
    clip = shutil.copytree(tiny_clip, tmp_path / "clip", ignore=shutil.ignore_patterns("SHA256SUMS"))
    more = ("--clip", clip, "--schedulers", "DDIMScheduler", "PNDMScheduler")
    assert preflight(base, tmp_path, *more).returncode == 0
    done = preflight(base, tmp_path, "--schedulers", "FastestScheduler")
    assert (done.returncode, "no scheduler called FastestScheduler" in done.stderr) == (2, True)
    updates = '{"ema": null, "lora": {"rank": 2, "alpha": 2.0, "target_modules": ["to_x"]}}'
    done = preflight(base, tmp_path, "--trainings", '{"ema": null, "lora": null}', updates)
    assert (done.returncode, "no layer of the denoiser is called 'to_x'; there are: " in done.stderr) == (2, True)
    change(clip / "model.safetensors", without_first)
    done = preflight(base, tmp_path, *more)
    assert done.returncode == 2, done.stderr
    (line,) = [line for line in done.stderr.splitlines() if "Warning" not in line]
    assert "error: `score.clip`: " in line


@pytest.mark.slow
@pytest.mark.parametrize("safe", [(), ("unet",), ("unet", "vae", "text_encoder")])
def test_a_converted_pipeline_passes_preflight(base, whole, tmp_path, safe):
    for part in PARTS.keys() - set(safe):
        file = base / part / f"{PARTS[part]}.safetensors"
        torch.save(
            load_file(file), file.with_name("pytorch_model.bin" if part == "text_encoder" else f"{file.stem}.bin")
        )
        file.unlink()
    converted = tmp_path / "converted"
    done = script("scripts/convert_weights.py", base, "--output", converted)
    assert done.returncode == 0, done.stderr
    assert (converted / "SHA256SUMS").is_file()
    assert preflight(converted, tmp_path).returncode == 0
    assert_same_weights(load(converted), load(whole))


@pytest.mark.slow
def test_what_cannot_be_converted_is_told_without_a_word_of_the_network(base, tmp_path):
    def told(folder):
        done = script("scripts/convert_weights.py", folder, "--output", tmp_path / "converted")
        assert done.returncode == 2, done.stderr
        assert "network" not in done.stderr
        return done.stderr

    (base / "vae" / "diffusion_pytorch_model.safetensors").unlink()
    assert f"`source`: {base / 'vae'} cannot be loaded" in told(base)
    assert "there is no folder" in told(tmp_path / "nowhere")
    edit_json(base / "model_index.json", _class_name="AudioLDM2Pipeline")
    assert "is a AudioLDM2Pipeline" in told(base)
    assert not (tmp_path / "converted").exists()
