# From which ratio on, and after how many retrainings, collapse begins.


localrules:
    threshold,
    figure_10,


rule threshold:
    input:
        "results/{experiment}/tables/metrics.csv",
    output:
        table=report(
            "results/{experiment}/tables/threshold.csv",
            caption="../resources/report/threshold.rst",
            category="Tables",
            labels={"table": "where collapse begins"},
        ),
        survival=report(
            "results/{experiment}/tables/survival.csv",
            caption="../resources/report/survival.rst",
            category="Tables",
            labels={"table": "seeds without collapse"},
        ),
    log:
        "results/{experiment}/logs/threshold.log",
    conda:
        "../envs/light.yaml"
    resources:
        mem_mb=500,
        runtime=5,
    params:
        settings=settings_of("threshold"),
    shell:
        'python "$SCRIPTS/threshold.py" {params.settings} --metrics {input}'
        " --output {output.table} --survival {output.survival} --log {log}"


rule figure_10:
    input:
        "results/{experiment}/tables/metrics.csv",
    output:
        svg=report(
            "results/{experiment}/figures/figure-10.svg",
            caption="../resources/report/figure_10.rst",
            category="Figures",
            labels={"figure": "10"},
        ),
        others=multiext("results/{experiment}/figures/figure-10", ".png", ".csv"),
    log:
        "results/{experiment}/logs/figure_10.log",
    conda:
        "../envs/light.yaml"
    resources:
        mem_mb=1000,
        runtime=10,
    params:
        settings=settings_of("figure_10"),
    shell:
        'python "$SCRIPTS/figure_10.py" {params.settings} --metrics {input}'
        " --output {output} --log {log}"
