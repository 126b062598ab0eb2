"""Folders of Stable Diffusion XL and 3: in which precision they are loaded, as the hub has them, and what is wrong with them."""

import json
import re
import shutil
from copy import deepcopy

import diffusers
import numpy as np
import pytest
import torch
import transformers
from convert_weights import convert
from nepotism.families.diffusion import preflight
from nepotism.families.diffusion.backbones import of_pipeline
from nepotism.families.diffusion.pipeline import check_base_model, denoiser_digest, load_denoiser, load_pipeline
from nepotism.plan import denoisers
from nepotism.runtime.errors import UserError
from test_backbone_sdxl_sd3 import BOTH, CPU, SCHEDULERS, builder, draw
from test_fit import pictures
from test_loading import edit_json, split

XL, SD3 = BOTH


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    return builder(tmp_path_factory)


@pytest.fixture
def copy(folders, tmp_path):
    """A copy of a kind of folder, which may be changed."""
    return lambda kind: shutil.copytree(folders(kind).path, tmp_path / kind)


def load(path, precision="fp32"):
    return load_pipeline(path, None, SCHEDULERS[XL if "xl" in path.name else SD3], CPU, precision)


# ---- Precision


@pytest.mark.parametrize("precision", ["fp16", "bf16"])
@pytest.mark.parametrize("kind", BOTH)
def test_images_in_half_precision_are_close(folders, kind, precision):
    folder = folders(kind)
    half = folder.load(precision=precision)
    assert getattr(half, folder.backbone.denoiser).dtype == half.text_encoder_2.dtype != torch.float32
    difference = np.abs(draw(half, 5.0).astype(float) - draw(folder.load(), 5.0))
    assert difference.mean() < (0.5 if precision == "fp16" else 4)


@pytest.mark.parametrize("image_to_image", [False, True])
@pytest.mark.parametrize(("says", "wanted"), [(True, torch.float32), (None, torch.float32), (False, torch.float16)])
def test_the_autoencoder_of_xl_is_in_single_precision_unless_its_file_says_that_it_need_not(
    copy, says, wanted, image_to_image
):
    path = copy(XL)
    file = path / "vae" / "config.json"
    content = json.loads(file.read_text())
    content.pop("force_upcast")
    file.write_text(json.dumps(content if says is None else {**content, "force_upcast": says}))
    pipeline = load_pipeline(path, None, "EulerDiscreteScheduler", CPU, "fp16", image_to_image)
    before = {name: value.clone() for name, value in pipeline.vae.state_dict().items()}
    options = {"sources": pictures(3), "strength": 0.55} if image_to_image else {}
    draw(pipeline, 5.0, **options)
    after = pipeline.vae.state_dict()
    assert all(value.dtype == wanted and torch.equal(value, after[name]) for name, value in before.items())
    assert pipeline.unet.dtype == torch.float16


def test_what_overflows_of_t5_stays_in_single_precision(folders):
    half, other = (folders("stable_diffusion_3").load(precision=name).text_encoder_3 for name in ("fp16", "bf16"))
    wide = {name for name, value in half.state_dict().items() if value.dtype == torch.float32}
    assert wide
    assert all(name.endswith(".wo.weight") for name in wide)
    assert all(value.dtype == torch.bfloat16 for value in other.state_dict().values())


def test_the_tokenizer_that_reads_least_decides_what_is_cut_off(folders, caplog):
    for kind in ("stable_diffusion_3", "3_without_t5", "stable_diffusion_xl"):
        pipeline = folders(kind).load()
        assert {of_pipeline(pipeline).reach(pipeline.text_encoder_2), pipeline.tokenizer_2.model_max_length} == {77}
        caplog.clear()
        preflight.warn_of_truncated(pipeline, ["short", "a" * 76])
        (told,) = [record.getMessage() for record in caplog.records if record.name.startswith("nepotism")]
        assert "longer than the 77 tokens of the text encoder: aaa" in told
    assert folders("stable_diffusion_3").load().tokenizer_3.model_max_length == 256


# ---- As the hub has them


def test_a_retrained_denoiser_takes_the_place_of_the_base_models(folders, tmp_path):
    for kind in BOTH:
        folder = folders(kind)
        network = load_denoiser(folder.path, None)
        with torch.no_grad():
            for parameter in network.parameters():
                parameter.mul_(0.9)
        network.save_pretrained(tmp_path / kind)
        assert not np.array_equal(draw(folder.load(model=tmp_path / kind), 5.0), draw(folder.load(), 5.0))


def test_a_folder_with_nothing_but_16_bits_is_loaded(copy):
    path = copy(SD3)
    whole = load(path)
    before = state_of_parts(whole)
    for part in of_pipeline(whole).parts:
        for file in (path / part).glob("*.safetensors*"):
            file.unlink()
        shards = {"max_shard_size": "100KB"} if part == "text_encoder_3" else {}
        deepcopy(getattr(whole, part)).half().save_pretrained(path / part, variant="fp16", **shards)
    assert (path / "text_encoder_3" / "model.safetensors.index.fp16.json").is_file()
    found = load(path)
    for name, value in state_of_parts(found).items():
        assert value.dtype == before[name].dtype, name
        assert torch.equal(value, before[name].half().to(value.dtype)), name
    assert draw(found, 5.0).std() > 10


def state_of_parts(pipeline):
    return {
        f"{part}.{name}": value
        for part in of_pipeline(pipeline).parts
        for name, value in getattr(pipeline, part).state_dict().items()
    }


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_a_denoiser_in_shards_draws_the_same(copy, precision):
    path = copy(SD3)
    whole = draw(load(path, precision), 5.0)
    network = load_denoiser(path, None)
    (path / "transformer" / "diffusion_pytorch_model.safetensors").unlink()
    split(network, path / "transformer")
    assert len(list((path / "transformer").glob("*.safetensors"))) > 1
    check_base_model(path)
    np.testing.assert_array_equal(draw(load(path, precision), 5.0), whole)
    assert len(denoiser_digest(path, None)) == 64


def test_a_folder_of_links_with_copies_for_other_programs_draws_the_same(copy, tmp_path):
    path = copy(XL)
    whole = draw(load(path), 5.0)
    for part in ("vae_encoder", "vae_decoder"):
        (path / part).mkdir()
        shutil.copy(path / "vae" / "config.json", path / part)
        (path / part / "model.onnx").write_bytes(b"x")
    (path / "text_encoder" / "openvino_model.bin").write_bytes(b"x")
    (path / "sd_xl_base_1.0.safetensors").write_bytes(b"x")
    blobs = tmp_path / "blobs"
    blobs.mkdir()
    for number, file in enumerate(sorted(each for each in path.rglob("*") if each.is_file())):
        file.rename(blobs / str(number))
        file.symlink_to(blobs / str(number))
    check_base_model(path)
    np.testing.assert_array_equal(draw(load(path), 5.0), whole)


def test_t5_that_the_index_does_not_name_is_not_read(copy):
    path = copy(SD3)
    edit_json(path / "model_index.json", text_encoder_3=[None, None], tokenizer_3=[None, None])
    check_base_model(path)
    pipeline = load(path)
    assert pipeline.text_encoder_3 is pipeline.tokenizer_3 is None
    assert draw(pipeline, 5.0).std() > 10


@pytest.mark.parametrize("kind", [*BOTH, "3_without_t5"])
def test_a_pipeline_with_pickled_weights_is_converted(copy, tmp_path, kind):
    path = copy(kind)
    whole = load(path)
    part = of_pipeline(whole).denoiser
    (path / part / "diffusion_pytorch_model.safetensors").unlink()
    torch.save(getattr(whole, part).state_dict(), path / part / "diffusion_pytorch_model.bin")
    with pytest.raises(UserError, match="pickled weights .* are not loaded. Convert them once"):
        check_base_model(path)
    made = tmp_path / f"{kind}-converted"
    convert(path, made)
    check_base_model(made)
    np.testing.assert_array_equal(draw(load(made), 5.0), draw(whole, 5.0))
    assert (made / "text_encoder_3").exists() == (kind == SD3)


def test_the_forecast_reads_the_size_of_a_denoiser_whatever_its_precision(copy):
    for kind in BOTH:
        path = copy(kind)
        network = load_denoiser(path, None)
        found = denoisers.of_files(path)
        assert found.parameters == sum(each.numel() for each in network.parameters())
        (file,) = (path / found.folder).glob("*.safetensors")
        file.unlink()
        network.half().save_pretrained(path / found.folder, variant="fp16")
        assert denoisers.of_files(path).bytes == found.bytes


# ---- What is wrong with them


def index(**changes):
    return lambda path: edit_json(path / "model_index.json", **changes)


def without(name):
    return lambda path: shutil.rmtree(path / name)


def rebuilt(part, kind, **changes):
    """A change of a part's configuration and, with it, of its weights."""

    def change(path):
        library = diffusers if hasattr(diffusers, kind) else transformers
        found = getattr(library, kind)
        if library is diffusers:
            config = {**found.load_config(path / part), **changes}
            made = found.from_config(config)
        else:
            made = found(found.config_class.from_pretrained(path / part, **changes))
        shutil.rmtree(path / part)
        made.save_pretrained(path / part)

    return change


WRONG = {
    "refiner": (XL, index(requires_aesthetics_score=True, text_encoder=[None, None], tokenizer=[None, None]),
        "it is a refiner (requires_aesthetics_score), which goes over the images of another model; name the base model"),
    "no second CLIP": (XL, index(text_encoder_2=[None, None]), "the text_encoder_2 of {path} is missing; what can be used is a "
        "CLIPTextModelWithProjection"),
    "no folder of the second CLIP": (XL, without("text_encoder_2"), "there is no folder {path}/text_encoder_2"),
    "no second tokenizer": (XL, without("tokenizer_2"), "there is no {path}/tokenizer_2/tokenizer_config.json"),
    "CLIP without its summary": (XL, index(text_encoder_2=["transformers", "CLIPTextModel"]),
        "the text_encoder_2 of {path} is CLIPTextModel; what can be used is a CLIPTextModelWithProjection"),
    "another pipeline": (XL, index(_class_name="StableDiffusionXLInpaintPipeline"),
        "{path} is a StableDiffusionXLInpaintPipeline; what can be used: "),
    "refiner's U-Net": (XL, rebuilt("unet", "UNet2DConditionModel", projection_class_embeddings_input_dim=48 + 5 * 8),
        "its U-Net is a refiner's"),
    "U-Net of other summaries": (XL, rebuilt("unet", "UNet2DConditionModel", projection_class_embeddings_input_dim=99),
        "its U-Net reads 99 numbers of summary and sizes, text_encoder_2 writes 48 and sizes take 48; they are of two models"),
    "U-Net of one CLIP": (XL, rebuilt("unet", "UNet2DConditionModel", cross_attention_dim=32),
        "its U-Net reads embeddings 32 wide, its text encoders write 32 and 48"),
    "U-Net without sizes": (XL, rebuilt("unet", "UNet2DConditionModel", addition_embed_type=None),
        "its U-Net is of another kind (addition_embed_type: None)"),
    "distilled U-Net": (XL, rebuilt("unet", "UNet2DConditionModel", time_cond_proj_dim=8),
        "its U-Net is given more than text and sizes (time_cond_proj_dim: 8)"),
    "U-Net for inpainting": (XL, rebuilt("unet", "UNet2DConditionModel", in_channels=9), "its U-Net takes 9 channels and gives 4"),
    "autoencoder of a flow model": (XL, rebuilt("vae", "AutoencoderKL", shift_factor=0.1), "or a `shift_factor` beside it"),
    "autoencoder of Playground": (XL, rebuilt("vae", "AutoencoderKL", latents_mean=[0.0] * 4), "its autoencoder has `latents_mean`"),
    "autoencoder that shrinks less": (XL, rebuilt("vae", "AutoencoderKL", block_out_channels=[8, 8, 16],
        down_block_types=["DownEncoderBlock2D"] * 3, up_block_types=["UpDecoderBlock2D"] * 3), "its autoencoder shrinks 4 times"),
    "scheduler of flow": (XL, lambda path: edit_json(path / "scheduler" / "scheduler_config.json",
        _class_name="FlowMatchEulerDiscreteScheduler"), "a FlowMatchEulerDiscreteScheduler is of another kind of diffusion"),
    "no folder of T5": (SD3, without("text_encoder_3"), "there is no folder {path}/text_encoder_3"),
    "T5 without tokenizer": (SD3, index(tokenizer_3=[None, None]),
        "its model_index.json has a text_encoder_3, but its tokenizer_3 is missing; name both, or neither to draw without T5"),
    "tokenizer of T5 alone": (SD3, index(text_encoder_3=[None, None]),
        "its model_index.json has a tokenizer_3, but its text_encoder_3 is missing"),
    "CLIP of XL": (SD3, index(text_encoder=["transformers", "CLIPTextModel"]),
        "the text_encoder of {path} is CLIPTextModel; what can be used is a CLIPTextModelWithProjection"),
    "transformer of Flux": (SD3, index(transformer=["diffusers", "FluxTransformer2DModel"]),
        "the transformer of {path} is FluxTransformer2DModel; what can be used is a SD3Transformer2DModel"),
    "no shift": (SD3, rebuilt("vae", "AutoencoderKL", shift_factor=None), "no `scaling_factor` or no `shift_factor`"),
    "autoencoder of XL": (SD3, rebuilt("vae", "AutoencoderKL", latent_channels=4),
        "its transformer takes 16 channels, where the autoencoder has 4; they are of two models"),
    "narrow summary": (SD3, rebuilt("text_encoder_2", "CLIPTextModelWithProjection", projection_dim=16),
        "its transformer reads a summary 80 wide, its text encoders write 32 and 16"),
    "narrow transformer": (SD3, rebuilt("transformer", "SD3Transformer2DModel", joint_attention_dim=64),
        "its transformer reads embeddings 64 wide, its text encoders write 32 and 48 side by side"),
    "narrow T5": (SD3, rebuilt("text_encoder_3", "T5EncoderModel", d_model=64),
        "its transformer reads embeddings 96 wide, its text_encoder_3 writes 64"),
    "scheduler of betas": (SD3, lambda path: edit_json(path / "scheduler" / "scheduler_config.json",
        _class_name="EulerDiscreteScheduler"), "a EulerDiscreteScheduler is for models with betas, and this one is of flow"),
}  # fmt: skip


@pytest.mark.parametrize("fault", WRONG)
def test_what_is_wrong_is_one_line_that_names_the_key(copy, fault):
    kind, change, told = WRONG[fault]
    path = copy(kind)
    change(path)

    def use():
        check_base_model(path)
        load(path)

    with pytest.raises(UserError, match=rf"^`model.path`: .*{re.escape(told.format(path=path))}") as raised:
        use()
    assert "\n" not in str(raised.value)
