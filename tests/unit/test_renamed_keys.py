"""Keys that were renamed: the old name is one mistake, which tells the new one; and results stay what they were."""

import argparse
import copy

import initial_images
import numpy as np
import pytest
import yaml
from conftest import ROOT
from nepotism.data.images import Record, write_image_set
from nepotism.plan import config as configuration
from test_config import DEFAULT, NONE, merged, mistakes

# Keys of a block that has another name itself are tested with it.
ALONE = {old: new for old, new in configuration.RENAMED.items() if not old.startswith("how.")}


def configured(block):
    """A right configuration that has a block."""
    if block in DEFAULT:
        return copy.deepcopy(DEFAULT)
    return merged(DEFAULT, yaml.safe_load((ROOT / "resources" / "experiments" / f"{block}.yaml").read_text()))


@pytest.mark.parametrize(("old", "new"), ALONE.items())
def test_an_old_name_is_one_mistake_that_tells_the_new_one(old, new):
    *blocks, name = old.split(".")
    config = configured(blocks[0] if blocks else new)
    configuration.checked(config)
    inner = config
    for block in blocks:
        inner = inner[block]
    inner[name] = inner.pop(new)
    with pytest.raises(configuration.ConfigError) as caught:
        configuration.checked(config)
    assert str(caught.value) == f"1 mistake in the configuration:\n  - `{old}`: is called `{new}` now; rename it"


def test_an_old_block_laid_over_the_new_one_is_told_with_its_keys():
    """As an experiment file of an earlier release gives it: the default has the block by its new name."""
    assert mistakes(how={"device": "cpu", "training_devices": 2}) == (
        "2 mistakes in the configuration:\n"
        "  - `how`: is called `execution` now; rename it\n"
        "  - `how.training_devices`: is called `num_processes` now; rename it"
    )


def test_overrides_of_arms_have_new_names_too():
    arm = {**NONE, "overrides": {"finetune": {"flip": False}, "seed_images": {"guidance_scale": 2.0}}}
    assert mistakes(arms=[arm]) == (
        "2 mistakes in the configuration:\n"
        "  - `arms[0].overrides.finetune.flip`: is called `random_flip` now; rename it\n"
        "  - `arms[0].overrides.seed_images`: is called `initial_images` now; rename it"
    )


def test_a_configuration_of_another_shape_is_told_as_before():
    assert "`arms`: 'none' is of the wrong type" in mistakes(arms="none")
    assert "`arms[0]`: ['flip'] is of the wrong type" in mistakes(arms=[["flip"]])


def test_initial_images_are_drawn_from_the_streams_that_they_always_had(tmp_path, monkeypatch):
    """A stream by another name draws other numbers."""
    record = Record("real/0", "a face", "g", "g/000", "real")
    write_image_set(tmp_path / "real.parquet", np.zeros((1, 8, 8, 3), np.uint8), [record])
    drawn = []
    monkeypatch.setattr(initial_images, "start", lambda device, threads: None)
    monkeypatch.setattr(
        initial_images.sampling, "draw_image_set", lambda *given, sources: drawn.append((given[3], given[4]))
    )
    initial_images.run(
        argparse.Namespace(
            output=tmp_path / "out.parquet", checkpoint_seconds=5.0, device="cpu", threads=1, seed=3, iteration=0,
            real=tmp_path / "real.parquet", draw=0, purpose=None,
        )
    )  # fmt: skip
    assert drawn == [("initial_images", [("g/000", "g", "a face", (3, 0, "seed_images", "g/000"))])]
