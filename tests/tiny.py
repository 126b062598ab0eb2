"""Tiny models with random weights, in the exact formats of the large ones."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from diffusers import (
    AutoencoderKL,
    DDIMScheduler,
    FlowMatchEulerDiscreteScheduler,
    PNDMScheduler,
    PRXPipeline,
    PRXTransformer2DModel,
    SD3Transformer2DModel,
    StableDiffusionPipeline,
    UNet2DConditionModel,
)
from tiny_flows import flux2_klein, z_image
from tokenizers.pre_tokenizers import ByteLevel
from transformers import (
    CLIPTextConfig,
    CLIPTextModel,
    CLIPTextModelWithProjection,
    CLIPTokenizer,
    GemmaTokenizer,
    OPTConfig,
    OPTForCausalLM,
    T5Config,
    T5EncoderModel,
    T5GemmaConfig,
    T5Tokenizer,
)
from transformers.models.t5gemma.modeling_t5gemma import T5GemmaEncoder


def clip_tokenizer(folder: Path, pad_token: str = "!") -> CLIPTokenizer:
    """A byte-level CLIP tokenizer without merges (every letter is a token), as the files of Stable Diffusion's."""
    folder.mkdir(parents=True, exist_ok=True)
    special = {
        "bos_token": "<|startoftext|>",
        "eos_token": "<|endoftext|>",
        "pad_token": pad_token,
        "unk_token": "<|endoftext|>",
    }
    settings = {"model_max_length": 77, "tokenizer_class": "CLIPTokenizer", "do_lower_case": True, **special}
    (folder / "special_tokens_map.json").write_text(json.dumps(special))
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    letters = [chr(code) for code in range(33, 127)]
    words = [*letters, *(letter + "</w>" for letter in letters), "<|startoftext|>", "<|endoftext|>"]
    (folder / "vocab.json").write_text(json.dumps({word: index for index, word in enumerate(words)}))
    (folder / "merges.txt").write_text("#version: 0.2\n")
    return CLIPTokenizer.from_pretrained(folder)


def stable_diffusion(folder: Path, prediction_type: str = "epsilon", seed: int = 0) -> Path:
    """A pipeline folder shaped like Stable Diffusion 2.1, at 1/10 of its widths and less.

    As there: an OpenCLIP text encoder (gelu, the last layer but one left out), linear projections and one head width in
    the U-Net, an autoencoder that shrinks eight times, and the scheduler of `2-1-base` (PNDM, epsilon) or of the 768
    pixel model (DDIM, v_prediction).
    """
    torch.manual_seed(seed)
    tokenizer = clip_tokenizer(folder / "tokenizer")
    text = CLIPTextModel(
        CLIPTextConfig(
            vocab_size=len(tokenizer), hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=2,
            projection_dim=32, hidden_act="gelu", max_position_embeddings=77,
            bos_token_id=tokenizer.bos_token_id, eos_token_id=tokenizer.eos_token_id, pad_token_id=tokenizer.pad_token_id,
        )
    )  # fmt: skip
    vae = AutoencoderKL(
        block_out_channels=(8, 8, 16, 16), norm_num_groups=4, layers_per_block=1, latent_channels=4, sample_size=64,
        down_block_types=["DownEncoderBlock2D"] * 4, up_block_types=["UpDecoderBlock2D"] * 4,
    )  # fmt: skip
    unet = UNet2DConditionModel(
        sample_size=8, in_channels=4, out_channels=4, layers_per_block=1, norm_num_groups=8,
        block_out_channels=(16, 32, 32, 32), attention_head_dim=(1, 2, 2, 2), cross_attention_dim=32,
        use_linear_projection=True,
    )  # fmt: skip
    schedule = {
        "beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear", "num_train_timesteps": 1000,
        "set_alpha_to_one": False, "steps_offset": 1, "prediction_type": prediction_type,
    }  # fmt: skip
    scheduler = (
        PNDMScheduler(skip_prk_steps=True, **schedule)
        if prediction_type == "epsilon"
        else DDIMScheduler(clip_sample=False, **schedule)
    )
    pipeline = StableDiffusionPipeline(
        vae=vae, text_encoder=text, tokenizer=tokenizer, unet=unet, scheduler=scheduler,
        safety_checker=None, feature_extractor=None, requires_safety_checker=False,
    )  # fmt: skip
    pipeline.save_pretrained(folder, safe_serialization=True)
    (folder / "tokenizer" / "tokenizer.json").unlink()
    clip_tokenizer(folder / "tokenizer")
    return folder


def gemma_tokenizer(folder: Path, model_max_length: int = 256) -> GemmaTokenizer:
    """A Gemma tokenizer without merges (every letter is a token, other signs are bytes), as the files of PRX's."""
    letters = [chr(code) for code in range(33, 127)]
    words = ["<pad>", "<eos>", "<bos>", "<unk>", "<mask>", *(f"<0x{value:02X}>" for value in range(256)), "▁", *letters]
    tokenizer = GemmaTokenizer(
        vocab={word: index for index, word in enumerate(words)}, merges=[], add_bos_token=True,
        model_max_length=model_max_length,
    )  # fmt: skip
    tokenizer.save_pretrained(folder)
    return tokenizer


def prx(folder: Path, seed: int = 0) -> Path:
    """A pipeline folder shaped like Photoroom's PRX of 256 pixels with Flux's autoencoder, at tiny width.

    As there: a T5Gemma encoder with two heads for each pair of keys and values, a window in every other layer and capped logits,
    a transformer of patches of 2 x 2 latents, an autoencoder that shrinks eight times to 16 channels and has a shift beside
    its scale and no convolutions around the latents, and a schedule that is shifted towards noise.
    """
    torch.manual_seed(seed)
    tokenizer = gemma_tokenizer(folder / "tokenizer")
    module = {
        "vocab_size": len(tokenizer), "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2,
        "num_attention_heads": 2, "num_key_value_heads": 1, "head_dim": 16, "query_pre_attn_scalar": 16,
    }  # fmt: skip
    config = T5GemmaConfig(
        encoder=module, decoder=dict(module), vocab_size=len(tokenizer), architectures=["T5GemmaEncoder"]
    )
    vae = AutoencoderKL(
        block_out_channels=(8, 8, 16, 16), norm_num_groups=4, layers_per_block=1, latent_channels=16, sample_size=64,
        down_block_types=["DownEncoderBlock2D"] * 4, up_block_types=["UpDecoderBlock2D"] * 4,
        scaling_factor=0.3611, shift_factor=0.1159, use_quant_conv=False, use_post_quant_conv=False,
    )  # fmt: skip
    transformer = PRXTransformer2DModel(
        in_channels=16, patch_size=2, context_in_dim=32, hidden_size=32, mlp_ratio=3.5, num_heads=2, depth=2,
        axes_dim=[8, 8],
    )  # fmt: skip
    # Gates of a new transformer are shut: nothing but the last layer would be seen, and captions not at all.
    for block in transformer.blocks:
        torch.nn.init.normal_(block.modulation.lin.bias, std=0.5)
    pipeline = PRXPipeline(
        transformer=transformer, text_encoder=T5GemmaEncoder(config.encoder), tokenizer=tokenizer, vae=vae,
        scheduler=FlowMatchEulerDiscreteScheduler(num_train_timesteps=1000, shift=3.0), default_sample_size=256,
    )  # fmt: skip
    pipeline.save_pretrained(folder, safe_serialization=True)
    # The encoder's folder names a whole T5Gemma: the encoder's own configuration is not what the library reads there.
    config.save_pretrained(folder / "text_encoder")
    index = json.loads((folder / "model_index.json").read_text())
    (folder / "model_index.json").write_text(json.dumps({**index, "text_encoder": ["prx", "T5GemmaEncoder"]}, indent=2))
    return folder


def _index(folder: Path, kind: str, parts: dict[str, list[str | None]], **settings: Any) -> None:
    index = {"_class_name": kind, "_diffusers_version": "0.19.0.dev0", **settings, **parts}
    (folder / "model_index.json").write_text(json.dumps(index, indent=2))


def _scheduler(folder: Path, kind: str, **settings: Any) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "scheduler_config.json").write_text(json.dumps({"_class_name": kind, **settings}, indent=2))


def _clip_text(width: int, layers: int, hidden_act: str) -> CLIPTextConfig:
    """As old configurations have it, the end of a text is said to be token 2, which stands for the largest number in it."""
    return CLIPTextConfig(
        vocab_size=190, hidden_size=width, intermediate_size=2 * width, num_hidden_layers=layers, num_attention_heads=2,
        projection_dim=width, hidden_act=hidden_act, max_position_embeddings=77, bos_token_id=0, eos_token_id=2, pad_token_id=1,
    )  # fmt: skip


def stable_diffusion_xl(folder: Path, seed: int = 0) -> Path:
    """A pipeline folder shaped like stabilityai/stable-diffusion-xl-base-1.0, at tiny width.

    As there: no attention at the first level of the U-Net and more layers of it at the last, CLIPs of two widths and two ways to
    pad, an autoencoder whose file asks for single precision, zeros for empty captions, and Euler's scheduler.
    """
    torch.manual_seed(seed)
    clip_tokenizer(folder / "tokenizer", "<|endoftext|>")
    clip_tokenizer(folder / "tokenizer_2")
    CLIPTextModel(_clip_text(32, 2, "quick_gelu")).save_pretrained(folder / "text_encoder")
    CLIPTextModelWithProjection(_clip_text(48, 3, "gelu")).save_pretrained(folder / "text_encoder_2")
    AutoencoderKL(
        block_out_channels=(8, 8, 16, 16), norm_num_groups=4, layers_per_block=1, latent_channels=4, sample_size=64,
        down_block_types=["DownEncoderBlock2D"] * 4, up_block_types=["UpDecoderBlock2D"] * 4,
        scaling_factor=0.13025, force_upcast=True,
    ).save_pretrained(folder / "vae")  # fmt: skip
    UNet2DConditionModel(
        sample_size=8, in_channels=4, out_channels=4, layers_per_block=1, norm_num_groups=8, cross_attention_dim=80,
        block_out_channels=(16, 32, 32), attention_head_dim=(1, 2, 2), transformer_layers_per_block=(1, 1, 2),
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"), use_linear_projection=True,
        addition_embed_type="text_time", addition_time_embed_dim=8, projection_class_embeddings_input_dim=48 + 6 * 8,
    ).save_pretrained(folder / "unet")  # fmt: skip
    _scheduler(
        folder / "scheduler", "EulerDiscreteScheduler", beta_end=0.012, beta_schedule="scaled_linear", beta_start=0.00085,
        clip_sample=False, interpolation_type="linear", num_train_timesteps=1000, prediction_type="epsilon", sample_max_value=1.0,
        set_alpha_to_one=False, skip_prk_steps=True, steps_offset=1, timestep_spacing="leading", trained_betas=None,
        use_karras_sigmas=False,
    )  # fmt: skip
    parts: dict[str, list[str | None]] = {
        "scheduler": ["diffusers", "EulerDiscreteScheduler"], "text_encoder": ["transformers", "CLIPTextModel"],
        "text_encoder_2": ["transformers", "CLIPTextModelWithProjection"], "tokenizer": ["transformers", "CLIPTokenizer"],
        "tokenizer_2": ["transformers", "CLIPTokenizer"], "unet": ["diffusers", "UNet2DConditionModel"],
        "vae": ["diffusers", "AutoencoderKL"],
    }  # fmt: skip
    _index(folder, "StableDiffusionXLPipeline", parts, force_zeros_for_empty_prompt=True, add_watermarker=None)
    return folder


def t5_tokenizer(folder: Path) -> T5Tokenizer:
    """A T5 tokenizer of single letters, as the files of T5 v1.1's but for the original of its vocabulary."""
    letters = [chr(code) for code in range(33, 127)]
    words = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0), ("▁", -2.0), *((letter, -3.0) for letter in letters)]
    words += [(f"<extra_id_{number}>", 0.0) for number in reversed(range(100))]
    tokenizer = T5Tokenizer(vocab=words, model_max_length=512)
    tokenizer.save_pretrained(folder)
    return tokenizer


def stable_diffusion_3(folder: Path, seed: int = 0, t5: bool = True) -> Path:
    """A pipeline folder shaped like stabilityai/stable-diffusion-3.5-medium, at tiny width; without T5, its index says null.

    As there: T5 in shards and wider than both CLIPs, a transformer with normalised queries and keys and double attention in its
    first layers, and an autoencoder with a shift beside its scale and no convolutions around the latents.
    """
    torch.manual_seed(seed)
    clip_tokenizer(folder / "tokenizer", "<|endoftext|>")
    clip_tokenizer(folder / "tokenizer_2")
    for part, clip in {
        "text_encoder": _clip_text(32, 2, "quick_gelu"),
        "text_encoder_2": _clip_text(48, 3, "gelu"),
    }.items():
        CLIPTextModelWithProjection(clip).save_pretrained(folder / part)
    if t5:
        words = len(t5_tokenizer(folder / "tokenizer_3"))
        config = T5Config(
            vocab_size=words, d_model=96, d_kv=8, d_ff=64, num_layers=2, num_heads=4, feed_forward_proj="gated-gelu",
            dropout_rate=0.1, tie_word_embeddings=False,
        )  # fmt: skip
        T5EncoderModel(config).save_pretrained(folder / "text_encoder_3", max_shard_size="200KB")
    AutoencoderKL(
        block_out_channels=(8, 8, 16, 16), norm_num_groups=4, layers_per_block=1, latent_channels=16, sample_size=64,
        down_block_types=["DownEncoderBlock2D"] * 4, up_block_types=["UpDecoderBlock2D"] * 4, force_upcast=True,
        scaling_factor=1.5305, shift_factor=0.0609, use_quant_conv=False, use_post_quant_conv=False,
    ).save_pretrained(folder / "vae")  # fmt: skip
    SD3Transformer2DModel(
        sample_size=8, patch_size=2, in_channels=16, out_channels=16, num_layers=3, attention_head_dim=8,
        num_attention_heads=4, joint_attention_dim=96, caption_projection_dim=32, pooled_projection_dim=80,
        pos_embed_max_size=24, dual_attention_layers=(0, 1), qk_norm="rms_norm",
    ).save_pretrained(folder / "transformer")  # fmt: skip
    _scheduler(folder / "scheduler", "FlowMatchEulerDiscreteScheduler", num_train_timesteps=1000, shift=3.0)
    parts: dict[str, list[str | None]] = {
        "scheduler": ["diffusers", "FlowMatchEulerDiscreteScheduler"],
        "text_encoder": ["transformers", "CLIPTextModelWithProjection"],
        "text_encoder_2": ["transformers", "CLIPTextModelWithProjection"],
        "text_encoder_3": ["transformers", "T5EncoderModel"] if t5 else [None, None],
        "tokenizer": ["transformers", "CLIPTokenizer"], "tokenizer_2": ["transformers", "CLIPTokenizer"],
        "tokenizer_3": ["transformers", "T5TokenizerFast"] if t5 else [None, None],
        "transformer": ["diffusers", "SD3Transformer2DModel"], "vae": ["diffusers", "AutoencoderKL"],
    }  # fmt: skip
    _index(folder, "StableDiffusion3Pipeline", parts)
    return folder


def tiny_language_model(folder: Path, seed: int = 0) -> OPTForCausalLM:
    """A folder with the files of OPT of 125 million parameters: its tokenizer of bytes (here without merges), its specials."""
    folder.mkdir(parents=True, exist_ok=True)
    words = ["<s>", "<pad>", "</s>", "<unk>", *sorted(ByteLevel.alphabet())]
    (folder / "vocab.json").write_text(json.dumps({word: index for index, word in enumerate(words)}))
    (folder / "merges.txt").write_text("#version: 0.2\n")
    special = {"bos_token": "</s>", "eos_token": "</s>", "unk_token": "</s>", "pad_token": "<pad>"}
    settings = {"tokenizer_class": "GPT2Tokenizer", "add_bos_token": True, "add_prefix_space": False, **special}
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    (folder / "special_tokens_map.json").write_text(json.dumps(special))
    torch.manual_seed(seed)
    model = OPTForCausalLM(
        OPTConfig(
            vocab_size=len(words), hidden_size=16, num_hidden_layers=2, ffn_dim=32, num_attention_heads=2,
            word_embed_proj_dim=16, max_position_embeddings=128, bos_token_id=2, eos_token_id=2, pad_token_id=1,
        )
    )  # fmt: skip
    model.save_pretrained(folder)
    return model


def deepface(home: Path, seed: int = 0) -> Path:
    """DeepFace's three attribute models as tiny ONNX graphs of their shapes: 101, 2 and 6 shares of n x 224 x 224 x 3.

    Each is a softmax of random weights of the mean colour, so that labels depend on the picture.
    """
    import numpy as np
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    folder = home / ".deepface" / "weights"
    folder.mkdir(parents=True)
    random = np.random.default_rng(seed)
    names = {"age_model_weights": 101, "gender_model_weights": 2, "race_model_single_batch": 6}
    for name, classes in names.items():
        weights = random.normal(size=(3, classes)).astype(np.float32) * 40
        # At mid grey all classes are about as likely.
        bias = -0.45 * weights.sum(0)
        graph = helper.make_graph(
            [
                helper.make_node("ReduceMean", ["image", "axes"], ["colour"], keepdims=0),
                helper.make_node("MatMul", ["colour", "weights"], ["product"]),
                helper.make_node("Add", ["product", "bias"], ["logits"]),
                helper.make_node("Softmax", ["logits"], ["shares"], axis=1),
            ],
            name,
            [helper.make_tensor_value_info("image", TensorProto.FLOAT, ["n", 224, 224, 3])],
            [helper.make_tensor_value_info("shares", TensorProto.FLOAT, ["n", classes])],
            [
                numpy_helper.from_array(np.array([1, 2]), "axes"),
                numpy_helper.from_array(weights, "weights"),
                numpy_helper.from_array(bias.astype(np.float32), "bias"),
            ],
        )
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
        onnx.save(model, folder / f"{name}.onnx")
    return home


def ffhq(folder: Path, count: int = 100) -> Path:
    """A miniature FFHQ: real faces in the official tree, with metadata for the first of them."""
    import skimage
    from PIL import Image

    faces = skimage.data.lfw_subset()[:100]
    for number in range(count):
        path = folder / "images1024x1024" / f"{number // 1000 * 1000:05d}" / f"{number:05d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        tint = (1, 0.6 + 0.004 * number, 1 - 0.004 * number)
        grey = Image.fromarray((faces[number] * 255).astype("uint8")).resize((64, 64))
        Image.merge("RGB", [grey.point(lambda value, share=share: value * share) for share in tint]).save(path)
    entry = {"metadata": {"license": "Attribution License", "author": "A. Face", "photo_url": "photos/1"}}
    (folder / "ffhq-dataset-v2.json").write_text(json.dumps({"0": entry}))
    return folder


class Inception(torch.nn.Module):
    """Shaped like clean-fid's TorchScript file: a module whose `layers` map images to 2,048 features."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = torch.nn.Sequential(
            torch.nn.AdaptiveAvgPool2d((32, 64)), torch.nn.Flatten(), torch.nn.AvgPool1d(3)
        )

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return self.layers(image)


def clean_fid(folder: Path) -> Path:
    """The file of `Inception`, under the name that clean-fid looks for."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "inception-2015-12-05.pt"
    torch.jit.script(Inception()).save(str(path))
    return path


def dinov2(folder: Path) -> Path:
    """A DINOv2 of one layer with random weights, for images of 28 pixels, in the hub's format."""
    import json

    from transformers import Dinov2Config, Dinov2Model

    torch.manual_seed(0)
    config = Dinov2Config(hidden_size=32, num_hidden_layers=1, num_attention_heads=2, image_size=56, patch_size=14)
    Dinov2Model(config).save_pretrained(folder)
    processor = {
        "crop_size": {"height": 28, "width": 28}, "image_mean": [0.485, 0.456, 0.406], "image_std": [0.229, 0.224, 0.225],
    }  # fmt: skip
    (folder / "preprocessor_config.json").write_text(json.dumps(processor))
    return folder


def torchvision_inception(path: Path) -> Path:
    """torchvision's Inception with random weights, as safetensors."""
    from safetensors.torch import save_file
    from torchvision.models import inception_v3

    torch.manual_seed(0)
    network = inception_v3(weights=None, init_weights=False, aux_logits=True)
    save_file({name: value.contiguous() for name, value in network.state_dict().items()}, path)
    return path


# By the name of the architecture's module.
PIPELINES: dict[str, Callable[[Path], Path]] = {
    "stable_diffusion": stable_diffusion,
    "stable_diffusion_xl": stable_diffusion_xl,
    "stable_diffusion_3": stable_diffusion_3,
    "prx": prx,
    "flux2_klein": flux2_klein,
    "z_image": z_image,
}
