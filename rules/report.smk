# The paper's figures, each drawn from a table that is written beside it.


rule figure_2:
    input:
        base_samples=shown_base("samples"),
        base_unseen=shown_base("unseen"),
        samples=shown_samples,
        unseen=shown_unseen,
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
        " --base-samples {input.base_samples} --base-unseen {input.base_unseen}"
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
