"""Families whose generations are made in chunks: their configuration, their cells and their claims."""

import argparse
import json
import shlex
from dataclasses import replace

import numpy as np
import pytest
import yaml
from conftest import ROOT
from nepotism.data.tables import Row
from nepotism.experiment.cells import Cell
from nepotism.experiment.stages import STAGE_VERSIONS, stage_version
from nepotism.families import FAMILIES, family_package, version_of
from nepotism.families.gmm import claims, theory
from nepotism.judge.decisions import FAILS, HOLDS, NOT_RUN
from nepotism.plan import config as configuration
from nepotism.plan.downloads import downloads
from nepotism.plan.grid import Grid
from nepotism.plan.settings import family_execution_options, settings
from test_config import DEFAULT, merged, mistakes

GMM = yaml.safe_load((ROOT / "resources" / "experiments" / "gmm.yaml").read_text())


def gmm_mistakes(**changes):
    return mistakes(**merged(GMM, changes))


def grid_of(**changes):
    return Grid(configuration.checked(merged(DEFAULT, merged(GMM, changes))))


# ---- Configuration


def test_every_family_has_a_schema_whose_keys_are_described_and_in_its_experiment():
    for family in FAMILIES:
        schema = yaml.safe_load((configuration.SCHEMA.parent / f"{family}.schema.yaml").read_text())
        experiment = yaml.safe_load((ROOT / "resources" / "experiments" / f"{family}.yaml").read_text())
        may_lack = {key for key, entry in schema["properties"].items() if "default" in entry}
        assert schema["properties"].keys() == {*schema["required"], *may_lack} == experiment[family].keys()
        assert all("description" in entry for entry in schema["properties"].values())
        assert family_package(family).FIGURES


def test_a_family_brings_its_block_and_no_other_family_may_have_it():
    assert "`gmm`: missing" in mistakes(model={"family": "gmm"})
    assert "`gmm`: unknown key" in mistakes(gmm=GMM["gmm"])
    assert "`model.family`: 'gnm' is none of diffusion, gmm, lm, vae; did you mean gmm?" in mistakes(
        model={"family": "gnm"}
    )


def test_wrong_keys_of_a_family_are_told():
    assert "`gmm.sample`: unknown key; did you mean `samples`?" in gmm_mistakes(gmm={"sample": 3})
    assert "`gmm.samples`: 1 is out of range" in gmm_mistakes(gmm={"samples": 1})
    assert "`gmm.snapshots`: none is within the 2000 iterations" in gmm_mistakes(gmm={"snapshots": [5000]})
    many = {"name": "many", "ratios": [100], "overrides": {"gmm": {"samples": 20000}}}
    assert "`arms[0].overrides.gmm.samples`: 20000, but `gmm.pool.samples` has only 10000" in gmm_mistakes(arms=[many])


def test_arms_change_what_is_not_shared():
    arm = {"name": "other", "ratios": [100]}
    for key in ("chunk", "original", "pool"):
        told = gmm_mistakes(arms=[{**arm, "overrides": {"gmm": {key: GMM["gmm"][key]}}}])
        assert f"`arms[0].overrides.gmm.{key}`: unknown key" in told
    assert "`arms[0].overrides.sample`: unknown key" in gmm_mistakes(
        arms=[{**arm, "overrides": {"sample": {"guidance_scale": 1}}}]
    )


def test_controls_treat_rows_of_some_families_regimes_those_of_all():
    told = gmm_mistakes(arms=[{"name": "match", "control": "histogram_match", "ratios": [100]}])
    assert "`arms[0].control`: histogram_match treats rows of the family diffusion, and none of gmm" in told
    for regime in ("accumulate", "accumulate_subsample", "fresh", "augment"):
        arm = {"name": "all", "regime": regime, "ratios": [100]}
        grid_of_family("gmm", arms=[arm])
        Grid(configuration.checked(merged(DEFAULT, {"arms": [arm]})))
    told = gmm_mistakes(arms=[{"name": "all", "regime": "accumulate", "ratios": [50]}])
    assert "`arms[0].ratios`: accumulate says itself what a training set holds; write ratios: [100]" in told


@pytest.mark.parametrize(
    ("part", "told"),
    [
        ({"mean": [0.0], "covariance": [[1.0]]}, "`gmm.original[1].mean`: has 1 numbers, but the first has 2"),
        ({"mean": [0.0, float("nan")], "covariance": [[1.0, 0.0], [0.0, 1.0]]}, "`gmm.original[1]`: has a number that"),
        ({"mean": [0.0, 0.0], "covariance": [[1.0]]}, "`gmm.original[1].covariance`: must have 2 rows of 2 numbers"),
        ({"mean": [0.0, 0.0], "covariance": [[1.0, 2.0], [2.0, 1.0]]}, "symmetric and positive definite"),
        ({"mean": [0.0, 0.0], "covariance": [[1.0, 0.5], [0.4, 1.0]]}, "symmetric and positive definite"),
    ],
)
def test_what_is_no_mixture_is_told(part, told):
    original = [GMM["gmm"]["original"][0], {"weight": 1.0, **part}]
    assert told in gmm_mistakes(gmm={"original": original})


@pytest.mark.parametrize(
    ("family", "block", "told"),
    [
        ("vae", {"data": "hub:ylecun/mnist@main"}, "`vae.data`: 'hub:ylecun/mnist@main' is not dataset:"),
        ("vae", {"batch_size": 900}, "`vae.batch_size`: 900, but `vae.split.real` has only 800 digits"),
        ("vae", {"snapshots": [30]}, "`vae.snapshots`: none is within the 20 iterations"),
        ("lm", {"model": "hub:opt-125m"}, "`lm.model`: 'hub:opt-125m' is not what is needed here"),
        ("lm", {"data": "dataset:wikitext"}, "`lm.data`: 'dataset:wikitext' is not what is needed here"),
        (
            "lm",
            {"network": {"num_attention_heads": 5}},
            "`lm.network`: hidden_size 192 cannot be shared among 5 attention heads",
        ),
        ("lm", {"batch_size": 900}, "`lm.batch_size`: 900, but `lm.split.real` has only 96 blocks"),
        (
            "lm",
            {"model": None, "bos_per_line": True},
            "`lm.bos_per_line`: a tokenizer that is trained here has no token",
        ),
        ("lm", {"final_learning_rate": 0.1}, "`lm.final_learning_rate`: 0.1 is above `learning_rate`"),
        ("vae", {"kept": "fixed"}, "`vae.kept`: it is a parameter of the regime replace now"),
        ("lm", {"num_beams": 3}, "`lm.num_beams`: 3, but draws (`do_sample: true`) have no beams; write 1"),
        ("lm", {"do_sample": False}, "`lm.top_p`: 0.9, but nothing is drawn; write `do_sample: true`, or 1"),
        ("lm", {"beams": 3}, "`lm.beams`: unknown key; did you mean `num_beams`?"),
    ],
)
def test_mistakes_of_other_families_are_told_before_anything_runs(family, block, told):
    experiment = yaml.safe_load((ROOT / "resources" / "experiments" / f"{family}.yaml").read_text())
    assert told in mistakes(**merged(experiment, {family: block}))


def test_downloads_of_a_family_are_staged_first():
    experiment = yaml.safe_load((ROOT / "resources" / "experiments" / "vae-mnist.yaml").read_text())
    grid = Grid(configuration.checked(merged(DEFAULT, experiment)))
    source = experiment["vae"]["data"]
    assert downloads(grid) == {"datasets--" + source.removeprefix("dataset:").replace("/", "--"): source}


def test_arms_may_end_early_but_healing_counts_its_own_iterations():
    none = {"name": "none", "ratios": [25], "iterations": 2}
    heal = {"name": "heal", "regime": "heal", "ratios": [25], "parameters": {"after": 3, "iterations": 1}}
    assert "`arms[1].parameters.after`: 3, but those of the arm 'none' are 1 to 2" in mistakes(arms=[none, heal])
    heal = {**heal, "iterations": 5, "parameters": {"after": 2, "iterations": 1}}
    assert "`arms[1].iterations`: heal counts its own" in mistakes(arms=[none, heal])


# ---- Cells


def test_cells_are_chunks_called_after_their_last_generation():
    grid = grid_of(iterations=1100, arms=[{"name": "none", "ratios": [100]}], seeds=[0], gmm={"chunk": 500})
    cells = grid.cells()
    assert [cell.iteration for cell in cells] == [500, 1000, 1100]
    assert [grid.first_iteration(cell) for cell in cells] == [1, 501, 1001]
    assert [grid.parent(cell) for cell in cells] == [None, *cells[:2]]
    assert grid.earlier_chunks(cells[0]) == ["results/gmm/base/seed-0"]
    assert grid.earlier_chunks(cells[2]) == ["results/gmm/base/seed-0", f"results/gmm/{cells[1].path}"]


def test_the_chain_with_most_generations_left_is_the_most_urgent():
    """However many of them a job makes."""
    short = {"name": "short", "regime": "accumulate", "ratios": [100], "iterations": 100}
    grid = grid_of(iterations=1100, arms=[{"name": "none", "ratios": [100]}, short], seeds=[0], gmm={"chunk": 500})
    assert [grid.urgency(cell) for cell in grid.cells()] == [2 * 1100, 2 * 600, 2 * 100, 2 * 100]


def test_a_generation_inside_a_chunk_is_told_where_it_is():
    with pytest.raises(ValueError, match=r"iteration 499 has no file of its own.*iteration-500/metrics\.json"):
        grid_of(gmm={"chunk": 500}).parent(Cell("none", "100", 0, 499))
    with pytest.raises(ValueError, match="those of arm 'accumulate' are 1 to 100"):
        grid_of().parent(Cell("accumulate", "100", 0, 500))


def test_accumulating_needs_all_models_so_far():
    grid = grid_of(gmm={"chunk": 50})
    last = Cell("accumulate", "100", 0, 100)
    assert [path.removeprefix("results/gmm/") for path in grid.earlier_chunks(last)] == [
        "base-n100/seed-0", "accumulate/ratio-100/seed-0/iteration-50",
    ]  # fmt: skip
    assert "--regime accumulate" in settings(grid, "generations", grid.arm("accumulate"), 100)


def test_an_arm_with_other_settings_has_its_own_generation_0():
    grid = grid_of()
    assert "base-n100" in grid.bases
    assert '"samples":100,' in settings(grid, "generations", grid.arm("n100"))
    # Original samples are shared, and another arm does not draw them anew.
    assert settings(grid, "family_reference") == settings(grid_of(arms=[GMM["arms"][0]]), "family_reference")


def test_arms_that_begin_in_the_same_way_share_generation_0():
    grid = grid_of()
    # n100, accumulate and accumulate_subsample fit the same samples in the same way, and differ from then on only.
    assert grid.bases == ["base", "base-n100", "base-n10000", "base-gaussian"]
    assert {arm.base for arm in grid.arms if arm.name in ("n100", "accumulate", "accumulate_subsample")} == {
        "base-n100"
    }
    assert grid.arm_of_base("base-n100") == grid.arm("n100")
    # What it is does not depend on which of them comes first.
    swapped = grid_of(arms=[GMM["arms"][0], *GMM["arms"][:0:-1]])
    assert "base-accumulate_subsample" in swapped.bases
    first, other = ((made, made.arm_of_base(made.arm("n100").base)) for made in (grid, swapped))
    assert settings(first[0], "generations", first[1]) == settings(other[0], "generations", other[1])
    shown = json.loads(shlex.split(settings(grid, "claims"))[1])
    assert shown["accumulate"]["base"] == "base-n100"


def lm_grid(**changes):
    experiment = yaml.safe_load((ROOT / "resources" / "experiments" / "lm.yaml").read_text())
    return Grid(configuration.checked(merged(DEFAULT, merged(experiment, changes))))


@pytest.mark.parametrize("model", [None, "weights"])
def test_what_only_says_how_text_is_written_makes_no_generation_anew(model):
    block = {"model": model}
    plain, other = lm_grid(lm=block), lm_grid(lm={**block, "generation_batch": 7})
    for iteration in (0, 5):
        one, two = (settings(grid, "generations", grid.arm("none"), iteration) for grid in (plain, other))
        assert one == two
        assert '"generation_batch":7' in family_execution_options(other, other.arm("none"))
    assert settings(plain, "claims") == settings(other, "claims")
    wider = lm_grid(lm={**block, "network": {"hidden_size": 96, "vocabulary": 4096}})
    for stage in ("family_reference", "generations"):
        # Of a pretrained model the size only says how much memory it takes; a model of our own has it.
        assert (settings(plain, stage, None, 5) == settings(wider, stage, None, 5)) == bool(model)


def test_generation_0_is_not_made_anew_by_what_only_later_ones_need():
    longer = {
        "name": "longer",
        "ratios": [100],
        "overrides": {"lm": {"epochs": 9, "start_from": "base"}},
    }
    first = {"name": "first", "ratios": [100], "overrides": {"lm": {"first_epochs": 9}}}
    grid = lm_grid(arms=[{"name": "none", "ratios": [100]}, longer, first])
    assert [arm.base for arm in grid.arms] == ["base", "base", "base-first"]
    assert settings(grid, "generations", grid.arm("longer"), 0) == settings(grid, "generations", None, 0)
    assert '"epochs":9' in settings(grid, "generations", grid.arm("longer"), 5)


def test_a_chunk_size_is_no_setting_of_what_is_made():
    one, other = (settings(grid_of(gmm={"chunk": chunk}), "generations", iteration=500) for chunk in (100, 500))
    assert one == other


def grid_of_family(family, **changes):
    experiment = yaml.safe_load((ROOT / "resources" / "experiments" / f"{family}.yaml").read_text())
    return Grid(configuration.checked(merged(DEFAULT, merged(experiment, changes))))


def tracked(grid, stage, iteration):
    return settings(grid, stage, iteration=iteration)


def test_what_only_says_how_is_not_tracked_but_given():
    one, other = (grid_of_family("lm", lm={"generation_batch": size}) for size in (7, 8))
    for stage in ("family_reference", "generations", "score_generations"):
        assert tracked(one, stage, 5) == tracked(other, stage, 5)
    assert '"generation_batch":7' in family_execution_options(one, None)
    # Of a pretrained network, the size is a hint for the memory of a job.
    one, other = (grid_of_family("lm-wikitext", lm={"network": {"hidden_size": width}}) for width in (768, 960))
    for stage in ("family_reference", "generations", "score_generations"):
        assert tracked(one, stage, 5) == tracked(other, stage, 5)
    one, other = (grid_of_family("lm", lm={"model": None, "network": {"hidden_size": width}}) for width in (96, 192))
    assert tracked(one, "generations", 5) != tracked(other, "generations", 5)


def test_generation_0_is_decided_by_what_it_looks_at():
    plain = grid_of_family("lm")
    for key, value in (("epochs", 7), ("start_from", "base"), ("budget", "epochs")):
        later = grid_of_family("lm", lm={key: value})
        for stage in ("generations", "score_generations"):
            assert tracked(plain, stage, 0) == tracked(later, stage, 0)
        assert tracked(plain, "generations", 5) != tracked(later, "generations", 5)
    assert tracked(plain, "generations", 0) != tracked(grid_of_family("lm", lm={"first_epochs": 7}), "generations", 0)
    # Arms that accumulate begin as those that replace.
    grid = grid_of()
    assert len({settings(grid, "generations", grid.arm(name)) for name in ("n100", "accumulate")}) == 1


def test_a_version_belongs_to_a_family_and_its_stage(monkeypatch):
    grids = {family: grid_of_family(family) for family in ("gmm", "lm", "vae")}

    def all_tracked():
        return {
            (family, stage): tracked(grid, stage, 1)
            for family, grid in grids.items()
            for stage in ("family_reference", "generations", "score_generations")
        }

    before = all_tracked()
    monkeypatch.setitem(STAGE_VERSIONS, "score_generations.vae", 17)
    changed = {place for place, tracked in all_tracked().items() if tracked != before[place]}
    assert changed == {("vae", "score_generations")}


def test_a_script_refuses_the_version_of_another_algorithm():
    arguments = argparse.Namespace(family="vae", stage_version=stage_version("generations", "vae"))
    assert version_of(arguments, "generations") == arguments.stage_version
    arguments.stage_version += 1
    with pytest.raises(ValueError, match=r"--stage-version \d+, but generations of vae is at \d+"):
        version_of(arguments, "generations")


# ---- Claims


def spread_rows(rates, last, seeds=3):
    """ln det that falls by a constant a generation, with a little noise between seeds."""
    rng = np.random.default_rng(0)
    rows = []
    for control, rate in rates.items():
        for seed in range(seeds):
            for iteration in (0, last):
                place = ("base", "") if iteration == 0 else (control, "100")
                value = rate * iteration + 0.01 * rng.standard_normal()
                rows.append(
                    Row("gmm", *place, seed, iteration, "samples", "", "log_spread", value, 1.0, 0.1, None, None, 30)
                )
    return rows


def verdicts(rows, arms):
    return {claim.claim: claim.verdict for claim in claims.judge(rows, arms)[0]}


def arm(**changes):
    known = {
        "regime": "replace",
        "ratios": ["100"],
        "n_components": 1,
        "samples": 100,
        "last": 1000,
        "snapshots": [0, 10],
    }
    return {**known, "original": GMM["gmm"]["original"], **changes}


def test_mixtures_that_are_fitted_in_another_way_are_not_compared_by_their_size():
    """Arms come sorted by name: the odd one must not stand in for the plain one of its size."""
    arms = {
        "anew": arm(n_components=2, samples=1000, init="kmeans"),
        "n100": arm(n_components=2, samples=100, init="parent", chains=9),
        "none": arm(n_components=2, samples=1000, init="parent"),
        "subsample": arm(regime="accumulate_subsample", n_components=2, samples=1000, init="parent"),
    }
    statistics = {}
    for part in claims.Judge([], arms).parts():
        statistics.setdefault(part.claim, []).append(part.statistic)
    assert statistics[4] == ["ln distance(n100,I) - ln distance(none,I)"]
    assert statistics[9] == ["L(subsample,I) - L(none,I)"]


def test_the_law_of_one_gaussian_is_judged():
    law = theory.log_generalised_variance(100, 1, 2)
    assert verdicts(spread_rows({"one": law}, 1000), {"one": arm()})[1] == HOLDS
    assert verdicts(spread_rows({"one": 1.5 * law}, 1000), {"one": arm()})[1] == FAILS
    assert verdicts([], {"one": arm()})[1] == NOT_RUN


def test_an_arm_without_ratio_100_spoils_no_claim():
    law = theory.log_generalised_variance(100, 1, 2)
    arms = {"one": arm(), "half": arm(ratios=["50"])}
    assert verdicts(spread_rows({"one": law}, 1000), arms)[1] == HOLDS


def test_accumulating_is_judged():
    found = verdicts(spread_rows({"all": 0.0}, 1000), {"all": arm(regime="accumulate")})
    assert found[8] == HOLDS
    found = verdicts(spread_rows({"all": -0.01}, 1000), {"all": arm(regime="accumulate")})
    assert found[8] == FAILS
    assert found[7] == NOT_RUN


@pytest.mark.parametrize(("regime", "claim"), [("fresh", 10), ("augment", 11)])
def test_original_samples_beside_its_own_keep_the_spread_or_do_not(regime, claim):
    arms = {"beside": arm(regime=regime, ratios=["50"], last=100)}
    for rate, verdict in ((0.0, HOLDS), (-0.01, FAILS)):
        rows = spread_rows({"beside": rate}, 100)
        mixed = [replace(row, ratio="50") if row.ratio else row for row in rows]
        assert verdicts(mixed, arms)[claim] == verdict


def test_new_samples_alone_are_no_mixture():
    arms = {"beside": arm(regime="fresh", ratios=["0", "100"], last=100)}
    assert verdicts(spread_rows({"beside": 0.0}, 100), arms)[10] == NOT_RUN
