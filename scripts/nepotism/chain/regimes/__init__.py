"""Regimes: what the training set of an iteration is made of. Every module here with a `REGIME` is one; standard library only."""

import importlib
import pkgutil

from nepotism.chain.faces import Regime

REGIMES: dict[str, Regime] = {
    regime.name: regime
    for found in pkgutil.iter_modules(__path__, f"{__name__}.")
    if (regime := getattr(importlib.import_module(found.name), "REGIME", None))
}
