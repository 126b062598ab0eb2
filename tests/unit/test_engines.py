"""Several base models in one experiment: whose files are whose, what each arm is compared with, and claims on engines."""

from dataclasses import replace

import numpy as np
import pytest
from nepotism.data.cost import costs
from nepotism.experiment.cells import Cell
from nepotism.families.diffusion.claims import Arms, diagnose, judge
from nepotism.families.diffusion.engine_claims import Fed, given
from nepotism.judge.decisions import FAILS, HOLDS, NOT_RUN
from nepotism.plan import engines
from nepotism.plan.downloads import downloads
from nepotism.plan.forecast import forecast
from nepotism.plan.lines import lines
from nepotism.plan.needs import Needs
from nepotism.plan.remedies import remedies
from nepotism.plan.settings import settings
from test_claims import ARMS, growing, table
from test_config import NONE, grid_of, mistakes

OVER = {
    "model": {"path": "models/flow"},
    "sample": {"scheduler": "FlowMatchEulerDiscreteScheduler", "guidance_scale": 2},
}


def arm(name, ratios=(100,), overrides=OVER, **others):
    return {"name": name, "ratios": list(ratios), "overrides": overrides, **others}


def fed(name, other, overrides=OVER, **parameters):
    return arm(name, overrides=overrides, regime="feed", parameters={"other": other, "share": 100, **parameters})


FLOW = arm("flow", (0, 100))
FLOW_FED = fed("flow-fed", "none")
FED = fed("fed", "flow", {})
TWO = [NONE, FLOW, FLOW_FED, FED]


# ---- The configuration


def test_an_arm_names_another_base_model_by_its_path_and_nothing_else():
    told = mistakes(arms=[NONE, arm("flow", overrides={"model": {"path": "x", "resolution": 32}})])
    assert "`arms[1].overrides.model.resolution`: unknown key" in told
    assert "`arms[1].overrides.model.path`: missing" in mistakes(arms=[NONE, arm("flow", overrides={"model": {}})])
    told = mistakes(arms=[NONE, arm("flow", overrides={"model": {"path": "hub:someone"}})])
    assert "`arms[1].overrides.model.path`: 'hub:someone' is not hub:<organisation>/<repository>@<revision>" in told
    told = mistakes(arms=[NONE, arm("flow", overrides={"model": {"path": "clean-fid"}})])
    assert "`arms[1].overrides.model.path`: 'clean-fid' is not what is needed here; give a path or hub:" in told
    assert "'none' is the name of the plain mixture" in mistakes(arms=[{**NONE, "overrides": OVER}])
    block = {"pool": {"samples": 100, "chains": 2}}
    assert "`arms[0].overrides.model`: unknown key" in mistakes(
        model={"family": "gmm"}, gmm=block, arms=[arm("flow", overrides={"model": {"path": "x"}})]
    )


@pytest.mark.parametrize("regime", ["heal", "neon", "sims"])
def test_weights_are_those_of_one_architecture_along_a_chain(regime):
    parameters = {"after": 1} if regime == "sims" else {"after": 1, "iterations": 1}
    branch = {"name": "on", "regime": regime, "ratios": [100], "parameters": {**parameters, "from": "flow"}}
    told = mistakes(arms=[NONE, FLOW, branch])
    assert (
        f"`arms[2].overrides.model.path`: {regime} in the arm 'on' goes on from weights of the arm 'flow', which are models/flow's, and "
        "not resources/tiny-diffusion's; give both arms the same" in told
    )
    assert told.count("\n") == 1, "one line"
    assert "goes on from weights of the arm 'none'" in mistakes(
        arms=[NONE, FLOW, {**branch, "parameters": parameters, "overrides": OVER}]
    )
    # However the path is spelt.
    over = {**OVER, "model": {"path": "./models//flow/"}}
    grid = grid_of(arms=[NONE, FLOW, {**branch, "overrides": over}])
    assert (grid.arm("on").model, grid.models["-flow"]) == ("-flow", "models/flow")
    assert grid.parent(Cell("on", "100", 0, 2)) == Cell("flow", "100", 0, 1)


def test_arms_of_one_model_and_sampling_share_iteration_0_and_those_of_one_model_its_latents():
    unguided = {**OVER, "sample": {**OVER["sample"], "guidance_scale": 1}}
    trained = {**OVER, "finetune": {"epochs": 1}}
    own = {"model": {"path": "resources/tiny-diffusion/"}}
    grid = grid_of(
        arms=[
            NONE,
            FLOW,
            arm("unguided", overrides=unguided),
            arm("trained", overrides=trained),
            arm("same", overrides=own),
        ]
    )
    assert {each.name: (each.base, each.model) for each in grid.arms} == {
        "none": ("base", ""), "flow": ("base-flow", "-flow"), "unguided": ("base-unguided", "-flow"),
        "trained": ("base-flow", "-flow"), "same": ("base", ""),
    }  # fmt: skip
    assert grid.bases == ["base", "base-flow", "base-unguided"]
    assert grid.models == {"": "resources/tiny-diffusion", "-flow": "models/flow"}
    assert grid.arm_of_model("") is None
    assert grid.arm_of_model("-flow") == grid.arm("flow")
    with pytest.raises(ValueError, match="no arm has a base model whose files end in '-net'; such endings are: -flow"):
        grid.arm_of_model("-net")


def test_every_stage_of_a_cell_is_given_the_model_of_its_arm_and_what_is_measured_the_experiments_own():
    culled = arm("culled", control="sifid_cull")
    grid, plain = grid_of(arms=[*TWO, culled]), grid_of(arms=[NONE])
    flow = grid.arm("flow")
    for stage in ("preflight", "encode", "initial_images", "finetune", "sample", "score"):
        assert "--base-model models/flow " in settings(grid, stage, flow, 1) + " ", stage
        assert settings(grid, stage, None, 1) == settings(plain, stage, None, 1), stage
        assert settings(grid, stage, grid.arm("fed"), 1) == settings(plain, stage, None, 1), stage
    assert "--scheduler FlowMatchEulerDiscreteScheduler" in settings(grid, "preflight", flow)
    for stage in ("reference", "embed_reference", "vae_round_trips"):
        assert settings(grid, stage) == settings(plain, stage)
    treated = grid.arm("culled")
    assert "--base-model resources/tiny-diffusion " in settings(grid, "sifid_threshold", treated)
    told = settings(grid, "sifid_cull", treated, 1)
    assert "--base-model models/flow " in told
    assert "--features-model resources/tiny-diffusion " in told
    elsewhere = {"features": "inception-64", "inception": "torchvision"}
    for other in ({**culled, "parameters": elsewhere}, {**culled, "overrides": {}}):
        grid = grid_of(arms=[*TWO, other])
        assert "--features-model" not in settings(grid, "sifid_cull", grid.arm("culled"), 1)


def test_models_of_arms_are_downloaded_too():
    source = "hub:someone/flow@abc"
    grid = grid_of(arms=[NONE, arm("flow", overrides={"model": {"path": source}})])
    assert downloads(grid) == {"someone--flow@abc": source}
    assert "--base-model resources/models/someone--flow@abc " in settings(grid, "encode", grid.arm("flow")) + " "


# ---- What is compared with what


def test_an_arm_is_compared_with_0_percent_of_its_own_model_and_settings():
    slow = {**OVER, "finetune": {"learning_rate": 1e-5}}
    healed = {"regime": "heal", "parameters": {"from": "flow", "after": 2, "iterations": 1}}
    matched = arm("matched", control="histogram_match")
    grid = grid_of(arms=[*TWO, matched, arm("slow", overrides=slow), arm("healed", overrides=slow, **healed)])
    assert {each.name: found and found.name for each in grid.arms for found in [engines.baseline(grid, each)]} == {
        "none": "none", "flow": "flow", "flow-fed": "flow", "fed": "none", "matched": "flow", "slow": None, "healed": "flow",
    }  # fmt: skip
    assert engines.diagnosed(grid) == [
        "flow:base-flow", "flow-fed:base-flow:flow", "matched:base-flow:flow", "slow:base-flow", "healed:base-flow:flow",
    ]  # fmt: skip
    assert [each.name for each in engines.crossed(grid)] == ["flow-fed", "fed"]
    assert remedies(grid) == [], "the plain mixture of another model is nothing to compare with"
    assert engines.described(grid, grid.arm("fed")) == {
        "arm": "fed", "ratios": ["100"], "plain": {"0": "none", "100": "none"}, "model": "tiny-diffusion", "other": "flow",
    }  # fmt: skip
    assert "--engines" in settings(grid, "claims")
    assert "--engines" not in settings(grid_of(arms=[NONE, FLOW]), "claims")


def test_half_of_another_models_images_is_a_remedy_and_no_claim_on_engines():
    grid = grid_of(arms=[NONE, FLOW, fed("half", "flow", {}, share=50)])
    assert (engines.crossed(grid), [each.name for each in remedies(grid)]) == ([], ["half"])
    neighbour = fed("neighbour", None, {}, seed="next")
    grid = grid_of(seeds=[0, 1], arms=[NONE, neighbour])
    assert (engines.crossed(grid), [each.name for each in remedies(grid)]) == ([], ["neighbour"]), "of its own model"


def test_models_whose_folders_are_called_alike_are_told_apart():
    grid = grid_of(model={"path": "/a/net"}, arms=[NONE, fed("fed", "none", {"model": {"path": "/b/net"}})])
    told = engines.described(grid, grid.arm("fed"))
    assert (told["model"], told["other"], told["plain"]) == ("/b/net", "/a/net", {})


def test_figure_3_shows_other_models_from_their_own_iteration_0():
    assert lines(grid_of(arms=TWO), "figure_3") == [
        "none:mixture", "flow:mixture:base-flow", "flow-fed:regime:base-flow", "fed:regime",
    ]  # fmt: skip


# ---- What they take


def test_memory_time_and_disk_are_those_of_each_model(tmp_path):
    (tmp_path / "transformer").mkdir()
    with open(tmp_path / "transformer" / "model.safetensors", "wb") as file:
        file.truncate(400_000_000)
    large = {**OVER, "model": {"path": str(tmp_path)}}
    grid = grid_of(arms=[NONE, arm("flow", (0, 100), large)])
    alone = grid_of(arms=[NONE])
    needs, plain = Needs(grid, [], 30), Needs(alone, [], 30)
    for stage in ("preflight", "finetune", "sample", "encode"):
        assert needs.memory_mb(stage) == plain.memory_mb(stage), stage
        assert needs.memory_mb(stage, grid.arm("flow")) > plain.memory_mb(stage) + 400, stage
    both, one = forecast(grid, 30), forecast(alone, 30)
    assert both.denoiser == one.denoiser
    ((source, (trained, passes, network)),) = both.others.items()
    size = network.bytes
    assert (source, size, trained + one.trained, passes + one.passes) == (
        str(tmp_path),
        400_000_000,
        both.trained,
        both.passes,
    )
    assert both.final_bytes - one.final_bytes > 8 * 400_000_000
    # A checkpoint, and the one that is being written, are the largest model's.
    assert both.peak_bytes - both.final_bytes > 4 * 400_000_000


def test_jobs_of_one_rule_are_counted_together_whatever_their_model(tmp_path):
    (tmp_path / "encode_fresh").mkdir()
    for name in ("encode", "encode-flow", "encode_fresh/iteration-1", "encode_fresh/iteration-1-flow"):
        (tmp_path / f"{name}.tsv").write_text("s\tcpu_time\tmax_rss\n1\t1\t1\n")
    assert {cost.rule: cost.jobs for cost in costs(tmp_path)} == {"encode": 2, "encode_fresh": 2}


# ---- Claims


FLOW_CELLS = [
    (name, ratio, i) for name, ratio in (("flow", "0"), ("flow", "100"), ("flow-fed", "100")) for i in range(1, 6)
]
ASKED = Fed("flow-fed", ("100",), {"0": "flow", "100": "flow"}, "flow", "tiny-diffusion")


def judged(rate, fed_rate, asked=ASKED):
    """Claims on engines where the flow's distance grows at one rate on its own images, and at another on the U-Net's."""

    def fid(cell):
        return growing(fed_rate if cell[0] == "flow-fed" else rate)(cell) * (7 if cell[0].startswith("flow") else 1)

    claims, parts = judge(table(fid=fid, more=FLOW_CELLS), replace(ARMS, engines=[asked]))
    return {claim.claim: claim for claim in claims if claim.claim > 12}, parts


def test_claims_on_engines_compare_each_model_with_itself():
    found, parts = judged(1.0, 0.5)
    assert {number: (claim.statement, claim.verdict) for number, claim in found.items()} == {
        17: ("flow collapses on its own images", HOLDS),
        18: ("flow collapses on images of tiny-diffusion (flow-fed)", HOLDS),
        19: ("images of tiny-diffusion do flow less harm than its own (flow-fed)", HOLDS),
    }
    values = {part.statistic: part.decision.value for part in parts if part.claim > 12 and part.features == "conv"}
    assert values == {
        "F(flow,100,I) - F(flow,0,I)": pytest.approx(5.0),
        "F(flow-fed,100,I) - F(flow,0,I)": pytest.approx(2.5),
        "F(flow,100,I) - F(flow-fed,100,I)": pytest.approx(2.5),
    }
    found, _ = judged(0.0, 1.0)
    assert [claim.verdict for claim in found.values()] == [FAILS, HOLDS, FAILS]
    assert found[17].kid


def test_what_is_not_there_to_compare_with_is_told_and_nothing_of_another_model_stands_in():
    found, _ = judged(1.0, 1.0, Fed("flow-fed", ("100",), {"100": "flow"}, "flow", "tiny-diffusion"))
    note = "no plain mixture of flow has 0 % at its settings, and another model's does not stand in for it"
    assert [(claim.verdict, claim.note) for claim in found.values()][:2] == [(NOT_RUN, note), (NOT_RUN, note)]
    assert (found[19].verdict, found[19].note) != (NOT_RUN, note)
    found, _ = judged(1.0, 1.0, Fed("flow-fed", ("100",), {}, "flow", "tiny-diffusion"))
    assert {claim.verdict for claim in found.values()} == {NOT_RUN}


def test_arms_that_share_a_plain_mixture_ask_about_it_once():
    rows = table(more=FLOW_CELLS)
    both = [ASKED, Fed("again", ("100",), ASKED.plain, "flow", "other")]
    claims, _ = judge(rows, Arms(engines=both))
    assert [claim.statement for claim in claims][12:] == [
        "flow collapses on its own images",
        "flow collapses on images of tiny-diffusion (flow-fed)",
        "images of tiny-diffusion do flow less harm than its own (flow-fed)",
        "flow collapses on images of other (again)",
        "images of other do flow less harm than its own (again)",
    ]
    assert [claim.verdict for claim in claims][15:] == [NOT_RUN, NOT_RUN]


def test_arms_are_read_from_the_command_line():
    told = (
        '{"arm":"flow-fed","model":"flow","other":"tiny-diffusion","plain":{"0":"flow","100":"flow"},"ratios":["100"]}'
    )
    assert given([told]) == [ASKED]


def test_an_arm_without_its_own_0_percent_is_diagnosed_by_that_of_its_model():
    def fid(cell):
        return growing(0.5)(cell) * (7 if cell[0].startswith("flow") else 1)

    rows = table(fid=fid, more=[*FLOW_CELLS, *(("base-flow", "", i) for i in range(2))])
    parts = diagnose(rows, {"flow-fed": "base-flow"}, {"flow-fed": "flow"})
    found = {part.features: part for part in parts}
    assert found["conv"].statistic == "F(flow-fed,100,I) - F(flow,0,I)"
    assert found["conv"].decision.value == pytest.approx(2.5)
    assert np.isfinite(found["captions"].decision.value)
    (part, *_) = diagnose(rows, {"flow-fed": "base-flow"})
    assert part.decision.verdict == NOT_RUN
