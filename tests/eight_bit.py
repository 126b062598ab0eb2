"""A stand-in for the package bitsandbytes: an AdamW8bit whose state has the same layout, at a tiny size and on any device."""

import types

import torch

WRAPPED = "__bnb_optimizer_quant_state__"
BLOCK, LEAST = 256, 4096
NAME = "eight_bit_package"


class AdamW8bit(torch.optim.Optimizer):
    """Moments of large tensors in 8 bits: a number of a table, times the largest of its block. Of small ones in 32 bits."""

    def __init__(self, parameters, lr=1e-3, betas=(0.9, 0.999), eps=1e-8, weight_decay=1e-2):
        super().__init__(parameters, {"lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay})
        share = torch.linspace(-1, 1, 256)
        self.tables = {1: share.sign() * share**2, 2: torch.linspace(0, 1, 256) ** 2}

    def init_state(self, group, p, gindex, pindex):
        state = self.state[p]
        state["step"] = 0
        kind = torch.uint8 if p.numel() >= LEAST else torch.float32
        for number in (1, 2):
            state[f"state{number}"] = torch.zeros_like(p, dtype=kind)
            if kind == torch.uint8:
                state[f"qmap{number}"] = self.tables[number]
                state[f"absmax{number}"] = torch.zeros(-(-p.numel() // BLOCK))

    def moment(self, state, number):
        """A moment, flat, in the order of memory of plain weights."""
        held = state[f"state{number}"].flatten()
        if held.dtype == torch.float32:
            return held
        scale = state[f"absmax{number}"].repeat_interleave(BLOCK)[: len(held)]
        return state[f"qmap{number}"][held.long()] * scale

    def keep(self, state, number, values):
        shape = state[f"state{number}"].shape
        if state[f"state{number}"].dtype == torch.float32:
            state[f"state{number}"] = values.view(shape)
            return
        padded = torch.nn.functional.pad(values, (0, -len(values) % BLOCK)).view(-1, BLOCK)
        scale = padded.abs().amax(1)
        state[f"absmax{number}"] = scale
        share = (padded / scale.clamp_min(1e-30)[:, None]).flatten()[: len(values)]
        table = state[f"qmap{number}"]
        nearest = torch.bucketize(share, (table[1:] + table[:-1]) / 2)
        state[f"state{number}"] = nearest.to(torch.uint8).view(shape)

    @torch.no_grad()
    def step(self, closure=None):
        for group in self.param_groups:
            for index, p in enumerate(group["params"]):
                if p.grad is None:
                    continue
                if not self.state[p]:
                    self.init_state(group, p, 0, index)
                state, (first, second) = self.state[p], group["betas"]
                state["step"] += 1
                gradient = p.grad.contiguous().flatten()
                mean = first * self.moment(state, 1) + (1 - first) * gradient
                square = second * self.moment(state, 2) + (1 - second) * gradient**2
                self.keep(state, 1, mean)
                self.keep(state, 2, square)
                corrected = (square / (1 - second ** state["step"])).sqrt() + group["eps"]
                change = (mean / (1 - first ** state["step"])) / corrected
                p.mul_(1 - group["lr"] * group["weight_decay"]).sub_(group["lr"] * change.view(p.shape))

    def state_dict(self):
        """With what is not of a weight's shape in a dictionary inside, as the package has it since 0.49."""
        found = super().state_dict()
        found["state"] = {
            index: {"step": state["step"], WRAPPED: {name: value for name, value in state.items() if name != "step"}}
            for index, state in found["state"].items()
        }
        return found

    def load_state_dict(self, state_dict):
        """Torch's own would make floats of bytes."""
        parameters = [p for group in self.param_groups for p in group["params"]]
        for index, state in state_dict["state"].items():
            held = {name: value for name, value in state.items() if name != WRAPPED} | state.get(WRAPPED, {})
            self.state[parameters[index]] = {
                name: value.clone() if isinstance(value, torch.Tensor) else value for name, value in held.items()
            }


def package():
    """What stands for the package among the imported modules; under another name, for peft looks for the real one, too."""
    made = types.ModuleType(NAME)
    made.optim = types.SimpleNamespace(AdamW8bit=AdamW8bit)
    return made
