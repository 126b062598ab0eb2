# The one table that gathers all scores, the claims and the profile that it decides, and the report's first page.


localrules:
    metrics_table,
    claims,
    profile_table,
    answer,


rule metrics_table:
    input:
        base_metrics,
        redrawn_metrics,
        cell_metrics,
        *searched_metrics,
        diagnostic_metrics,
    output:
        metrics=reported_unless_long("results/{experiment}/tables/metrics.csv"),
        jackknife="results/{experiment}/tables/jackknife.csv",
    log:
        "results/{experiment}/logs/metrics_table.log",
    conda:
        "../envs/light.yaml"
    resources:
        mem_mb=500,
        runtime=5,
    params:
        settings=settings_of("metrics_table"),
    shell:
        'python "$SCRIPTS/metrics_table.py" {params.settings} --metrics {input}'
        " --output {output.metrics} --jackknife {output.jackknife} --log {log}"


rule claims:
    input:
        metrics="results/{experiment}/tables/metrics.csv",
        jackknife="results/{experiment}/tables/jackknife.csv",
    output:
        table=report(
            "results/{experiment}/tables/claims.csv",
            caption="../resources/report/claims.rst",
            category="Tables",
            labels={"table": "claims"},
        ),
        details=report(
            "results/{experiment}/tables/claim_details.csv",
            caption="../resources/report/claim_details.rst",
            category="Tables",
            labels={"table": "claims, part by part"},
        ),
        diagnostics="results/{experiment}/tables/diagnostics.csv",
    log:
        "results/{experiment}/logs/claims.log",
    conda:
        "../envs/light.yaml"
    resources:
        mem_mb=500,
        runtime=5,
    params:
        settings=settings_of("claims"),
    shell:
        'python "$SCRIPTS/claims.py" {params.settings} --metrics {input.metrics} --jackknife {input.jackknife}'
        " --output {output.table} --details {output.details} --diagnostics {output.diagnostics} --log {log}"


rule profile_table:
    input:
        metrics="results/{experiment}/tables/metrics.csv",
        jackknife="results/{experiment}/tables/jackknife.csv",
    output:
        report(
            "results/{experiment}/tables/profile.csv",
            caption="../resources/report/profile.rst",
            category="Tables",
            labels={"table": "profile of collapse"},
        ),
    log:
        "results/{experiment}/logs/profile_table.log",
    conda:
        "../envs/light.yaml"
    resources:
        mem_mb=500,
        runtime=5,
    params:
        settings=settings_of("profile_table"),
    shell:
        'python "$SCRIPTS/profile_table.py" {params.settings} --metrics {input.metrics} --jackknife {input.jackknife}'
        " --output {output} --log {log}"


rule answer:
    input:
        base_metrics=first_base_metrics,
        metrics="results/{experiment}/tables/metrics.csv",
        claims="results/{experiment}/tables/claims.csv",
        details="results/{experiment}/tables/claim_details.csv",
        diagnostics="results/{experiment}/tables/diagnostics.csv",
        threshold=threshold_tables,
        sheets=reported_sheets,
    output:
        page="results/{experiment}/report/answer.rst",
        cost=report(
            "results/{experiment}/tables/cost.csv",
            caption="../resources/report/cost.rst",
            category="Tables",
            labels={"table": "time and memory"},
        ),
    log:
        "results/{experiment}/logs/answer.log",
    conda:
        "../envs/light.yaml"
    resources:
        mem_mb=500,
        runtime=5,
    params:
        settings=settings_of("answer"),
        threshold=threshold_option,
        # Time and memory of every job so far. Snakemake does not list benchmarks as files that a rule could need.
        benchmarks="results/{experiment}/benchmarks",
    shell:
        'python "$SCRIPTS/answer.py" {params.settings} --base-metrics {input.base_metrics} --metrics {input.metrics} --claims {input.claims}'
        " --details {input.details} --diagnostics {input.diagnostics} {params.threshold} --benchmarks {params.benchmarks}"
        " --output {output.page} --cost {output.cost} --log {log}"
