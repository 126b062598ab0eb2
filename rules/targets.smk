# What one can ask for by name.


localrules:
    figures,
    guidance,
    metrics,
    cells,


rule figures:
    input:
        figure_files,


rule metrics:
    input:
        f"{grid.folder}/tables/metrics.csv",


rule cells:
    input:
        base_metrics,
        cell_metrics,


# For choosing the guidance scale: resources/experiments/guidance.yaml.
rule guidance:
    input:
        f"{grid.folder}/tables/guidance.csv",
