"""Tiny flow models with random weights, in the exact formats of the large ones: those that read Qwen3, and a variant of PRX."""

import json
import shutil
from pathlib import Path

import torch
from diffusers import (
    AutoencoderDC,
    AutoencoderKL,
    AutoencoderKLFlux2,
    FlowMatchEulerDiscreteScheduler,
    Flux2KleinPipeline,
    Flux2Transformer2DModel,
    PRXTransformer2DModel,
    ZImagePipeline,
    ZImageTransformer2DModel,
)
from tokenizers.pre_tokenizers import ByteLevel
from transformers import Qwen2Tokenizer, Qwen3Config, Qwen3ForCausalLM

# Qwen3's, as far as it deals with one message of a user.
CHAT = (
    "{%- for message in messages %}{{- '<|im_start|>' + message.role + '\\n' + message.content + '<|im_end|>' + '\\n' }}"
    "{%- endfor %}{%- if add_generation_prompt %}{{- '<|im_start|>assistant\\n' }}"
    "{%- if enable_thinking is defined and enable_thinking is false %}{{- '<think>\\n\\n</think>\\n\\n' }}{%- endif %}{%- endif %}"
)
SHARD = "20KB"


def qwen_tokenizer(folder: Path, jinja_file: bool) -> Qwen2Tokenizer:
    """Qwen3's tokenizer of bytes without merges; its chat template is in a file of its own or in tokenizer_config.json."""
    letters = sorted(ByteLevel.alphabet())
    tokenizer = Qwen2Tokenizer(
        vocab={letter: index for index, letter in enumerate(letters)}, merges=[], pad_token="<|endoftext|>",
        eos_token="<|im_end|>", extra_special_tokens=["<|im_start|>", "<think>", "</think>"], model_max_length=131072,
        chat_template=CHAT,
    )  # fmt: skip
    tokenizer.save_pretrained(folder, save_jinja_files=jinja_file)
    return tokenizer


def qwen(tokenizer: Qwen2Tokenizer, layers: int) -> Qwen3ForCausalLM:
    """A Qwen3 with two heads for each pair of keys and values, and one matrix that both reads and writes tokens."""
    config = Qwen3Config(
        vocab_size=len(tokenizer), hidden_size=16, intermediate_size=32, num_hidden_layers=layers, num_attention_heads=2,
        num_key_value_heads=1, head_dim=16, tie_word_embeddings=True, rope_parameters={"rope_type": "default", "rope_theta": 1e6},
    )  # fmt: skip
    return Qwen3ForCausalLM(config)


def scattered(network: torch.nn.Module, ends: tuple[str, ...], spread: float = 0.5) -> None:
    """Draw the parameters with these ends of names anew: with those of a new transformer, captions are hardly seen."""
    for name, value in network.named_parameters():
        if name.endswith(ends):
            torch.nn.init.normal_(value, std=spread)


def flux2_klein(folder: Path, seed: int = 0) -> Path:
    """A pipeline folder shaped like FLUX.2 klein's base model of 4 billion parameters, at tiny width.

    As there: 28 layers of text encoder, of which the transformer reads the 9th, 18th and 27th, blocks of two streams and of one,
    no embedding of a guidance scale, an autoencoder that shrinks eight times and keeps the statistics of packed latents, and a
    schedule that is shifted by the size of images.
    """
    torch.manual_seed(seed)
    tokenizer = qwen_tokenizer(folder / "tokenizer", jinja_file=True)
    vae = AutoencoderKLFlux2(
        block_out_channels=(8, 8, 16, 16), norm_num_groups=4, layers_per_block=1, latent_channels=4, sample_size=64,
    )  # fmt: skip
    torch.nn.init.normal_(vae.bn.running_mean, std=0.3)
    torch.nn.init.uniform_(vae.bn.running_var, 0.2, 2.0)
    transformer = Flux2Transformer2DModel(
        in_channels=16, num_layers=1, num_single_layers=2, attention_head_dim=16, num_attention_heads=2, joint_attention_dim=48,
        timestep_guidance_channels=32, axes_dims_rope=(4, 4, 4, 4), guidance_embeds=False,
    )  # fmt: skip
    scattered(transformer, ("context_embedder.weight",), 2.0)
    scheduler = FlowMatchEulerDiscreteScheduler(
        num_train_timesteps=1000, shift=3.0, use_dynamic_shifting=True, base_shift=0.5, max_shift=1.15
    )
    pipeline = Flux2KleinPipeline(
        transformer=transformer, vae=vae, text_encoder=qwen(tokenizer, 28), tokenizer=tokenizer, scheduler=scheduler
    )
    pipeline.save_pretrained(folder, safe_serialization=True)
    (folder / "text_encoder" / "model.safetensors").unlink()
    pipeline.text_encoder.save_pretrained(folder / "text_encoder", max_shard_size=SHARD)
    rename(folder, tokenizer=["transformers", "Qwen2TokenizerFast"])
    return folder


def z_image(folder: Path, seed: int = 0) -> Path:
    """A pipeline folder shaped like Z-Image's base model, at tiny width.

    As there: a text encoder whose files hold a whole language model, read without its head, weights in shards, refiners of
    captions and images before the blocks, an autoencoder that shrinks eight times to 16 channels and has a shift beside its
    scale, and a schedule that is shifted towards noise, the same for all sizes.
    """
    torch.manual_seed(seed)
    tokenizer = qwen_tokenizer(folder / "tokenizer", jinja_file=False)
    whole = qwen(tokenizer, 3)
    vae = AutoencoderKL(
        block_out_channels=(8, 8, 16, 16), norm_num_groups=4, layers_per_block=1, latent_channels=16, sample_size=64,
        down_block_types=["DownEncoderBlock2D"] * 4, up_block_types=["UpDecoderBlock2D"] * 4,
        scaling_factor=0.3611, shift_factor=0.1159, use_quant_conv=False, use_post_quant_conv=False,
    )  # fmt: skip
    transformer = ZImageTransformer2DModel(
        in_channels=16, dim=32, n_layers=2, n_refiner_layers=1, n_heads=2, n_kv_heads=2, cap_feat_dim=16,
        axes_dims=[8, 4, 4], axes_lens=[1024, 64, 64],
    )  # fmt: skip
    scattered(transformer, ("pad_token", "adaLN_modulation.0.bias"))
    pipeline = ZImagePipeline(
        transformer=transformer, vae=vae, text_encoder=whole.model, tokenizer=tokenizer,
        scheduler=FlowMatchEulerDiscreteScheduler(num_train_timesteps=1000, shift=6.0),
    )  # fmt: skip
    pipeline.save_pretrained(folder, safe_serialization=True)
    (folder / "text_encoder" / "model.safetensors").unlink()
    whole.save_pretrained(folder / "text_encoder", max_shard_size=SHARD)
    (folder / "transformer" / "diffusion_pytorch_model.safetensors").unlink()
    transformer.save_pretrained(folder / "transformer", max_shard_size=SHARD)
    # The pipeline saved it with its template in a file of its own.
    (folder / "tokenizer" / "chat_template.jinja").unlink()
    qwen_tokenizer(folder / "tokenizer", jinja_file=False)
    return folder


def rename(folder: Path, **entries: object) -> None:
    """Change entries of a folder's model_index.json."""
    path = folder / "model_index.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | entries, indent=2))


def with_dc_ae(folder: Path) -> Path:
    """A folder of PRX with the other autoencoder that the hub's come with, here of four by four pixels a latent."""
    for part in ("vae", "transformer"):
        shutil.rmtree(folder / part)
    torch.manual_seed(0)
    AutoencoderDC(
        latent_channels=8, attention_head_dim=8, encoder_block_out_channels=(8, 16, 16), decoder_block_out_channels=(8, 16, 16),
        encoder_layers_per_block=(1, 1, 1), decoder_layers_per_block=(1, 1, 1), encoder_qkv_multiscales=((), (), ()),
        decoder_qkv_multiscales=((), (), ()), scaling_factor=0.41407,
    ).save_pretrained(folder / "vae")  # fmt: skip
    transformer = PRXTransformer2DModel(
        in_channels=8, patch_size=1, context_in_dim=32, hidden_size=32, num_heads=2, depth=2, axes_dim=[8, 8]
    )
    for block in transformer.blocks:
        torch.nn.init.normal_(block.modulation.lin.bias, std=0.5)
    transformer.save_pretrained(folder / "transformer")
    rename(folder, vae=["diffusers", "AutoencoderDC"])
    return folder
