"""The flow model: its objective, its captions, its sampling, and what of it is shipped."""

import json

import numpy as np
import pytest
import tiny
import torch
from diffusers import AutoencoderKL, PRXPipeline
from nepotism.runtime import streams
from nepotism.runtime.files import mismatches
from pretraining import data, flow, vae
from pretraining.captions import MAX_LENGTH, gemma_tokenizer
from transformers import GemmaTokenizerFast

CAPTIONS = ["a portrait of a smiling person with red hair and a round face", "a handwritten digit two", ""]


@pytest.fixture(scope="module")
def random_prx(tmp_path_factory):
    """A pipeline of random weights, whose latents have a shift beside their scale."""
    pipeline = PRXPipeline.from_pretrained(tiny.prx(tmp_path_factory.mktemp("prx")))
    pipeline.default_sample_size = 64
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def described():
    rng = np.random.default_rng(0)
    for _ in range(200):
        named = {factor: names[rng.integers(len(names))] for factor, names in data.NAMES.items()}
        digit = {"digit": named.pop("digit")}
        yield data.describe({factor: name for factor, name in named.items() if rng.random() < 0.8})
        yield data.describe(digit)
        yield data.describe(named)


def test_captions_come_back_whole_from_a_tokenizer_of_files(tmp_path):
    gemma_tokenizer().save_pretrained(tmp_path)
    words = GemmaTokenizerFast.from_pretrained(tmp_path)
    assert words.model_max_length == MAX_LENGTH
    for caption in {*described(), "", "Ein Bär, 2 \u00d7 größer"}:
        tokens = words(caption).input_ids
        assert tokens[0] == words.bos_token_id
        assert len(tokens) <= MAX_LENGTH
        assert words.unk_token_id not in tokens
        assert words.decode(tokens, skip_special_tokens=True) == caption


def test_every_word_of_captions_is_one_token():
    words = gemma_tokenizer()
    caption = max(described(), key=len)
    assert len(words(caption).input_ids) == 1 + len(caption.replace(",", " ,").split())
    assert words.get_vocab() == gemma_tokenizer().get_vocab()


def test_the_loss_is_the_error_of_the_velocity_from_picture_to_noise():
    torch.manual_seed(0)
    latents, noise = torch.randn(2, 3, 8, 4, 4)
    times, mask = torch.tensor([0.0, 1.0, 0.25]), torch.ones(3, 2, dtype=torch.bool)
    seen = {}

    def transformer(noisy, timestep, text, attention_mask, return_dict):
        seen.update(noisy=noisy, timestep=timestep, mask=attention_mask)
        return (noise - latents + 2,)

    loss = flow.flow_loss(transformer, latents, noise, times, torch.zeros(3, 2, 5), mask)
    assert float(loss) == pytest.approx(4, rel=1e-5)
    torch.testing.assert_close(seen["noisy"], torch.stack([latents[0], noise[1], 0.75 * latents[2] + 0.25 * noise[2]]))
    assert torch.equal(seen["timestep"], times)
    assert seen["mask"] is mask


@pytest.mark.parametrize("scale", [1.0, 3.0])
def test_samples_are_what_the_pipeline_draws(random_prx, scale):
    keys = [("test", index) for index in range(len(CAPTIONS))]
    made = flow.sample(random_prx, CAPTIONS, keys, scale, 3, batch_size=2)
    assert made.shape == (3, 64, 64, 3)
    for pixels, caption, key in zip(made, CAPTIONS, keys):
        drawn = random_prx(
            caption, height=64, width=64, use_resolution_binning=False, num_inference_steps=3, guidance_scale=scale,
            generator=torch.Generator().manual_seed(streams.integer_seed(*key)),
        ).images[0]  # fmt: skip
        assert np.abs(pixels.astype(int) - np.asarray(drawn)).max() <= 1


def test_padding_says_nothing(random_prx):
    """Neither to the transformer, which sees no text through its mask, nor to the names that a caption says."""
    words = gemma_tokenizer()
    torch.manual_seed(0)
    model = flow.Flow(flow.new_transformer(8), flow.T5GemmaEncoder(flow.text_config(words).encoder)).eval()
    for block in model.transformer.blocks:
        torch.nn.init.normal_(block.modulation.lin.bias, std=0.5)
    tokens, mask = flow.tokenize(words, CAPTIONS[:1])
    assert 0 < int(mask.sum()) < MAX_LENGTH
    noisy, times = torch.randn(1, 8, 8, 8), torch.tensor([0.5])
    with torch.no_grad():
        padded = model.text(tokens, mask)
        bare = model.text(tokens[mask][None], mask[mask][None])
        names = [model.named(padded, mask), model.named(bare, mask[mask][None])]
        velocities = [
            model.transformer(noisy, times, text, said, return_dict=False)[0]
            for text, said in ((padded, mask), (bare, mask[mask][None]))
        ]
    torch.testing.assert_close(names[0], names[1], rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(velocities[0], velocities[1], rtol=1e-4, atol=1e-4)


def test_what_is_saved_loads_with_all_weights_and_can_be_trained_on(tmp_path, tiny_diffusion):
    pictures = data.build("develop", 20)
    few = data.PretrainData(pictures.pixels[-30:], pictures.factors[-30:])
    few = data.PretrainData(
        np.concatenate([pictures.pixels[:10], few.pixels]), np.concatenate([pictures.factors[:10], few.factors])
    )
    autoencoder = vae.load_autoencoder(tiny_diffusion / "vae")
    first = flow.fit(few, autoencoder, 2, 4, 1e-3, 0, None)
    flow.save(first, tmp_path / "first")
    loaded = PRXPipeline.from_pretrained(tmp_path / "first")
    for part in ("transformer", "text_encoder", "vae"):
        expected = getattr(first, part).state_dict()
        found = getattr(loaded, part).state_dict()
        assert expected.keys() == found.keys()
        assert all(torch.equal(found[name], value) for name, value in expected.items())
    assert loaded.vae.config.shift_factor == 0
    second = flow.fit(few, autoencoder, 1, 4, 1e-9, 1, tmp_path / "first")
    for part in ("transformer", "text_encoder"):
        expected = getattr(first, part).state_dict()
        for name, value in getattr(second, part).state_dict().items():
            torch.testing.assert_close(value, expected[name], rtol=0, atol=1e-6)


def test_the_shipped_model_is_small_and_shares_the_autoencoder(tiny_flow, tiny_diffusion):
    assert mismatches(tiny_flow) == []
    name = "vae/diffusion_pytorch_model.safetensors"
    assert (tiny_flow / name).samefile(tiny_diffusion / name)
    config = AutoencoderKL.load_config(tiny_flow / "vae")
    assert config["shift_factor"] == 0
    assert config["scaling_factor"] == AutoencoderKL.load_config(tiny_diffusion / "vae")["scaling_factor"]
    assert (tiny_flow / "transformer/diffusion_pytorch_model.safetensors").stat().st_size < 10_000_000
    assert (tiny_flow / "text_encoder/model.safetensors").stat().st_size < 2_000_000
    assert json.loads((tiny_flow / "model_index.json").read_text())["_class_name"] == "PRXPipeline"


def test_the_shipped_text_encoder_keeps_every_pair_of_names_apart(tiny_flow):
    """As that of tiny-diffusion: equal texts for a smile and a frown are what once kept a generator from learning mouths."""
    pipeline = PRXPipeline.from_pretrained(tiny_flow)
    named = {"expression": "smiling", "hair": "red", "face": "round"}
    others = [{**named, factor: name} for factor in named for name in data.NAMES[factor] if name != named[factor]]
    states, mask, *_ = pipeline.encode_prompt([data.describe(each) for each in [named, *others]], None, False)
    distances = ((states[1:] - states[0]) * mask[1:, :, None]).flatten(1).norm(dim=1)
    assert float(distances.min() / distances.max()) > 0.3
