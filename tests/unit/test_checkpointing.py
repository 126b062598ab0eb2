"""Transformers under gradient checkpointing, averages and low-rank updates: the same training, as for U-Nets."""

import pytest
import torch
from diffusers import PRXTransformer2DModel, SD3Transformer2DModel
from nepotism.families import fit_state
from nepotism.families.diffusion.average import Average
from nepotism.families.diffusion.low_rank import Lora, adapted
from torch.nn.functional import mse_loss


def prx():
    network = PRXTransformer2DModel(
        in_channels=4,
        patch_size=2,
        context_in_dim=8,
        hidden_size=16,
        mlp_ratio=2.0,
        num_heads=2,
        depth=3,
        axes_dim=[4, 4],
    )
    given = {
        "hidden_states": drawn(2, 4, 4, 4),
        "encoder_hidden_states": drawn(2, 5, 8),
        "timestep": torch.tensor([0.2, 0.9]),
    }
    return network, given | {"attention_mask": torch.ones(2, 5, dtype=torch.bool)}


def sd3():
    network = SD3Transformer2DModel(
        sample_size=4, patch_size=2, in_channels=4, num_layers=3, attention_head_dim=8, num_attention_heads=2,
        joint_attention_dim=8, caption_projection_dim=16, pooled_projection_dim=8, out_channels=4, pos_embed_max_size=4,
        dual_attention_layers=(0, 1), qk_norm="rms_norm",
    )  # fmt: skip
    given = {
        "hidden_states": drawn(2, 4, 4, 4),
        "encoder_hidden_states": drawn(2, 5, 8),
        "timestep": torch.tensor([200.0, 900.0]),
    }
    return network, given | {"pooled_projections": drawn(2, 8)}


def drawn(*shape):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(sum(shape)))


LORA = {prx: Lora(2, 4.0, ("img_qkv_proj", "to_out.0")), sd3: Lora(2, 4.0, ("to_q", "add_q_proj", "to_out.0"))}


def gradients(make, checkpointed, lora):
    """Loss and gradients of a step, and how often the blocks were computed."""
    torch.manual_seed(0)
    network, given = make()
    # PRX's last layer is zero at first, so that nothing before it has a gradient.
    with torch.no_grad():
        for each in network.parameters():
            each.add_(0.1 * torch.randn(each.shape))
    if lora:
        adapted(network, LORA[make], 0, 1)
        # Of updates that are zero, one half has no gradient.
        with torch.no_grad():
            for each in fit_state.trained(network).values():
                each.add_(0.1 * torch.randn(each.shape))
    network.train()
    if checkpointed:
        network.enable_gradient_checkpointing()
    passes = []
    blocks = network.blocks if hasattr(network, "blocks") else network.transformer_blocks
    blocks[0].register_forward_pre_hook(lambda *_: passes.append(1))
    loss = mse_loss(network(**given, return_dict=False)[0], torch.ones(2, 4, 4, 4))
    loss.backward()
    found = {name: each.grad for name, each in fit_state.trained(network).items()}
    return loss.detach(), found, len(passes)


@pytest.mark.parametrize("lora", [False, True], ids=["all weights", "lora"])
@pytest.mark.parametrize("make", [prx, sd3])
def test_computing_activations_twice_changes_neither_loss_nor_gradients(make, lora):
    (loss, plain, once), (again, twice, passes) = (
        gradients(make, checkpointed, lora) for checkpointed in (False, True)
    )
    assert (once, passes) == (1, 2), "it was done"
    torch.testing.assert_close(again, loss, rtol=0, atol=1e-6)
    assert twice.keys() == plain.keys()
    reached = [name for name, gradient in plain.items() if gradient is not None]
    assert len(reached) > 5
    for name in reached:
        torch.testing.assert_close(twice[name], plain[name], rtol=1e-5, atol=1e-6)
    assert max(float(plain[name].abs().max()) for name in reached) > 1e-4


@pytest.mark.parametrize("make", [prx, sd3])
def test_weights_are_averaged_over_steps(make):
    torch.manual_seed(0)
    network, given = make()
    optimizer = torch.optim.AdamW(network.parameters(), lr=1e-2)
    average, after = Average(fit_state.trained(network), 0.8), []
    for _ in range(3):
        network(**given, return_dict=False)[0].sub(1).square().mean().backward()
        optimizer.step()
        optimizer.zero_grad()
        average.update()
        after.append({name: each.detach().clone() for name, each in network.named_parameters()})
    average.put_into_place()
    for name, value in network.named_parameters():
        expected = 0.8 * (0.8 * after[0][name] + 0.2 * after[1][name]) + 0.2 * after[2][name]
        torch.testing.assert_close(value.detach(), expected, rtol=1e-5, atol=1e-6)
