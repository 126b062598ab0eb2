"""Regimes: what the training set of an iteration is made of. Each is a module here; standard library only."""

from nepotism.chain.faces import Regime
from nepotism.chain.regimes import accumulate, accumulate_subsample, augment, fresh, heal, replace

REGIMES: dict[str, Regime] = {
    module.REGIME.name: module.REGIME for module in (replace, accumulate, accumulate_subsample, fresh, augment, heal)
}
