"""Retraining against a plain, uncached loop, and against the formulas of the two prediction types."""

import numpy as np
import pytest
import torch
from accelerate import Accelerator
from diffusers import DDPMScheduler, UNet2DConditionModel
from nepotism.data.images import digest
from nepotism.families.diffusion import fit as fitting
from nepotism.families.diffusion.backbones.stable_diffusion import BACKBONE
from nepotism.families.diffusion.latents import Encoded, Posteriors, encode_images, joined, read_encoded, write_encoded
from nepotism.families.diffusion.objectives import Diffusion
from nepotism.families.diffusion.pipeline import load_denoiser, load_vae
from nepotism.families.diffusion.schedulers import diffusion_scheduler
from nepotism.runtime import streams
from nepotism.runtime.errors import UserError
from nepotism.sources import portraits

SLOTS = [f"group/{index:03d}" for index in range(5)]
SETTINGS = fitting.FitSettings(learning_rate=1e-3, epochs=2, batch_size=2, random_flip=True, caption_dropout=0.3)


def small_unet(seed=0):
    torch.manual_seed(seed)
    return UNet2DConditionModel(
        sample_size=8, in_channels=8, out_channels=8, block_out_channels=(32, 32), layers_per_block=1,
        down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"), up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
        cross_attention_dim=16, attention_head_dim=4, norm_num_groups=8,
    )  # fmt: skip


def flat(unet):
    return torch.cat([parameter.detach().flatten() for parameter in unet.parameters()])


def pictures(count=5):
    drawn = [portraits.draw_portrait(portraits.choose(rng), rng) for rng in map(streams.generator, range(count))]
    return np.stack(drawn)


def text():
    return {"text": torch.randn(3, 7, 16, generator=torch.Generator().manual_seed(1))}


def of(scheduler):
    """The objective of Stable Diffusion with a schedule."""
    return Diffusion(scheduler, BACKBONE.predict)


def run(unet, data, scheduler, settings=SETTINGS, seed=0, iteration=1):
    return fitting.fit(unet, of(scheduler), data, settings, seed, iteration, Accelerator(cpu=True), "test")[1]


@pytest.fixture(scope="module")
def vae(tiny_diffusion):
    return load_vae(tiny_diffusion, "fp32")


@pytest.fixture(scope="module")
def scheduler(tiny_diffusion):
    return diffusion_scheduler(tiny_diffusion, "DDPMScheduler")


@pytest.fixture(scope="module")
def data(vae):
    return fitting.TrainingSet(
        SLOTS, encode_images(vae, pictures()), vae.config.scaling_factor, text(), [0, 1, 0, 1, 0]
    )


def test_retraining_equals_a_plain_loop_that_encodes_every_image_anew(vae, scheduler, data):
    cached, plain = small_unet(), small_unet()
    losses = run(cached, data, scheduler)

    images, embeddings = pictures(), text()["text"]
    optimizer = torch.optim.AdamW(plain.parameters(), lr=1e-3, betas=(0.9, 0.999), eps=1e-8, weight_decay=1e-2)
    expected = []
    for epoch in range(2):
        order = streams.generator(0, 1, "finetune", epoch).permutation(5)
        for start in (0, 2, 4):
            rows = []
            for index in order[start : start + 2]:
                rng = streams.generator(0, 1, "finetune", epoch, SLOTS[index])
                flip, drop = rng.random(2)
                time = int(rng.integers(1000))
                posterior, noise = rng.standard_normal((2, 8, 8, 8), dtype=np.float32)
                image = images[index][:, ::-1] if flip < 0.5 else images[index]
                pixels = torch.from_numpy(image.copy()).permute(2, 0, 1)[None].float() / 127.5 - 1
                with torch.no_grad():
                    distribution = vae.encode(pixels).latent_dist
                latent = (
                    distribution.mean + distribution.std * torch.from_numpy(posterior)
                ) * vae.config.scaling_factor
                caption = embeddings[2] if drop < 0.3 else embeddings[data.prompt_of[index]]
                rows.append((latent[0], torch.from_numpy(noise), time, caption))
            latents, noise, times, captions = (list(column) for column in zip(*rows))
            latents, noise, captions = torch.stack(latents), torch.stack(noise), torch.stack(captions)
            times = torch.tensor(times)
            predicted = plain(scheduler.add_noise(latents, noise, times), times, captions).sample
            loss = ((predicted - scheduler.get_velocity(latents, noise, times)) ** 2).mean()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(plain.parameters(), 1.0)
            optimizer.step()
            optimizer.zero_grad()
            expected.append(float(loss.detach()))
    assert losses == pytest.approx(expected, rel=1e-5)
    # As one vector: where a gradient is all but zero, Adam's first steps have the size of the learning rate and a sign
    # that rounding decides.
    ours, theirs, start = (flat(unet) for unet in (cached, plain, small_unet()))
    assert float((ours - theirs).norm() / theirs.norm()) < 1e-5
    assert float((theirs - start).norm() / start.norm()) > 1e-2


@pytest.mark.parametrize("prediction_type", ["epsilon", "v_prediction"])
def test_the_first_loss_follows_the_formula_of_the_prediction_type(data, prediction_type):
    schedule = DDPMScheduler(
        beta_schedule="scaled_linear", beta_start=0.00085, beta_end=0.012, prediction_type=prediction_type
    )
    settings = fitting.FitSettings(1e-4, 1, 5, random_flip=False, caption_dropout=0.0)
    loss = run(small_unet(), data, schedule, settings)[0]

    betas = np.linspace(0.00085**0.5, 0.012**0.5, 1000) ** 2
    signal = np.cumprod(1 - betas)
    errors = []
    unet = small_unet()
    for index, slot in enumerate(SLOTS):
        drawn = fitting.draw_numbers((0, 1, "finetune", 0, slot), (8, 8, 8), 1000, False, 0.0)
        clean = (
            data.posteriors.mean[index, 0] + data.posteriors.deviation[index, 0] * drawn.posterior
        ) * data.scaling_factor
        noise = torch.from_numpy(drawn.noise)
        a, b = float(signal[drawn.timestep] ** 0.5), float((1 - signal[drawn.timestep]) ** 0.5)
        target = noise if prediction_type == "epsilon" else a * noise - b * clean
        with torch.no_grad():
            predicted = unet(
                (a * clean + b * noise)[None], drawn.timestep, text()["text"][data.prompt_of[index]][None]
            ).sample
        errors.append(float(((predicted - target) ** 2).mean()))
    assert loss == pytest.approx(np.mean(errors), rel=1e-4)


def test_training_twice_gives_the_same_bytes(data, scheduler):
    one, other = small_unet(), small_unet()
    assert run(one, data, scheduler) == run(other, data, scheduler)
    assert all(torch.equal(a, b) for a, b in zip(one.parameters(), other.parameters()))


@pytest.mark.slow
def test_the_number_of_threads_changes_results_by_rounding_only(tiny_diffusion, vae, scheduler):
    """Fifty steps of the real tiny U-Net; weights within 1e-4 relative."""
    count = 10
    embeddings = torch.randn(3, 32, 128, generator=torch.Generator().manual_seed(1))
    data = fitting.TrainingSet(
        [f"g/{i:03d}" for i in range(count)],
        encode_images(vae, pictures(count)),
        vae.config.scaling_factor,
        {"text": embeddings},
        [0] * count,
    )
    settings = fitting.FitSettings(2e-4, 10, 2, random_flip=True, caption_dropout=0.0)
    trained = []
    threads = torch.get_num_threads()
    for number in (1, 2):
        torch.set_num_threads(number)
        unet = load_denoiser(tiny_diffusion, None)
        run(unet, data, scheduler, settings)
        trained.append(flat(unet))
    torch.set_num_threads(threads)
    one, other = trained
    assert float((one - other).norm() / one.norm()) < 1e-4


def test_draws_belong_to_the_slot_not_to_its_place_in_a_batch():
    drawn = [fitting.draw_numbers((0, 1, "finetune", 3, "a/000"), (2, 2), 1000, True, 0.5) for _ in range(2)]
    assert drawn[0].timestep == drawn[1].timestep
    np.testing.assert_array_equal(drawn[0].noise, drawn[1].noise)
    other = fitting.draw_numbers((0, 1, "finetune", 3, "a/001"), (2, 2), 1000, True, 0.5)
    assert not np.array_equal(drawn[0].noise, other.noise)


def test_settings_shift_no_other_draw():
    with_flip = fitting.draw_numbers((0, "x"), (2, 2), 1000, True, 1.0)
    without = fitting.draw_numbers((0, "x"), (2, 2), 1000, False, 0.0)
    assert with_flip.timestep == without.timestep
    np.testing.assert_array_equal(with_flip.posterior, without.posterior)


def test_an_epoch_holds_every_slot_once_and_epochs_differ():
    epochs = [fitting.batches_of_epoch(7, 3, 0, 1, epoch) for epoch in range(2)]
    assert [len(batch) for batch in epochs[0]] == [3, 3, 1]
    assert sorted(index for batch in epochs[0] for index in batch) == list(range(7))
    assert epochs[0] != epochs[1]


def test_a_loss_that_is_not_finite_stops_with_step_cell_and_advice(data, scheduler):
    broken = Posteriors(torch.full_like(data.posteriors.mean, float("nan")), data.posteriors.deviation)
    bad = fitting.TrainingSet(data.rows, broken, data.scaling_factor, data.text, data.prompt_of)
    with pytest.raises(UserError, match=r"test: the loss is nan at step 1 of 6; lower `finetune.learning_rate`"):
        run(small_unet(), bad, scheduler)


def test_the_mirror_is_encoded_as_an_image_of_its_own(vae):
    images = pictures(2)
    both = encode_images(vae, images)
    mirrored = encode_images(vae, np.ascontiguousarray(images[:, :, ::-1]))
    torch.testing.assert_close(both.mean[:, 1], mirrored.mean[:, 0], rtol=1e-4, atol=1e-4)
    assert digest(images[0]) != digest(images[0][:, ::-1])


def test_encodings_survive_their_file_and_are_the_same_bytes_twice(tmp_path, data):
    encoded = Encoded(data.posteriors, SLOTS, data.text, ["a", "b", ""])
    for name in ("one", "other"):
        write_encoded(tmp_path / f"{name}.safetensors", encoded)
    assert (tmp_path / "one.safetensors").read_bytes() == (tmp_path / "other.safetensors").read_bytes()
    read = read_encoded(tmp_path / "one.safetensors")
    assert (read.ids, read.prompts) == (SLOTS, ["a", "b", ""])
    assert torch.equal(read.posteriors.deviation, data.posteriors.deviation)


def test_encodings_of_two_sets_are_one_whose_last_caption_is_empty(data):
    first = Encoded(data.posteriors, SLOTS, data.text, ["a", "b", ""])
    other = Encoded(
        data.posteriors, [f"fresh/{slot}" for slot in SLOTS], {"text": data.text["text"] + 1}, ["b", "c", ""]
    )
    both = joined([first, other])
    assert both.ids == [*SLOTS, *other.ids]
    assert both.prompts == ["a", "b", "c", ""]
    wanted = torch.stack([*data.text["text"][:2], other.text["text"][1], data.text["text"][2]])
    torch.testing.assert_close(both.text["text"], wanted, rtol=0, atol=0)
    torch.testing.assert_close(both.posteriors.mean, torch.cat([data.posteriors.mean] * 2), rtol=0, atol=0)
