# What figures and the report show: functions only.
from nepotism.experiment.cells import cell_in
from nepotism.plan.lines import lines
from nepotism.plan.remedies import remedies
from nepotism.plan.thresholds import mapped


def shown_generations(wildcards):
    """The rows that figures show: of every condition, for the first seed."""
    folders = [f"{base}/seed-{grid.seeds[0]}" for base in grid.bases]
    folders += [cell.path for cell in asked_cells() if cell.seed == grid.seeds[0]]
    return [f"{grid.folder}/{folder}/samples.parquet" for folder in folders]


def shown_cells(arm):
    """The cells of an arm that figures show: every ratio and iteration at the first seed."""
    return [
        cell
        for cell in asked_cells()
        if cell.control == arm.name and cell.seed == grid.seeds[0]
    ]


def shown_samples(wildcards):
    """The samples that figure 2 shows: those of the plain mixture."""
    return [
        f"{grid.folder}/{cell.path}/samples.parquet"
        for cell in shown_cells(grid.shown_arm())
    ]


def shown_unseen(wildcards):
    return [
        f"{grid.folder}/{cell.path}/unseen.parquet"
        for cell in shown_cells(grid.shown_arm())
        if cell.iteration == grid.shown_arm().last
    ]


def typical_embeddings(wildcards):
    """What figure 2 takes its slot from: the end of its largest ratio; nothing where the config names a slot."""
    if grid.config["figures"]["slot"]:
        return []
    arm = grid.shown_arm()
    cell = Cell(arm.name, max(arm.ratios, key=float), grid.seeds[0], arm.last)
    return f"{grid.folder}/{cell.path}/embeddings.npz"


def typical_option(wildcards, input):
    return f"--embeddings {input.embeddings}" if input.embeddings else ""


def shown_base(name):
    return f"{grid.folder}/base/seed-{grid.seeds[0]}/{name}.parquet"


def judged_arm(kind):
    """The arm that figures show and claims are about."""
    arm = grid.judged_arm(kind)
    if arm is None:
        raise WorkflowError(
            f"the config's `arms` has none of type {kind} without `overrides`; add one."
        )
    return arm


def healing_samples(wildcards):
    """The samples that figure 4 shows: of the healing arm, before healing and after each retraining, ratio by ratio.

    Which of the ratios claims are judged at is known only from the scores.
    """
    arm = judged_arm("heal")
    chain = []
    for cell in shown_cells(arm):
        chain += [grid.parent(cell)] if cell.iteration == arm.first else []
        chain.append(cell)
    return [f"{grid.folder}/{cell.path}/samples.parquet" for cell in chain]


def culled_cells():
    """The cells that figure 6 shows: of the culling arm."""
    arm = judged_arm("sifid_cull")
    return [cell for cell in shown_cells(arm) if cell.ratio == arm.ratios[0]]


def culled_tables(wildcards):
    return [f"{grid.folder}/{cell.path}/curated.csv" for cell in culled_cells()]


def culled_images(wildcards):
    return [grid.generated_images(cell) for cell in culled_cells()]


def reported_unless_long(table):
    """The table of scores is a part of the report, unless it has a row for each of thousands of generations."""
    if grid.family != DIFFUSION:
        return table
    return report(
        table,
        caption="../resources/report/metrics.rst",
        category="Tables",
        labels={"table": "scores"},
    )


# Snakemake resolves the caption of an output's report(), but not that of an input's.
sheet_captions = {
    images: workflow.current_basedir.join(f"../resources/report/{images}.rst")
    for images in ("samples", "dropped")
}


def reported_sheets(wildcards):
    """The contact sheets of the report: of each base model, and of each arm and ratio at its end, for the first seed.

    All of them would make it hundreds of megabytes large. Rows that are no images have none.
    """
    if grid.family != DIFFUSION:
        return []

    def sheet(folder, images, **place):
        return report(
            f"{grid.folder}/{folder}/{images}.png",
            caption=sheet_captions[images],
            category="Contact sheets",
            labels={"images": images, **place},
        )

    ends = [
        cell
        for cell in asked_cells()
        if cell.seed == grid.seeds[0] and cell.iteration == grid.arm(cell.control).last
    ]
    begun = (grid.arm_of_model(model) for model in grid.models)
    bases = [arm.base if arm else "base" for arm in begun]
    chosen = [
        sheet(f"{base}/seed-{grid.seeds[0]}", "samples", control=base, iteration="0")
        for base in bases
    ]
    for cell in ends:
        place = {
            "control": cell.control,
            "ratio": cell.ratio,
            "iteration": str(cell.iteration),
        }
        chosen.append(sheet(cell.path, "samples", **place))
        if grid.arm(cell.control).control.name == "sifid_cull":
            chosen.append(sheet(cell.path, "dropped", **place))
    return chosen


def remedy_tables(wildcards):
    return [f"{grid.folder}/tables/remedies.csv"] if remedies(grid) else []


def threshold_tables(wildcards):
    """From which ratio on collapse begins; nothing where no arm has the ratios to tell."""
    return [f"{grid.folder}/tables/threshold.csv"] if mapped(grid) else []


def threshold_option(wildcards, input):
    return f"--threshold {input.threshold}" if input.threshold else ""


def figure_files(wildcards):
    names = list(family_figures)
    if grid.family == DIFFUSION:
        numbers = [1, 2, 5, 7]
        numbers += [3] if lines(grid, "figure_3") else []
        numbers += [4] if grid.judged_arm("heal") else []
        numbers += [6] if grid.judged_arm("sifid_cull") else []
        numbers += [8] if any(arm.filters for arm in remedies(grid)) else []
        numbers += [9] if remedies(grid) else []
        names = [f"figure-{number}" for number in sorted(numbers)]
    names += ["figure-10"] if mapped(grid) else []
    return [
        f"{grid.folder}/figures/{name}{suffix}"
        for name in names
        for suffix in (".svg", ".png", ".csv")
    ]


def remedy_samples(wildcards):
    """What figure 9 shows: the last samples of the plain mixture and of every remedy, ratio by ratio, at the first seed."""
    plain = with_advice(grid.arm, "none")
    ratios = {ratio for arm in remedies(grid) for ratio in arm.ratios} | {"0"}
    ends = [
        Cell(arm.name, ratio, grid.seeds[0], arm.last)
        for arm in (plain, *remedies(grid))
        for ratio in arm.ratios
        if ratio in ratios
    ]
    return [f"{grid.folder}/{cell.path}/samples.parquet" for cell in ends]


def tracked_cells(wildcards):
    """What says that the scores of each cell were sent to the tracker of the config; nothing without one."""
    tracker = grid.config["tracking"]["log_with"]
    if tracker is None:
        return []
    return [
        f"{grid.folder}/tracking/{tracker}/{cell.path}.json" for cell in asked_cells()
    ]


def tracked_metrics(wildcards):
    """The scores to send: those of a cell, and before the first of a chain those of its iteration 0."""
    cell, arm = cell_of(wildcards), with_advice(grid.arm, wildcards.control)
    base = f"{grid.folder}/{arm.base}/seed-{cell.seed}/metrics.json"
    is_first = cell.iteration == min(grid.iterations_of(arm))
    return [base] * is_first + [f"{grid.folder}/{cell.path}/metrics.json"]


def tracked_before(wildcards):
    """That the cell before was sent: trackers want steps in order, and some the number of the run that they go on with."""
    cell, arm = cell_of(wildcards), with_advice(grid.arm, wildcards.control)
    earlier = [each for each in grid.iterations_of(arm) if each < cell.iteration]
    if not earlier:
        return []
    before = Cell(cell.control, cell.ratio, cell.seed, max(earlier))
    return f"{grid.folder}/tracking/{wildcards.tracker}/{before.path}.json"


def tracked_before_option(wildcards, input):
    return f"--before {input.before}" if input.before else ""


# ---- The page: pictures and training sets of the first seed, or a family's figures


def page_curves(wildcards):
    """The table of figure 3, where there is one."""
    drawn = grid.family == DIFFUSION and lines(grid, "figure_3")
    return [f"{grid.folder}/figures/figure-3.csv"] if drawn else []


def page_figures(wildcards):
    """What a family has instead of pictures."""
    return [f"{grid.folder}/figures/{name}.png" for name in family_figures]


def page_samples(wildcards):
    return shown_generations(wildcards) if grid.family == DIFFUSION else []


def beside_samples(name):
    return lambda wildcards: [
        file.replace("samples.parquet", name) for file in page_samples(wildcards)
    ]


page_embeddings = beside_samples("embeddings.npz")


def page_initial_images(wildcards):
    """What the first retraining of each chain takes: files beside the samples of the base models."""
    return [
        file
        for file in beside_samples("initial_images.parquet")(wildcards)
        if not cell_in(file)
    ]


def page_real(wildcards):
    return [f"{grid.folder}/reference/real.parquet"] if grid.family == DIFFUSION else []


def page_manifests(wildcards):
    """What every model of the first seed was trained on."""
    if grid.family != DIFFUSION:
        return []
    cells = [cell for cell in asked_cells() if cell.seed == grid.seeds[0]]
    return [with_advice(grid.training_set, cell) for cell in cells]
