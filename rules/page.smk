# One page that says what an experiment found: a file that loads nothing, to send and to read anywhere.


localrules:
    page,


rule page:
    input:
        base_metrics=first_base_metrics,
        metrics="results/{experiment}/tables/metrics.csv",
        claims="results/{experiment}/tables/claims.csv",
        details="results/{experiment}/tables/claim_details.csv",
        cost="results/{experiment}/tables/cost.csv",
        profile="results/{experiment}/tables/profile.csv",
        remedies=remedy_tables,
        threshold=threshold_tables,
        curves=page_curves,
        figures=page_figures,
        real=page_real,
        initial_images=page_initial_images,
        samples=page_samples,
        embeddings=page_embeddings,
        manifests=page_manifests,
    output:
        "results/{experiment}/index.html",
    log:
        "results/{experiment}/logs/page.log",
    conda:
        "../envs/light.yaml"
    resources:
        mem_mb=2000,
        runtime=10,
    params:
        settings=settings_of("page"),
        # Snakemake writes it when it starts; what decides a result of it is in the settings of every stage.
        config="results/{experiment}/config.json",
    shell:
        'python "$SCRIPTS/page.py" {params.settings} --experiment {wildcards.experiment} --base-metrics {input.base_metrics}'
        " --metrics {input.metrics} --claims {input.claims} --details {input.details} --cost {input.cost}"
        " --profile {input.profile} --remedies {input.remedies} --threshold {input.threshold} --curves {input.curves} --figures {input.figures} --real {input.real}"
        " --samples {input.samples} --embeddings {input.embeddings} --manifests {input.manifests}"
        " --config {params.config} --output {output} --log {log}"
