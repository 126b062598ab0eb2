import os

from snakemake.utils import min_version

min_version("9.21.1")


# Of the project, from wherever Snakemake is started.
configfile: os.path.relpath(f"{workflow.basedir}/workflow_config.yaml")


include: "rules/common.smk"
include: "rules/searched.smk"
include: "rules/weights.smk"
include: "rules/chunks.smk"
include: "rules/repairs.smk"
include: "rules/mixed.smk"
include: "rules/trained.smk"
include: "rules/shown.smk"


report: os.path.abspath(f"{grid.folder}/report/answer.rst")


# Without `--sdm apptainer`, none.
container: image_of_jobs()


wildcard_constraints:
    experiment=grid.experiment,
    control=r"(?!(base(-[a-z0-9_-]+)?|reference|report|tables|figures|logs|benchmarks|tracking)/)[a-z0-9_-]+",
    base=r"base(-[a-z0-9_-]+)?",
    model=r"(-[a-z0-9_-]+)?",
    ratio=r"1000|(0|[1-9][0-9]?[0-9]?)(\.[0-9]*[1-9])?",
    draw=r"[1-9]",
    seed=r"0|[1-9][0-9]*",
    iteration=r"[1-9][0-9]*",
    shard=r"0|[1-9][0-9]*",
    set=r"detector|iteration-[1-9][0-9]*",
    weights=r"(?!deepface/)[A-Za-z0-9_.-]+(@[A-Za-z0-9_.-]+)?",


localrules:
    all,


rule all:
    input:
        f"{grid.folder}/tables/metrics.csv",
        f"{grid.folder}/tables/claims.csv",
        f"{grid.folder}/tables/profile.csv",
        f"{grid.folder}/report/answer.rst",
        f"{grid.folder}/index.html",
        figure_files,
        remedy_tables,
        threshold_tables,
        last_models,
        *searched_models,
        tracked_cells,


include: "rules/targets.smk"
include: "rules/tables.smk"
include: "rules/threshold.smk"
include: "rules/search.smk"
include: "rules/page.smk"
include: "rules/models.smk"
include: "rules/tracking.smk"


for name in rule_files(grid.family):

    include: f"rules/{name}.smk"


onstart:
    end_idle_wake_ups(workflow.scheduler)
    write_resolved_config()
    fork_jobs()


onerror:
    tell_failures(log)
