"""The configuration: every mistake is told at once, with its key and what is right."""

import copy

import pytest
import yaml
from conftest import ROOT
from nepotism import config as configuration
from nepotism.grid import STAGE_VERSIONS, Cell, Grid, canonical_ratio, cell_in, options

DEFAULT = yaml.safe_load((ROOT / "workflow_config.yaml").read_text())
EXPERIMENTS = sorted((ROOT / "resources" / "experiments").glob("*.yaml"))


def merged(base, over):
    """As Snakemake's --configfile merges: dictionaries by key, everything else replaced."""
    result = copy.deepcopy(base)
    for key, value in over.items():
        result[key] = (
            merged(result[key], value) if isinstance(value, dict) and isinstance(result.get(key), dict) else value
        )
    return result


def mistakes(**changes):
    with pytest.raises(configuration.ConfigError) as caught:
        configuration.checked(merged(DEFAULT, changes))
    return str(caught.value)


def test_the_default_is_right():
    assert configuration.checked(DEFAULT) == DEFAULT


@pytest.mark.parametrize("path", EXPERIMENTS, ids=lambda path: path.stem)
def test_every_experiment_file_is_right_and_named_after_its_experiment(path):
    config = merged(DEFAULT, yaml.safe_load(path.read_text()))
    configuration.checked(config)
    assert config["experiment"] == path.stem


def test_unknown_keys_come_with_the_nearest_name():
    assert "`finetune.learning_rat`: unknown key; did you mean `learning_rate`?" in mistakes(
        finetune={"learning_rat": 1}
    )
    assert "`zzz`: unknown key; known keys: experiment" in mistakes(zzz=1)


def test_all_mistakes_are_told_at_once():
    message = mistakes(seeds=[-1], iterations="four", finetune={"epochs": 0}, sample={"schedular": "X"})
    assert message.startswith("4 mistakes in the configuration:")
    for part in ("`seeds[0]`: -1 is out of range; allowed: 0 to 999999", "`iterations`: 'four' is of the wrong type; expected integer",
                 "`finetune.epochs`: 0 is out of range", "`sample.schedular`: unknown key; did you mean `scheduler`?"):  # fmt: skip
        assert part in message


def test_yaml_numbers_without_a_point_are_explained():
    value = yaml.safe_load("2e-6")
    assert "`finetune.learning_rate`: YAML reads 2e-6 as text; write 2.0e-6" in mistakes(
        finetune={"learning_rate": value}
    )


def test_ratios_outside_the_range_and_unknown_arms_are_told():
    arm = {"name": "none", "type": "none", "ratios": [0, 101]}
    assert "`arms[0].ratios[1]`: 101 is out of range; allowed: 0 to 100" in mistakes(arms=[arm])
    arm = {"name": "none", "type": "non", "ratios": [0]}
    assert "`arms[0].type`: 'non' is none of none; did you mean none?" in mistakes(arms=[arm])
    arm = {"name": "base", "type": "none", "ratios": [0]}
    assert "`arms[0].name`: 'base' is the name of a folder of the results" in mistakes(arms=[arm])


def test_what_contradicts_itself_is_told():
    arm = {"name": "none", "type": "none", "ratios": [25]}
    assert "two arms are called 'none'" in mistakes(arms=[arm, arm])
    assert "25 appears twice" in mistakes(arms=[{**arm, "ratios": [25, 25.0000001]}])
    assert "`reference.folder.path`: missing" in mistakes(reference={"source": "folder"})
    assert "the source `folder` has no develop split" in mistakes(
        reference={"source": "folder", "scoring_split": "develop", "folder": {"path": "x"}}
    )
    assert "unknown field {colour}; allowed: {expression}" in mistakes(reference={"portraits": {"caption": "{colour}"}})
    assert "`reference.portraits.caption`: expected '}' before end of string" in mistakes(
        reference={"portraits": {"caption": "a {hair face"}}
    )
    assert "`score.inception`: the feature space" in mistakes(score={"features": ["inception"]})


def test_every_key_of_the_schema_is_described_and_in_the_default():
    def walk(schema, config, path=""):
        for key, entry in schema.get("properties", {}).items():
            assert key in config, f"{path}{key} is missing in workflow_config.yaml"
            assert "description" in entry or "properties" in entry, f"{path}{key} has no description"
            if "properties" in entry:
                walk(entry, config[key], f"{path}{key}.")

    walk(yaml.safe_load(configuration.SCHEMA.read_text()), DEFAULT)


def test_a_missing_key_is_told_once():
    message = mistakes(arms=[{"name": "none"}])
    assert message.startswith("2 mistakes")
    assert "`arms[0].type`: missing" in message


def test_a_number_is_the_same_however_it_is_written():
    changes = {"iterations": 5.0, "sample": {"guidance_scale": 3}, "finetune": {"epochs": 8.0}}
    written = Grid(configuration.checked(merged(DEFAULT, changes)))
    plain = Grid(configuration.checked(merged(DEFAULT, {"sample": {"guidance_scale": 3.0}, "finetune": {"epochs": 8}})))
    for stage in STAGE_VERSIONS:
        assert written.settings(stage) == plain.settings(stage)
    assert written.cells() == plain.cells()


def test_img2img_needs_at_least_one_step():
    assert "`seed_images.strength`" in mistakes(seed_images={"strength": 0.05, "num_inference_steps": 10})


def test_ratios_have_one_spelling():
    assert [canonical_ratio(ratio) for ratio in (0, 3.3, 25.0, "100", "3.30")] == ["0", "3.3", "25", "100", "3.3"]


def test_parents_and_advice():
    grid = Grid(merged(DEFAULT, {"arms": [{"name": "none", "type": "none", "ratios": [0, 3.3]}]}))
    assert grid.parent(Cell("none", "3.3", 0, 1)) is None
    assert grid.parent(Cell("none", "3.3", 0, 4)) == Cell("none", "3.3", 0, 3)
    assert grid.generated_images(Cell("none", "0", 0, 2)) is None
    assert grid.generated_images(Cell("none", "3.3", 0, 1)) == "results/faces/base/seed-0/seed_images.parquet"
    assert grid.generated_images(Cell("none", "3.3", 0, 2)).endswith("ratio-3.3/seed-0/iteration-1/samples.parquet")
    for cell, advice in (
        (Cell("heal", "0", 0, 1), "no arm is called 'heal'; the config's `arms` has: none"),
        (Cell("none", "50", 0, 1), "no ratio 50; its `ratios` are: 0, 3.3"),
        (Cell("none", "0", 7, 1), "no seed 7"),
        (Cell("none", "0", 0, 9), "no iteration 9; the config's `iterations` is 5"),
    ):
        with pytest.raises(ValueError, match=advice.replace("(", r"\(")):
            grid.parent(cell)


def test_starting_from_the_base_model_needs_no_parent_weights():
    grid = Grid(merged(DEFAULT, {"finetune": {"start_from": "base"}}))
    assert grid.parent_model(Cell("none", "100", 0, 3)) == []
    assert grid.generated_images(Cell("none", "100", 0, 3)) is not None


def test_cells_are_found_in_paths():
    cell = Cell("none", "3.3", 2, 11)
    assert cell_in(f"results/x/{cell.path}/samples.parquet") == cell
    assert cell_in("results/x/base/seed-0/samples.parquet") is None


def test_settings_carry_the_version_and_nothing_that_only_changes_how():
    grid = Grid(DEFAULT)
    other = Grid(merged(DEFAULT, {"how": {"threads": 8, "sample_batch_size": 1}}))
    for stage, version in STAGE_VERSIONS.items():
        assert grid.settings(stage) == other.settings(stage)
        assert f"--stage-version {version}" in grid.settings(stage)
    assert "--learning-rate" in grid.settings("finetune")


def test_options_are_sorted_and_safe_in_a_shell():
    assert options({"b": True, "a": False, "c": None, "d": [], "e": 1e-6}) == "--no-a --b --e 1e-06"
    assert options({"prompts": ["it's; rm -rf $HOME", "b"]}) == """--prompts 'it'"'"'s; rm -rf $HOME' b"""


def test_the_longest_chain_is_the_most_urgent():
    grid = Grid(configuration.checked(DEFAULT))
    generated, real = (
        [grid.urgency(Cell("none", ratio, 0, iteration)) for iteration in (1, 2, 5)] for ratio in ("25", "0")
    )
    assert generated == [10, 8, 2]
    assert real == [5, 4, 1]
