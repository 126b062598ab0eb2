# Filters: what happens to the training set as a whole, whose rows are of unknown origin. What trains then is `filtered.parquet`.


def spare_images(wildcards):
    """Real images that stand in for rows which were taken for generated, beside those of the reference."""
    arm = arm_of(wildcards)
    needed = arm.control.needs_fresh(arm.parameters)
    return with_advice(grid.fresh_images, cell_of(wildcards)) if needed else []


def filtered_table(wildcards):
    """What a filter did to each row of the training set; nothing where the arm has none."""
    manifest = Path(training_set(wildcards))
    return str(manifest.with_suffix(".csv")) if manifest.stem == "filtered" else []


def detector_of(wildcards):
    return with_advice(grid.detector, cell_of(wildcards)) or []


def evaluator_of_detector(wildcards):
    """The weights of the CLIP on whose features a detector looks; nothing where there is none."""
    return evaluator_files if detector_of(wildcards) else []


def filter_options(wildcards, input):
    spare = f"--fresh {input.fresh} " if input.fresh else ""
    return spare + (f"--detector {input.detector}" if input.detector else "")


rule filter:
    input:
        mix="results/{experiment}/{control}/ratio-{ratio}/seed-{seed}/iteration-{iteration}/mix.parquet",
        generated=mixed_images,
        real="results/{experiment}/reference/real.parquet",
        fresh=spare_images,
        detector=detector_of,
        evaluator=evaluator_of_detector,
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
        # Looking at images takes little, and a GPU is not waited for.
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
