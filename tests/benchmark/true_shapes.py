"""Pipelines of true shapes with random weights, in the format of the hub's: what speed and memory depend on.

    python tests/benchmark/true_shapes.py FOLDER                             # FOLDER/<name> of each
    python tests/benchmark/true_shapes.py FOLDER prx --device cuda           # one, with weights drawn on a GPU, which is quicker
    python tests/benchmark/true_shapes.py FOLDER --tiny                      # the same architectures at tiny widths

Weights are drawn on the device. A folder has its name when it is whole.
"""

import argparse
import json
import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2] / "scripts"))
sys.path.insert(0, str(Path(__file__).parents[1]))
import tiny
import torch
from diffusers import (
    AutoencoderKL,
    DDIMScheduler,
    FlowMatchEulerDiscreteScheduler,
    PRXPipeline,
    PRXTransformer2DModel,
    StableDiffusionPipeline,
    StableDiffusionXLPipeline,
    UNet2DConditionModel,
)
from nepotism.families.diffusion.backbones import MODULES
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection, T5GemmaConfig
from transformers.models.t5gemma.modeling_t5gemma import T5GemmaEncoder

# Layers of the text encoder that stands for PRX's, which has 26.
T5GEMMA_LAYERS = 2
# Schedule of all Stable Diffusions.
BETAS = {
    "beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear", "clip_sample": False,
    "set_alpha_to_one": False, "steps_offset": 1,
}  # fmt: skip


@dataclass(frozen=True)
class Shape:
    """A model, and how it is measured.

    Attributes:
        parts: makes its networks by name, on torch's default device.
        save: writes them as a pipeline's folder.
        precision: of the weights in the folder.
        resolution: pixels.
        batch_size, sample_batch_size: images at a time.
        short: whether only what is most wanted is measured.
        note: what of it is not as in the true model, and what to know of the comparison.
    """

    parts: Callable[[], dict[str, torch.nn.Module]]
    save: Callable[[Path, dict[str, torch.nn.Module]], None]
    precision: torch.dtype
    resolution: int
    batch_size: int
    sample_batch_size: int
    short: bool = True
    note: str = ""


def autoencoder(latent_channels: int, sample_size: int, **others: object) -> AutoencoderKL:
    """That of Stable Diffusion and, with other latents, of XL and Flux: 84 M parameters."""
    return AutoencoderKL(
        block_out_channels=(128, 256, 512, 512), layers_per_block=2, latent_channels=latent_channels, sample_size=sample_size,
        down_block_types=["DownEncoderBlock2D"] * 4, up_block_types=["UpDecoderBlock2D"] * 4, **others,
    )  # fmt: skip


# ---- Stable Diffusion 2.1 base


def stable_diffusion_parts() -> dict[str, torch.nn.Module]:
    """U-Net of 866 M parameters, autoencoder, OpenCLIP text encoder of 340 M."""
    return {
        "unet": UNet2DConditionModel(
            sample_size=64, cross_attention_dim=1024, attention_head_dim=(5, 10, 20, 20), use_linear_projection=True
        ),
        "vae": autoencoder(4, 768),
        "text_encoder": CLIPTextModel(
            CLIPTextConfig(
                hidden_size=1024, intermediate_size=4096, num_hidden_layers=23, num_attention_heads=16,
                projection_dim=512, hidden_act="gelu",
            )
        ),
    }  # fmt: skip


def save_stable_diffusion(folder: Path, parts: dict[str, torch.nn.Module]) -> None:
    pipeline = StableDiffusionPipeline(
        **parts, tokenizer=tiny.clip_tokenizer(folder / "tokenizer"), scheduler=DDIMScheduler(**BETAS),
        safety_checker=None, feature_extractor=None, requires_safety_checker=False,
    )  # fmt: skip
    pipeline.save_pretrained(folder, safe_serialization=True)
    _plain_tokenizer(folder / "tokenizer")


# ---- Stable Diffusion XL base 1.0


def stable_diffusion_xl_parts() -> dict[str, torch.nn.Module]:
    """U-Net of 2,567 M parameters, autoencoder, CLIP's text encoder of 123 M and OpenCLIP's of 695 M."""
    return {
        "unet": UNet2DConditionModel(
            sample_size=128, block_out_channels=(320, 640, 1280), transformer_layers_per_block=[1, 2, 10],
            down_block_types=["DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"],
            up_block_types=["CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"], attention_head_dim=[5, 10, 20],
            cross_attention_dim=2048, use_linear_projection=True, addition_embed_type="text_time",
            addition_time_embed_dim=256, projection_class_embeddings_input_dim=2816,
        ),
        "vae": autoencoder(4, 1024, scaling_factor=0.13025, force_upcast=True),
        "text_encoder": CLIPTextModel(
            CLIPTextConfig(
                hidden_size=768, intermediate_size=3072, num_hidden_layers=12, num_attention_heads=12,
                projection_dim=768, hidden_act="quick_gelu",
            )
        ),
        "text_encoder_2": CLIPTextModelWithProjection(
            CLIPTextConfig(
                hidden_size=1280, intermediate_size=5120, num_hidden_layers=32, num_attention_heads=20,
                projection_dim=1280, hidden_act="gelu",
            )
        ),
    }  # fmt: skip


def save_stable_diffusion_xl(folder: Path, parts: dict[str, torch.nn.Module]) -> None:
    names = ("tokenizer", "tokenizer_2")
    pipeline = StableDiffusionXLPipeline(
        **parts, **{name: tiny.clip_tokenizer(folder / name) for name in names}, scheduler=DDIMScheduler(**BETAS),
        force_zeros_for_empty_prompt=True, add_watermarker=False,
    )  # fmt: skip
    pipeline.save_pretrained(folder, safe_serialization=True)
    for name in names:
        _plain_tokenizer(folder / name)


# ---- PRX of 256 pixels, with Flux's autoencoder


def prx_parts() -> dict[str, torch.nn.Module]:
    """Transformer of 1,171 M parameters (its page says 1.3 G), Flux's autoencoder, some layers of T5Gemma 2B's encoder."""
    return {
        "transformer": PRXTransformer2DModel(),
        "vae": autoencoder(
            16, 1024, scaling_factor=0.3611, shift_factor=0.1159, use_quant_conv=False, use_post_quant_conv=False
        ),
        "text_encoder": T5GemmaEncoder(_t5gemma().encoder),
    }  # fmt: skip


def _t5gemma() -> T5GemmaConfig:
    module = {
        "vocab_size": 512, "hidden_size": 2304, "intermediate_size": 9216, "num_hidden_layers": T5GEMMA_LAYERS,
        "num_attention_heads": 8, "num_key_value_heads": 4, "head_dim": 256, "query_pre_attn_scalar": 256,
    }  # fmt: skip
    return T5GemmaConfig(encoder=module, decoder=dict(module), vocab_size=512, architectures=["T5GemmaEncoder"])


def save_prx(folder: Path, parts: dict[str, torch.nn.Module]) -> None:
    pipeline = PRXPipeline(
        **parts, tokenizer=tiny.gemma_tokenizer(folder / "tokenizer"), default_sample_size=256,
        scheduler=FlowMatchEulerDiscreteScheduler(num_train_timesteps=1000, shift=3.0),
    )  # fmt: skip
    pipeline.save_pretrained(folder, safe_serialization=True)
    # As the hub's: see `tiny.prx`.
    _t5gemma().save_pretrained(folder / "text_encoder")
    index = json.loads((folder / "model_index.json").read_text())
    (folder / "model_index.json").write_text(json.dumps({**index, "text_encoder": ["prx", "T5GemmaEncoder"]}, indent=2))


# ---- All of them, the most wanted first; a name is that of the architecture's module in `backbones`

SHAPES = {
    "stable_diffusion": Shape(
        stable_diffusion_parts, save_stable_diffusion, torch.float32, 512, 16, 16, short=False,
        note="Stable Diffusion 2.1 base",
    ),
    "stable_diffusion_xl": Shape(
        stable_diffusion_xl_parts, save_stable_diffusion_xl, torch.bfloat16, 512, 4, 8,
        note="Stable Diffusion XL base 1.0; diffusers' own script for it encodes once as well, so that it would be faster than the "
        "loop that encodes at every step",
    ),
    "prx": Shape(
        prx_parts, save_prx, torch.bfloat16, 256, 32, 16,
        note=f"PRX 256; its text encoder of 26 layers is one of {T5GEMMA_LAYERS} here, which flatters the loop that runs it at every "
        "step; a plain call draws one image, because the pipeline takes no more with guidance",
    ),
}  # fmt: skip


def build(name: str, folder: Path, device: str = "cpu", small: bool = False) -> Path:
    """A folder named ``name`` in ``folder``: of the true shape, or of that of tests/tiny.py.

    Raises:
        AttributeError: if there is no tiny one.
    """
    made, partial = folder / name, folder / f".{name}"
    if made.is_dir():
        return made
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    torch.manual_seed(0)
    if small:
        getattr(tiny, name)(partial)
    else:
        shape = SHAPES[name]
        with torch.device(device):
            parts = shape.parts()
        shape.save(partial, {part: network.to(shape.precision) for part, network in parts.items()})
    return partial.rename(made)


def is_known(name: str) -> bool:
    """Whether models of this architecture can be retrained."""
    return name in MODULES.values()


def _plain_tokenizer(folder: Path) -> None:
    """The files of the hub's, which have no tokenizer.json."""
    (folder / "tokenizer.json").unlink()
    tiny.clip_tokenizer(folder)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("names", nargs="*", default=[*SHAPES], help="in this order")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--tiny", action="store_true")
    chosen = parser.parse_args()
    for name in chosen.names:
        if not is_known(name) or (chosen.tiny and not hasattr(tiny, name)):
            print(f"{name}: {'there is no tiny one' if is_known(name) else 'such models cannot be retrained yet'}")
            continue
        print(build(name, chosen.folder, chosen.device, chosen.tiny), flush=True)


if __name__ == "__main__":
    main()
