# What one can ask for by name.


localrules:
    figures,
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
        redrawn_metrics,
        cell_metrics,
        *searched_metrics,
