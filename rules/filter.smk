# Filters: what happens to the training set as a whole, whose rows are of unknown origin. What trains then is `filtered.parquet`.


rule filter:
    input:
        mix="results/{experiment}/{control}/ratio-{ratio}/seed-{seed}/iteration-{iteration}/mix.parquet",
        generated=mixed_images,
        real="results/{experiment}/reference/real.parquet",
        fresh=spare_images,
        detector=detector_of,
        clip=clip_of_detector,
    output:
        training_set="results/{experiment}/{control}/ratio-{ratio}/seed-{seed}/iteration-{iteration}/filtered.parquet",
        table="results/{experiment}/{control}/ratio-{ratio}/seed-{seed}/iteration-{iteration}/filtered.csv",
    log:
        "results/{experiment}/logs/filter/{control}/ratio-{ratio}/seed-{seed}/iteration-{iteration}.log",
    benchmark:
        "results/{experiment}/benchmarks/filter/{control}/ratio-{ratio}/seed-{seed}/iteration-{iteration}.tsv"
    wildcard_constraints:
        control=arms_of("filter"),
    priority: urgency
    conda:
        "../envs/torch.yaml"
    threads: grid.config["execution"]["threads"]
    resources:
        gpu=lambda wildcards: gpu if detector_of(wildcards) else 0,
        mem_mb=memory_of("filter"),
        runtime=grown(15),
    params:
        settings=settings_of("filter"),
        cell=named_cell,
        others=filter_options,
        execution=lambda wildcards, resources: execution_options(
            grid, "device", "threads", "embed_batch_size"
        ),
    shell:
        'python "$SCRIPTS/filter.py" {params.settings} {params.execution} {params.cell} {params.others}'
        " --mix {input.mix} --real {input.real}"
        " --output {output.training_set} --table {output.table} --log {log}"
