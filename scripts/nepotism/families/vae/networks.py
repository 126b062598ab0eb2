"""The networks of the family: a convolutional variational autoencoder, and a classifier of digits with a class for the rest."""

from collections.abc import Callable, Iterator
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from nepotism.chain.engine import Arrays
from nepotism.data.images import Pixels
from nepotism.families.training import Training
from nepotism.families.vae import CLASSES
from nepotism.families.vae.data import Labels
from nepotism.runtime import streams
from nepotism.runtime.errors import UserError
from nepotism.runtime.resume.checkpoints import NOWHERE, Store
from nepotism.weights import loading

# What is no digit.
REJECTED = CLASSES
FEATURES = 32
# So many digits at once are none. (Two may look like a third.)
BLENDED = 4
BATCH = 512

Network = TypeVar("Network", bound=nn.Module)


class Autoencoder(nn.Module):
    """A variational autoencoder (Kingma and Welling 2014): two convolutions with stride 2 each way.

    Args:
        side: of the images.
        width: channels of the first convolution; the second has twice as many.
        latent: dimensions of the latent.
        decoder_relu: whether a ReLU follows the decoder's linear layer.
    """

    def __init__(self, side: int, width: int, latent: int, decoder_relu: bool = True) -> None:
        super().__init__()
        inner = side // 4
        self.encoder = nn.Sequential(
            nn.Conv2d(1, width, 4, 2, 1), nn.ReLU(), nn.Conv2d(width, 2 * width, 4, 2, 1), nn.ReLU(),
            nn.Flatten(), nn.Linear(2 * width * inner**2, 2 * latent),
        )  # fmt: skip
        self.decoder = nn.Sequential(
            nn.Linear(latent, 2 * width * inner**2), nn.ReLU() if decoder_relu else nn.Identity(),
            nn.Unflatten(1, (2 * width, inner, inner)),
            nn.ConvTranspose2d(2 * width, width, 4, 2, 1), nn.ReLU(), nn.ConvTranspose2d(width, 1, 4, 2, 1),
        )  # fmt: skip

    def encode(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and log variance (B, latent) of the posterior; ``images`` are float (B, 1, side, side) in [0, 1]."""
        mean, log_variance = self.encoder(images).chunk(2, dim=1)
        return mean, log_variance

    def loss(self, images: Tensor, noise: Tensor, pixel_weight: float) -> Tensor:
        """Negative evidence lower bound, nats an image: binary cross-entropy of the pixels and KL from the prior.

        Where ``pixel_weight`` is not 1, a pixel counts as that many independent ones.
        """
        mean, log_variance = self.encode(images)
        logits = self.decoder(mean + (log_variance / 2).exp() * noise)
        pixels = pixel_weight * functional.binary_cross_entropy_with_logits(logits, images, reduction="sum")
        divergence = -0.5 * (1 + log_variance - mean**2 - log_variance.exp()).sum()
        return (pixels + divergence) / len(images)


class Classifier(nn.Module):
    """Classifies digits; the last class is non-digits. Its features measure distances between sets of digits."""

    def __init__(self, side: int) -> None:
        super().__init__()
        inner = side // 4
        self.body = nn.Sequential(
            nn.Conv2d(1, 16, 3, padding=1), nn.ReLU(), nn.Conv2d(16, 32, 4, 2, 1), nn.ReLU(), nn.Conv2d(32, 32, 4, 2, 1), nn.ReLU(),
            nn.Flatten(), nn.Linear(32 * inner**2, FEATURES),
        )  # fmt: skip
        self.head = nn.Linear(FEATURES, CLASSES + 1)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Features (B, 32), before the last nonlinearity, and logits (B, 11); the last class is what is no digit."""
        features = self.body(images)
        return features, self.head(functional.relu(features))


def train_autoencoder(
    images: Pixels, width: int, latent: int, decoder_relu: bool, pixel_weight: float, steps: int, batch_size: int,
    learning_rate: float, weight_decay: float, *key: str | int, checkpoints: Store = NOWHERE,
) -> Autoencoder:  # fmt: skip
    """Train from scratch by Adam; the random streams are named by ``key``."""
    model = _seeded(lambda: Autoencoder(images.shape[1], width, latent, decoder_relu), *key, "init")
    random = torch.Generator().manual_seed(streams.integer_seed(*key, "posterior"))
    pixels = tensor(images)

    def loss(chosen: Tensor) -> Tensor:
        noise = torch.randn((len(chosen), latent), generator=random, device="cpu").to(pixels.device)
        return model.loss(pixels[chosen], noise, pixel_weight)

    # The decay is said beside a loss that is summed over a batch; this one is its mean.
    decay = weight_decay / batch_size
    _train(
        model,
        loss,
        len(images),
        steps,
        batch_size,
        learning_rate,
        *key,
        decay=decay,
        random=random,
        checkpoints=checkpoints,
    )
    return model


def train_classifier(images: Pixels, labels: Labels, steps: int) -> Classifier:
    """Train on digits and, half as many, on non-digits: pixels in disorder, blends of several, blank pictures, noise."""
    model = _seeded(lambda: Classifier(images.shape[1]), "vae", "classifier", "init")
    others = no_digits(images, streams.generator("vae", "classifier", "others"))[: len(images) // 2]
    pixels = tensor(np.concatenate([images, others]))
    targets = torch.from_numpy(np.concatenate([labels, np.full(len(others), REJECTED)])).to(pixels.device)

    def loss(chosen: Tensor) -> Tensor:
        return functional.cross_entropy(model(pixels[chosen])[1], targets[chosen])

    _train(model, loss, len(pixels), steps, 64, 2e-3, "vae", "classifier")
    return model


def no_digits(images: Pixels, random: np.random.Generator) -> Pixels:
    """As many pictures that are no digits, with the brightness of digits: uint8 like ``images``."""
    count = len(images)
    kinds = (np.arange(count) % 3)[:, None, None]
    disorder = random.permuted(images.reshape(count, -1), axis=1).reshape(images.shape)
    blended = np.mean([images[random.permutation(count)] for _ in range(BLENDED)], axis=0).astype(np.uint8)
    blank = np.broadcast_to(random.integers(0, 256, (count, 1, 1), np.uint8), images.shape)
    noise = random.integers(0, 256, images.shape, np.uint8)
    empty = np.where(random.random((count, 1, 1)) < 0.5, blank, noise)
    return np.select([kinds == 0, kinds == 1], [disorder, blended], empty)


@torch.no_grad()
def sample(model: Autoencoder, count: int, latent: int, *key: str | int) -> Pixels:
    """Draw digits from the prior: the decoder's mean, uint8 (count, side, side)."""
    drawn = streams.generator(*key).standard_normal((count, latent), np.float32)
    parts = [model.decoder(part).sigmoid().squeeze(1) for part in _batches(torch.from_numpy(drawn))]
    return (torch.cat(parts) * 255).round().to(torch.uint8).cpu().numpy()


@torch.no_grad()
def encode(model: Autoencoder, images: Pixels) -> np.ndarray:
    """Posterior means float64 (N, latent)."""
    return _joined([model.encode(part)[0] for part in _batches(tensor(images))])


@torch.no_grad()
def classify(model: Classifier, images: Pixels) -> tuple[np.ndarray, Labels]:
    """Features float64 (N, 32) and classes (N,), 10 being what is no digit."""
    found = [model(part) for part in _batches(tensor(images))]
    return _joined([features for features, _ in found]), _joined([logits for _, logits in found]).argmax(axis=1)


def tensor(images: Pixels) -> Tensor:
    """uint8 (N, side, side) as float (N, 1, side, side) in [0, 1], on the default device."""
    return (torch.from_numpy(images).to(torch.get_default_device()).float() / 255).unsqueeze(1)


def arrays(model: nn.Module) -> Arrays:
    """The weights of a network."""
    return {name: weight.detach().cpu().numpy() for name, weight in model.state_dict().items()}


def restored(model: Network, weights: Arrays) -> Network:
    """The network with such weights."""
    tensors = {name: torch.from_numpy(weight) for name, weight in weights.items()}
    loading.fill(model, tensors, f"`vae`: the weights of its {type(model).__name__}", loading.OTHER_SETTINGS)
    return model.to(torch.get_default_device()).eval()


def _seeded(build: Callable[[], Network], *key: str | int) -> Network:
    # Initialisation knows the global generator only; weights are drawn on the CPU, the same on every device.
    with torch.random.fork_rng(devices=[]), torch.device("cpu"):
        torch.manual_seed(streams.integer_seed(*key))
        model = build()
    return model.to(torch.get_default_device())


def _train(
    model: nn.Module, loss: Callable[[Tensor], Tensor], count: int, steps: int, batch_size: int, learning_rate: float,
    *key: str | int, decay: float = 0.0, random: torch.Generator | None = None, checkpoints: Store = NOWHERE,
) -> None:  # fmt: skip
    """Train in place; ``random`` is what ``loss`` draws from."""
    optimizer = torch.optim.Adam(model.parameters(), lr=learning_rate, weight_decay=decay, fused=True)
    model.train()
    batches = max(1, count // batch_size)
    training = Training(model, optimizer, checkpoints)
    if random is not None:
        random.set_state(training.kept.get("random", random.get_state()))
    order, epoch = torch.empty(0), -1
    for step in training.steps(steps):
        if step // batches != epoch:
            epoch = step // batches
            order = torch.from_numpy(streams.generator(*key, "order", epoch).permutation(count))
        chosen = order[step % batches * batch_size :][:batch_size]
        optimizer.zero_grad(set_to_none=True)
        value = loss(chosen.to(torch.get_default_device()))
        value.backward()
        optimizer.step()
        last_of_epoch = step % batches == batches - 1 or step == steps - 1
        # Asked seldom, because a GPU waits for the answer. What went wrong does not become right again.
        if last_of_epoch and not torch.isfinite(value):
            raise UserError(f"the loss is {value.item()} at step {step}; lower `vae.learning_rate`")
        if random is not None:
            training.kept["random"] = random.get_state()
    model.eval()


def _batches(rows: Tensor) -> Iterator[Tensor]:
    return iter(rows.to(torch.get_default_device()).split(BATCH))


def _joined(parts: list[Tensor]) -> np.ndarray:
    return torch.cat(parts).cpu().numpy().astype(np.float64)
