"""What the embedded models were trained with, and that they see what experiments need them to see."""

import numpy as np
import pytest
import torch
from nepotism.sources import portraits
from pretraining import contrastive, data, training, vae
from pretraining.captions import generator_names, tokenizer
from torch.nn.functional import avg_pool2d, log_softmax
from transformers import CLIPTextModel, CLIPTokenizer


def test_the_factor_loss_is_the_mean_cross_entropy_of_the_factors_that_a_picture_has():
    rng = np.random.default_rng(0)
    width = sum(map(len, data.NAMES.values()))
    logits = torch.from_numpy(rng.normal(size=(2, width)))
    portrait, digit = [1, 4, 2, 0, 1, 1, 7, 3, -1], [-1] * 8 + [6]
    losses, column = [], 0
    for names, values in zip(data.NAMES.values(), zip(portrait, digit, strict=True), strict=True):
        row = 0 if values[0] >= 0 else 1
        losses.append(-log_softmax(logits[row, column : column + len(names)], 0)[values[row]])
        column += len(names)
    found = training.factor_loss(logits, np.array([portrait, digit]))
    assert found == pytest.approx(float(sum(losses)) / len(losses))


def test_portraits_are_mirrored_and_digits_never():
    pixels = torch.rand(200, 3, 4, 4)
    factors = np.full((200, 9), -1)
    factors[:100, :8], factors[100:, 8] = 0, 3
    made = contrastive.mirror(pixels, factors, np.random.default_rng(0))
    turned = [bool(torch.equal(one, other.flip(2))) for one, other in zip(made, pixels, strict=True)]
    assert 30 < sum(turned[:100]) < 70
    assert torch.equal(made[100:], pixels[100:])


def test_the_generator_knows_the_captions_of_the_experiments():
    words = tokenizer()
    row = np.array([0, 1, 2, 0, 0, 0, 0, 0, -1])
    rng = np.random.default_rng(0)
    named = [generator_names(row, rng) for _ in range(100)]
    captions = {data.describe(names) for names in named}
    portrait = portraits.Portrait(
        *(names[value] for names, value in zip(portraits.FACTORS.values(), row, strict=False))
    )
    assert portrait.caption() in captions
    assert {} in named
    assert words.decode(words(portrait.caption()).input_ids, skip_special_tokens=True).strip() == portrait.caption()


def test_the_shipped_clip_tells_every_factor_of_pictures_it_has_not_seen(tiny_clip):
    pictures = data.build("develop", 300)
    accuracy = contrastive.zero_shot_accuracy(tiny_clip, pictures)
    assert {name: share for name, share in accuracy.items() if share < 0.95} == {}


def test_the_discriminator_pulls_with_a_share_of_the_restoration_loss_once_it_can_tell(monkeypatch):
    torch.manual_seed(0)
    monkeypatch.setattr(vae, "YOUNG", 3)
    images = training.to_tensor(data.build("develop", 8).pixels[:8])
    blurred = avg_pool2d(images, 3, 1, 1).requires_grad_()
    critic, loss = vae.Critic(), (blurred - images).abs().mean()
    assert [float(critic.pull(blurred, images, loss)) for _ in range(3)] == [0, 0, 0]
    pull = critic.pull(blurred, images, loss)
    pulled, anchored = (torch.autograd.grad(each, blurred, retain_graph=True)[0].norm() for each in (pull, loss))
    assert float(pulled) == pytest.approx(vae.ADVERSARIAL_SHARE * float(anchored), rel=1e-4)


def test_the_shipped_text_encoder_keeps_every_pair_of_names_apart(tiny_diffusion):
    """Equal texts for a smile and a frown are what once kept the generator from learning mouths."""
    encoder = CLIPTextModel.from_pretrained(tiny_diffusion / "text_encoder")
    words = CLIPTokenizer.from_pretrained(tiny_diffusion / "tokenizer")
    named = {"expression": "smiling", "hair": "red", "face": "round"}
    others = [{**named, factor: name} for factor in named for name in data.NAMES[factor] if name != named[factor]]
    captions = [data.describe(each) for each in [named, *others]]
    with torch.no_grad():
        states = encoder(words(captions, padding="max_length", return_tensors="pt").input_ids).last_hidden_state
    distances = (states[1:] - states[0]).flatten(1).norm(dim=1)
    assert float(distances.min() / distances.max()) > 0.3
