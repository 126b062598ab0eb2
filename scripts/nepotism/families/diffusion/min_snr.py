"""Min-SNR-gamma: a weight for each timestep in the loss of a retraining."""

import torch
from diffusers import DDPMScheduler


def min_snr_weights(scheduler: DDPMScheduler, gamma: float) -> torch.Tensor:
    """The weight of each timestep (Hang et al., arXiv 2303.09556), float32 (T,), in [0, 1].

    That is min(SNR, gamma) / SNR for a model that predicts noise, and min(SNR, gamma) / (SNR + 1) for one that predicts
    velocity, with SNR = alpha / (1 - alpha), alpha the cumulated product of the schedule. Where nothing is left of the image,
    as at the end of a schedule of zero terminal SNR, they are 1, which is the limit, and 0.
    """
    alphas = scheduler.alphas_cumprod.cpu().double()
    snr = alphas / (1 - alphas)
    if scheduler.config.prediction_type == "epsilon":
        # The quotient is taken this way round so that an SNR of zero gives infinity, and not 0 / 0.
        return (gamma / snr).clamp(max=1).float()
    return (snr.clamp(max=gamma) / (snr + 1)).float()
