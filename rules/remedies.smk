# What comes of remedies: arms that are compared with the plain mixture.


localrules:
    remedies,
    figure_8,
    figure_9,


rule remedies:
    input:
        metrics="results/{experiment}/tables/metrics.csv",
        jackknife="results/{experiment}/tables/jackknife.csv",
    output:
        report(
            "results/{experiment}/tables/remedies.csv",
            caption="../resources/report/remedies.rst",
            category="Tables",
            labels={"table": "remedies"},
        ),
    log:
        "results/{experiment}/logs/remedies.log",
    conda:
        "../envs/light.yaml"
    resources:
        mem_mb=500,
        runtime=5,
    params:
        settings=settings_of("remedies"),
    shell:
        'python "$SCRIPTS/remedies.py" {params.settings} --metrics {input.metrics} --jackknife {input.jackknife}'
        " --output {output} --log {log}"


rule figure_8:
    input:
        metrics="results/{experiment}/tables/metrics.csv",
        jackknife="results/{experiment}/tables/jackknife.csv",
    output:
        svg=report(
            "results/{experiment}/figures/figure-8.svg",
            caption="../resources/report/figure_8.rst",
            category="Figures",
            labels={"figure": "8"},
        ),
        others=multiext("results/{experiment}/figures/figure-8", ".png", ".csv"),
    log:
        "results/{experiment}/logs/figure_8.log",
    conda:
        "../envs/light.yaml"
    resources:
        mem_mb=1000,
        runtime=10,
    params:
        settings=settings_of("figure_8"),
    shell:
        'python "$SCRIPTS/figure_8.py" {params.settings}'
        " --metrics {input.metrics} --jackknife {input.jackknife}"
        " --output {output} --log {log}"


rule figure_9:
    input:
        real="results/{experiment}/reference/real.parquet",
        base=shown_base("samples"),
        samples=remedy_samples,
    output:
        svg=report(
            "results/{experiment}/figures/figure-9.svg",
            caption="../resources/report/figure_9.rst",
            category="Figures",
            labels={"figure": "9"},
        ),
        others=multiext("results/{experiment}/figures/figure-9", ".png", ".csv"),
    log:
        "results/{experiment}/logs/figure_9.log",
    conda:
        "../envs/light.yaml"
    resources:
        mem_mb=1000,
        runtime=10,
    params:
        settings=settings_of("figure_9"),
    shell:
        'python "$SCRIPTS/figure_9.py" {params.settings}'
        " --real {input.real} --base {input.base} --samples {input.samples}"
        " --output {output} --log {log}"
