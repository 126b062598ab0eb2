"""Language models of the hub's formats with tiny random weights: what their folders hold, by the names that they have there."""

import json
from pathlib import Path

import torch
from safetensors.torch import save_file
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from tokenizers.pre_tokenizers import ByteLevel
from transformers import GPT2Config, GPT2LMHeadModel, LlamaConfig, LlamaForCausalLM


def _vocabulary(folder: Path, end: str) -> list[str]:
    """The files of a byte-level tokenizer without merges, as GPT-2's and SmolLM2's folders hold them."""
    folder.mkdir(parents=True, exist_ok=True)
    words = [end, *sorted(ByteLevel.alphabet())]
    (folder / "vocab.json").write_text(json.dumps({word: index for index, word in enumerate(words)}))
    (folder / "merges.txt").write_text("#version: 0.2\n")
    tokenizer = Tokenizer(models.BPE({word: index for index, word in enumerate(words)}, []))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([end])
    tokenizer.save(str(folder / "tokenizer.json"))
    return words


def gpt2(folder: Path, seed: int = 0) -> GPT2LMHeadModel:
    """As openai-community/gpt2: names of tensors without the prefix of the language model, masks of attention among them."""
    words = _vocabulary(folder, "<|endoftext|>")
    (folder / "tokenizer_config.json").write_text(json.dumps({"model_max_length": 1024}))
    torch.manual_seed(seed)
    last = len(words) - 1
    model = GPT2LMHeadModel(
        GPT2Config(
            vocab_size=len(words), n_embd=16, n_layer=2, n_head=2, n_positions=64, bos_token_id=last, eos_token_id=last
        )
    )
    model.save_pretrained(folder)
    tensors = {
        name.removeprefix("transformer."): value.clone()
        for name, value in model.state_dict().items()
        if name != "lm_head.weight"
    }
    masks = {f"h.{layer}.attn.bias": torch.ones(64, 64).tril().view(1, 1, 64, 64) for layer in range(2)}
    save_file(tensors | masks, folder / "model.safetensors", metadata={"format": "pt"})
    return model.eval()


def smollm2(folder: Path, seed: int = 0) -> LlamaForCausalLM:
    """As HuggingFaceTB/SmolLM2-135M: a Llama with grouped queries and tied embeddings, in bfloat16."""
    words = _vocabulary(folder, "<|endoftext|>")
    special = {"bos_token": "<|endoftext|>", "eos_token": "<|endoftext|>", "unk_token": "<|endoftext|>"}
    (folder / "tokenizer_config.json").write_text(
        json.dumps({"tokenizer_class": "GPT2Tokenizer", "add_prefix_space": False, "model_max_length": 8192, **special})
    )
    (folder / "special_tokens_map.json").write_text(json.dumps(special))
    torch.manual_seed(seed)
    model = LlamaForCausalLM(
        LlamaConfig(
            vocab_size=len(words), hidden_size=24, intermediate_size=48, num_hidden_layers=2, num_attention_heads=4,
            num_key_value_heads=2, max_position_embeddings=128, tie_word_embeddings=True, bos_token_id=0, eos_token_id=0,
        )
    ).to(torch.bfloat16)  # fmt: skip
    model.save_pretrained(folder)
    return model.eval()
