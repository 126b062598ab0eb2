"""What each stage is given of the configuration, as the command-line options of its script.

One string holds all that decides a stage's result: it is what Snakemake tracks. Standard library only.
"""

from collections.abc import Mapping
from typing import Any

from nepotism.experiment.stages import compact_json, options, stage_version
from nepotism.families import decisive_settings, family_package
from nepotism.plan import engines, profiles
from nepotism.plan.arms import Arm
from nepotism.plan.grid import DIFFUSION, Grid
from nepotism.plan.knobs import decisive_training, most_guided
from nepotism.plan.lines import lines, planned
from nepotism.plan.remedies import JUDGED, described, remedies
from nepotism.plan.thresholds import search_settings, threshold_settings
from nepotism.weights.locations import CLEAN_FID_SHA256, in_project, location

# Stages that each family has in its own way, and with a version of its own.
OF_FAMILIES = ("family_reference", "generations", "score_generations")
# What decides the single-image FID of an image.
SIFID_PARAMETERS = ("features", "inception", "inception_sha256", "pair")


def settings(grid: Grid, stage: str, arm: Arm | None = None, iteration: int = 0) -> str:
    """The stage's version and its slice of the configuration, as options in sorted order.

    What is not in this string cannot rerun the stage.

    Args:
        grid: of the experiment.
        stage: name of the rule.
        arm: whose overrides and parameters apply.
        iteration: of the cell, 0 of what comes before all cells; a control draws images as those it treats were drawn.
    """
    version = stage_version(stage, grid.family if stage in OF_FAMILIES else "")
    return options({"stage_version": version, **_slice(grid, stage, arm, iteration)})


def execution_options(grid: Grid, *names: str) -> str:
    """Options that change how a result is computed but not the result; Snakemake does not track them."""
    return options({name: grid.config["execution"][name] for name in names})


def family_execution_options(grid: Grid, arm: Arm | None) -> str:
    """The same of a family's block, as one option."""
    block = grid.family_block(arm)
    return options({"family_execution": compact_json(family_package(grid.family).execution(block))})


def checks_of_reference(grid: Grid) -> str:
    """What the grid asks of the real images, for a check: ratios and shares, sets to reserve, and what every arm's regime plans
    for its first training set. A new ratio or arm must not rerun the reference."""
    # Of a search, also the least ratio that it may come to.
    ratios = {ratio for arm in grid.arms for ratio in (*arm.ratios, *(arm.search.longest()[-1:] if arm.search else ()))}
    shares = {arm.parameters["share"] for arm in grid.arms if arm.regime.branches}
    plans = [
        compact_json({"regime": arm.regime.name, "ratio": ratio, "iteration": arm.first, "parameters": arm.of_regime()})
        for arm in grid.arms
        for ratio in arm.ratios
    ]
    return options(
        {
            "ratios": sorted(ratios, key=float),
            "shares": sorted(shares),
            "fresh_sets": grid.fresh_sets(),
            "plans": list(dict.fromkeys(plans)),
        }
    )


def _slice(grid: Grid, stage: str, arm: Arm | None, iteration: int) -> dict[str, Any]:
    config = grid.config
    model = {"base_model": grid.base_model_of(arm)}
    # In the features of this one, single images of all arms are compared.
    own = {"base_model": grid.base_model}
    score = _score(grid)

    def drawing(block: Mapping[str, Any]) -> dict[str, Any]:
        return {**model, **block, "resolution": config["model"]["resolution"]}

    def sampling(at: int = iteration) -> dict[str, Any]:
        return drawing(grid.sampling(arm, at)) | _extrapolation(arm, "scores")

    def redrawing() -> dict[str, Any]:
        # What a control draws anew is drawn as what it treats.
        return drawing(grid.block("initial_images", arm)) if iteration == 1 else sampling(iteration - 1)

    match stage:
        case "reference" | "classify_faces" | "select_images":
            return _real_images(grid, stage)
        case "preflight":
            chosen = {
                "training_precision": grid.block("finetune", arm)["precision"],
                "batch_size": grid.block("finetune", arm)["batch_size"],
            }
            # A mark is no matter of the model.
            drawn = drawing(most_guided(grid.block("sample", arm)))
            return {**drawn, **chosen, "prompts": config["unseen"]["prompts"], "watermark": None}
        case "encode":
            return model
        case "initial_images":
            return drawing(grid.block("initial_images", arm))
        case "finetune":
            return {
                **model,
                **decisive_training(grid.block("finetune", arm)),
                **_filled_up(grid, arm),
                **_extrapolation(arm, "weights"),
            }
        case "sample":
            return sampling()
        case "embed_reference":
            return score
        case "score":
            # The mark to look for: of samples, or else of the images that iteration 0 is trained on.
            looked_for = grid.block("sample", arm)["watermark"] or grid.block("initial_images", arm)["watermark"]
            return {**sampling(), **config["unseen"], **score, "watermark": looked_for}
        case "vae_round_trips":
            return {**model, **score, **config["diagnostics"]}
        case "sifid_threshold":
            assert arm is not None
            return {**own, **{name: _parameters(arm)[name] for name in SIFID_PARAMETERS}}
        case "sifid_cull":
            assert arm is not None
            features_of = {"features_model": grid.base_model} if arm.borrows_features else {}
            return {**redrawing(), **_parameters(arm), **features_of}
        case "select_draws":
            assert arm is not None
            return {**redrawing(), **_parameters(arm), "clip": score["clip"]}
        case "family_reference":
            chosen = family_package(grid.family).original_settings(grid.family_block(None))
            return {"family": grid.family, "settings": compact_json(chosen)}
        case "generations" | "score_generations":
            merged = grid.family_block(arm)
            own = {"family": grid.family, "settings": compact_json(decisive_settings(grid.family, merged, iteration))}
            if stage == "score_generations" or not iteration:
                return own
            return own | _regime(arm) | _control(arm)
        case "family_figure":
            return {"family": grid.family, "arms": _arms(grid), "dpi": config["figures"]["dpi"]}
        case "claims" if grid.family != DIFFUSION:
            return {"family": grid.family, "arms": _arms(grid)} | _looks(grid)
        case "answer" if grid.family != DIFFUSION:
            return {"family": grid.family}
        case "claims":
            judged = {kind: arm for kind in JUDGED if (arm := grid.judged_arm(kind))}
            pair = {"pair": judged["sifid_cull"].parameters["pair"]} if "sifid_cull" in judged else {}
            told = pair | {"diagnosed": engines.diagnosed(grid)} | _remedies(grid) | _engines(grid) | _looks(grid)
            return {kind: arm.name for kind, arm in judged.items()} | told
        case "profile_table":
            arms = [compact_json(profiles.described(grid, each)) for each in grid.arms]
            return {"family": grid.family, "arms": arms} | _looks(grid)
        case "remedies":
            return _remedies(grid) | _looks(grid)
        case "figure_8":
            filters = [arm.name for arm in remedies(grid) if arm.filters]
            return {"dpi": config["figures"]["dpi"], "clip": score["clip"], "arms": filters}
        case "choose_guidance" if grid.family == DIFFUSION:
            return {"scales": [f"{base}={_guidance(grid, base):g}" for base in grid.bases]}
        case "figure_1" | "figure_5":
            return {"dpi": config["figures"]["dpi"], "group": config["figures"]["group"]}
        case "figure_2":
            return {"dpi": config["figures"]["dpi"], "slot": config["figures"]["slot"]}
        case "figure_3" | "figure_7":
            return {"dpi": config["figures"]["dpi"], "clip": score["clip"], "arms": lines(grid, stage)}
        case "search":
            assert arm is not None
            return search_settings(grid, arm)
        case "threshold":
            return threshold_settings(grid) | _looks(grid)
        case "figure_10":
            drawn = {"dpi": config["figures"]["dpi"], "clip": score["clip"]}
            return drawn | threshold_settings(grid) | _looks(grid)
        case "figure_4" | "figure_6" | "figure_9":
            return {"dpi": config["figures"]["dpi"]}
        case "page":
            told = {"planned": [compact_json(planned(grid, each)) for each in grid.arms], "replicates": grid.seeds}
            return told | ({} if grid.family == DIFFUSION else {"family": grid.family})
        case "mix":
            return _regime(arm)
        case "train_detector":
            return {"clip": score["clip"]}
        case "filter":
            assert arm is not None
            others = {"clip": score["clip"]} if arm in grid.detectors() else {}
            if arm.parameters["source"] == "watermark":
                others = {"watermark": grid.block("sample", arm)["watermark"]}
            return _parameters(arm) | others
        case _ if arm is not None and stage == arm.control.name:
            return _parameters(arm)
        case _:
            return {}


def _looks(grid: Grid) -> dict[str, Any]:
    """Whether seeds may be added after a look; nothing where they are not, which is how tables were always made."""
    return {"looks": "repeated"} if grid.config["looks"] == "repeated" else {}


def _remedies(grid: Grid) -> dict[str, Any]:
    """The arms that are remedies, with what each does and costs; nothing without any."""
    found = [compact_json(described(grid, arm)) for arm in remedies(grid)]
    return {"remedies": found} if found else {}


def _engines(grid: Grid) -> dict[str, Any]:
    """The arms that are retrained on another model's images; nothing without any."""
    found = [compact_json(engines.described(grid, arm)) for arm in engines.crossed(grid)]
    return {"engines": found} if found else {}


def _guidance(grid: Grid, base: str) -> float:
    """The scale that samples of an iteration 0 are drawn with."""
    return float(grid.block("sample", grid.arm_of_base(base))["guidance_scale"])


def _arms(grid: Grid) -> str:
    """Every arm of a family of chunks with its settings."""
    return compact_json(
        {
            arm.name: {"regime": arm.regime.name, "ratios": arm.ratios, "last": arm.last, "base": arm.base}
            | ({"control": arm.control.name, "parameters": arm.of_control()} if arm.is_controlled else {})
            | decisive_settings(grid.family, grid.family_block(arm), arm.last)
            for arm in grid.arms
        }
    )


def _real_images(grid: Grid, stage: str) -> dict[str, Any]:
    reference = grid.config["reference"]
    source, ffhq = reference["source"], reference["ffhq"]
    given = reference[source].get("path")
    path = given and in_project(given)
    match stage:
        case "classify_faces":
            chosen = {key: ffhq[key] for key in ("images", "shard_size", "detector")}
            return {**chosen, "path": path, "weights": location(ffhq["weights"])}
        case "select_images":
            columns = [] if grid.shards() else [f"{key}={name}" for key, name in ffhq["columns"].items() if name]
            return {
                **{key: ffhq[key] for key in ("caption", "factors", "selection_seed")},
                "path": path,
                "images_per_group": reference["images_per_group"],
                "ages": [f"{age['name']}={age['from']:g}" for age in ffhq["ages"]],
                "rename": [f"{entry['from']}={entry['to'] or ''}" for entry in ffhq["rename"]],
                "columns": columns,
            }
        case _:
            # What FFHQ's captions and groups are is decided when images are selected.
            taken = ("path", "on_bad_image", "resize_filter") if source == "ffhq" else tuple(reference[source])
            return {
                "source": source,
                **{key: reference[key] for key in ("images_per_group", "scoring_split")},
                "resolution": grid.config["model"]["resolution"],
                **{key: reference[source][key] for key in taken},
                "path": path,
            }


def _score(grid: Grid) -> dict[str, Any]:
    """The config's `score`, with weights where jobs find them and the checksum of clean-fid's."""
    score = grid.config["score"]
    known = CLEAN_FID_SHA256 if score["inception"] == "clean-fid" else None
    return {
        **score,
        "clip": location(score["clip"]),
        "inception": location(score["inception"]),
        "dinov2": location(score["dinov2"]),
        "inception_sha256": score["inception_sha256"] or known,
    }


def _parameters(arm: Arm) -> dict[str, Any]:
    """Parameters of an arm's control that decide its results, with weights where jobs find them."""
    idle = arm.control.idle(arm.parameters)
    given = {key: value for key, value in arm.of_control().items() if key not in idle}
    return {key: location(value) if key == "inception" else value for key, value in given.items()}


def _regime(arm: Arm | None) -> dict[str, Any]:
    """An arm's regime with its parameters; nothing without an arm."""
    if arm is None:
        return {}
    parameters = {key: value for key, value in arm.of_regime().items() if key not in arm.regime.elsewhere}
    # Nothing is said of all rows: results of healing from before there were shares stay.
    if arm.regime.branches and parameters.get("share") == 100:
        del parameters["share"]
    return {"regime": arm.regime.name, "regime_parameters": compact_json(parameters)}


def _control(arm: Arm | None) -> dict[str, Any]:
    """An arm's control with its parameters, of a family of chunks; nothing without one."""
    if arm is None or not arm.is_controlled:
        return {}
    return {"control": arm.control.name, "control_parameters": compact_json(arm.of_control())}


def _extrapolation(arm: Arm | None, what: str) -> dict[str, Any]:
    """The weight of an arm that extrapolates weights, or scores."""
    extrapolates = arm is not None and arm.regime.extrapolates == what
    return {"negative_weight": arm.parameters["weight"]} if arm and extrapolates else {}


def _filled_up(grid: Grid, arm: Arm | None) -> dict[str, Any]:
    """Of a share of the rows, or of what a filter or culling leaves, at equal steps: that it is repeated until an epoch is as long as
    that of all rows."""
    if arm is None or grid.block("finetune", arm)["budget"] != "steps":
        return {}
    culled = arm.parameters.get("replacement") == "drop"
    is_part = culled or arm.filters or (arm.regime.branches and arm.parameters["share"] < 100)
    return {"fill_up": True} if is_part else {}
