# What one can ask for by name.


localrules:
    figures,
    metrics,
    cells,


rule figures:
    input:
        multiext(f"{grid.folder}/figures/figure-2", ".svg", ".png", ".csv"),
        multiext(f"{grid.folder}/figures/figure-3", ".svg", ".png", ".csv"),


rule metrics:
    input:
        f"{grid.folder}/tables/metrics.csv",


rule cells:
    input:
        base_metrics,
        cell_metrics,
