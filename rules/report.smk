# The paper's figures, each drawn from a table that is written beside it.


rule figure_2:
    input:
        samples=shown_images("samples"),
        unseen=shown_images("unseen"),
    output:
        multiext("results/{experiment}/figures/figure-2", ".svg", ".png", ".csv"),
    log:
        "results/{experiment}/logs/figure_2.log",
    conda:
        "../envs/light.yaml"
    resources:
        mem_mb=1000,
        runtime=10,
    params:
        settings=settings_of("figure_2"),
    shell:
        "python scripts/figure_2.py {params.settings}"
        " --samples {input.samples} --unseen {input.unseen} --output {output} --log {log}"


rule figure_3:
    input:
        "results/{experiment}/tables/metrics.csv",
    output:
        multiext("results/{experiment}/figures/figure-3", ".svg", ".png", ".csv"),
    log:
        "results/{experiment}/logs/figure_3.log",
    conda:
        "../envs/light.yaml"
    resources:
        mem_mb=1000,
        runtime=10,
    params:
        settings=settings_of("figure_3"),
    shell:
        "python scripts/figure_3.py {params.settings} --metrics {input} --output {output} --log {log}"
