# The paper's figures and one of ours, each drawn from a table that is written beside it.


localrules:
    figure_1,
    figure_2,
    figure_3,
    figure_4,
    figure_5,
    figure_6,
    figure_7,


rule figure_1:
    input:
        samples=shown_base("samples"),
    output:
        svg=report(
            "results/{experiment}/figures/figure-1.svg",
            caption="../resources/report/figure_1.rst",
            category="Figures",
            labels={"figure": "1"},
        ),
        others=multiext("results/{experiment}/figures/figure-1", ".png", ".csv"),
    log:
        "results/{experiment}/logs/figure_1.log",
    conda:
        "../envs/light.yaml"
    resources:
        mem_mb=1000,
        runtime=10,
    params:
        settings=settings_of("figure_1"),
    shell:
        'python "$SCRIPTS/figure_1.py" {params.settings}'
        " --samples {input.samples}"
        " --output {output} --log {log}"


rule figure_2:
    input:
        base_samples=shown_base("samples"),
        base_unseen=shown_base("unseen"),
        samples=shown_samples,
        unseen=shown_unseen,
        embeddings=typical_embeddings,
    output:
        svg=report(
            "results/{experiment}/figures/figure-2.svg",
            caption="../resources/report/figure_2.rst",
            category="Figures",
            labels={"figure": "2"},
        ),
        others=multiext("results/{experiment}/figures/figure-2", ".png", ".csv"),
    log:
        "results/{experiment}/logs/figure_2.log",
    conda:
        "../envs/light.yaml"
    resources:
        mem_mb=1000,
        runtime=10,
    params:
        settings=settings_of("figure_2"),
        typical=typical_option,
    shell:
        'python "$SCRIPTS/figure_2.py" {params.settings} {params.typical}'
        " --base-samples {input.base_samples} --base-unseen {input.base_unseen}"
        " --samples {input.samples} --unseen {input.unseen}"
        " --output {output} --log {log}"


rule figure_3:
    input:
        "results/{experiment}/tables/metrics.csv",
    output:
        svg=report(
            "results/{experiment}/figures/figure-3.svg",
            caption="../resources/report/figure_3.rst",
            category="Figures",
            labels={"figure": "3"},
        ),
        others=multiext("results/{experiment}/figures/figure-3", ".png", ".csv"),
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
        'python "$SCRIPTS/figure_3.py" {params.settings}'
        " --metrics {input}"
        " --output {output} --log {log}"


rule figure_4:
    input:
        samples=healing_samples,
    output:
        svg=report(
            "results/{experiment}/figures/figure-4.svg",
            caption="../resources/report/figure_4.rst",
            category="Figures",
            labels={"figure": "4"},
        ),
        others=multiext("results/{experiment}/figures/figure-4", ".png", ".csv"),
    log:
        "results/{experiment}/logs/figure_4.log",
    conda:
        "../envs/light.yaml"
    resources:
        mem_mb=1000,
        runtime=10,
    params:
        settings=settings_of("figure_4"),
    shell:
        'python "$SCRIPTS/figure_4.py" {params.settings}'
        " --samples {input.samples}"
        " --output {output} --log {log}"


rule figure_5:
    input:
        real="results/{experiment}/reference/real.parquet",
        initial_images=shown_base("initial_images"),
    output:
        svg=report(
            "results/{experiment}/figures/figure-5.svg",
            caption="../resources/report/figure_5.rst",
            category="Figures",
            labels={"figure": "5"},
        ),
        others=multiext("results/{experiment}/figures/figure-5", ".png", ".csv"),
    log:
        "results/{experiment}/logs/figure_5.log",
    conda:
        "../envs/light.yaml"
    resources:
        mem_mb=1000,
        runtime=10,
    params:
        settings=settings_of("figure_5"),
    shell:
        'python "$SCRIPTS/figure_5.py" {params.settings}'
        " --real {input.real} --initial-images {input.initial_images}"
        " --output {output} --log {log}"


rule figure_6:
    input:
        tables=culled_tables,
        images=culled_images,
    output:
        svg=report(
            "results/{experiment}/figures/figure-6.svg",
            caption="../resources/report/figure_6.rst",
            category="Figures",
            labels={"figure": "6"},
        ),
        others=multiext("results/{experiment}/figures/figure-6", ".png", ".csv"),
    log:
        "results/{experiment}/logs/figure_6.log",
    conda:
        "../envs/light.yaml"
    resources:
        mem_mb=1000,
        runtime=10,
    params:
        settings=settings_of("figure_6"),
    shell:
        'python "$SCRIPTS/figure_6.py" {params.settings}'
        " --tables {input.tables} --images {input.images}"
        " --output {output} --log {log}"


rule figure_7:
    input:
        "results/{experiment}/tables/metrics.csv",
    output:
        svg=report(
            "results/{experiment}/figures/figure-7.svg",
            caption="../resources/report/figure_7.rst",
            category="Figures",
            labels={"figure": "7"},
        ),
        others=multiext("results/{experiment}/figures/figure-7", ".png", ".csv"),
    log:
        "results/{experiment}/logs/figure_7.log",
    conda:
        "../envs/light.yaml"
    resources:
        mem_mb=1000,
        runtime=10,
    params:
        settings=settings_of("figure_7"),
    shell:
        'python "$SCRIPTS/figure_7.py" {params.settings}'
        " --metrics {input}"
        " --output {output} --log {log}"
