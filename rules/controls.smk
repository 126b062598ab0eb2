# Controls: what happens to generated images before they are mixed in. One rule per type of arm; its outputs are
# `curated.parquet` and `curated.csv` of the cell whose retraining they feed.


rule histogram_match:
    input:
        generated=generated_images,
        real="results/{experiment}/reference/real.parquet",
    output:
        images="results/{experiment}/{control}/ratio-{ratio}/seed-{seed}/iteration-{iteration}/curated.parquet",
        table="results/{experiment}/{control}/ratio-{ratio}/seed-{seed}/iteration-{iteration}/curated.csv",
    log:
        "results/{experiment}/logs/histogram_match/{control}/ratio-{ratio}/seed-{seed}/iteration-{iteration}.log",
    benchmark:
        "results/{experiment}/benchmarks/histogram_match/{control}/ratio-{ratio}/seed-{seed}/iteration-{iteration}.tsv"
    wildcard_constraints:
        control=arms_of("histogram_match"),
    priority: urgency
    conda:
        "../envs/light.yaml"
    threads: grid.config["execution"]["threads"]
    resources:
        mem_mb=memory_of("histogram_match"),
        runtime=grown(30),
    params:
        settings=settings_of("histogram_match"),
        cell=named_cell,
        execution=lambda wildcards, resources: execution_options(grid, "threads"),
    shell:
        'python "$SCRIPTS/histogram_match.py" {params.settings} {params.execution} --ratio {wildcards.ratio} {params.cell}'
        " --generated {input.generated} --real {input.real}"
        " --output {output.images} --table {output.table} --log {log}"


# Fixed once per seed, from iteration 0, and frozen.
rule sifid_threshold:
    input:
        initial_images=initial_images_of_arm,
        real="results/{experiment}/reference/real.parquet",
        base=own_base_model,
        inception=sifid_files,
    output:
        threshold="results/{experiment}/{control}/seed-{seed}/sifid_threshold.json",
        statistics="results/{experiment}/{control}/seed-{seed}/sifid_real.safetensors",
    log:
        "results/{experiment}/logs/sifid_threshold/{control}/seed-{seed}.log",
    benchmark:
        "results/{experiment}/benchmarks/sifid_threshold/{control}/seed-{seed}.tsv"
    wildcard_constraints:
        control=arms_of("sifid_cull"),
    priority: most_urgent
    conda:
        "../envs/torch.yaml"
    threads: grid.config["execution"]["threads"]
    resources:
        gpu=gpu,
        mem_mb=memory_of("sifid_threshold"),
        runtime=grown(60),
    params:
        settings=settings_of("sifid_threshold"),
        execution=lambda wildcards, resources: execution_options(
            grid, "device", "threads"
        ),
    shell:
        'python "$SCRIPTS/sifid_threshold.py" {params.settings} {params.execution}'
        " --initial-images {input.initial_images} --real {input.real}"
        " --output {output.threshold} --statistics {output.statistics} --log {log}"


rule sifid_cull:
    input:
        generated=generated_images,
        real="results/{experiment}/reference/real.parquet",
        threshold="results/{experiment}/{control}/seed-{seed}/sifid_threshold.json",
        statistics="results/{experiment}/{control}/seed-{seed}/sifid_real.safetensors",
        model=sampled_model,
        base=culling_models,
    output:
        images="results/{experiment}/{control}/ratio-{ratio}/seed-{seed}/iteration-{iteration}/curated.parquet",
        table="results/{experiment}/{control}/ratio-{ratio}/seed-{seed}/iteration-{iteration}/curated.csv",
        sheet="results/{experiment}/{control}/ratio-{ratio}/seed-{seed}/iteration-{iteration}/dropped.png",
    log:
        "results/{experiment}/logs/sifid_cull/{control}/ratio-{ratio}/seed-{seed}/iteration-{iteration}.log",
    benchmark:
        "results/{experiment}/benchmarks/sifid_cull/{control}/ratio-{ratio}/seed-{seed}/iteration-{iteration}.tsv"
    wildcard_constraints:
        control=arms_of("sifid_cull"),
    priority: urgency
    conda:
        "../envs/torch.yaml"
    threads: grid.config["execution"]["threads"]
    resources:
        gpu=gpu,
        mem_mb=memory_of("sifid_cull"),
        runtime=minutes_of("sifid_cull"),
    params:
        settings=settings_of("sifid_cull"),
        cell=sampled_cell,
        execution=lambda wildcards, resources: execution_options(grid, *SAMPLING_KEYS),
    shell:
        'python "$SCRIPTS/sifid_cull.py" {params.settings} {params.execution} --ratio {wildcards.ratio} {params.cell}'
        " --generated {input.generated} --real {input.real}"
        " --threshold {input.threshold} --statistics {input.statistics}"
        " --output {output.images} --table {output.table} --sheet {output.sheet} --log {log}"


rule select_draws:
    input:
        generated=generated_images,
        real="results/{experiment}/reference/real.parquet",
        model=sampled_model,
        base=base_model,
        clip=clip_files,
        detector=detector_of,
    output:
        images="results/{experiment}/{control}/ratio-{ratio}/seed-{seed}/iteration-{iteration}/curated.parquet",
        table="results/{experiment}/{control}/ratio-{ratio}/seed-{seed}/iteration-{iteration}/curated.csv",
    log:
        "results/{experiment}/logs/select_draws/{control}/ratio-{ratio}/seed-{seed}/iteration-{iteration}.log",
    benchmark:
        "results/{experiment}/benchmarks/select_draws/{control}/ratio-{ratio}/seed-{seed}/iteration-{iteration}.tsv"
    wildcard_constraints:
        control=arms_of("select_draws"),
    priority: urgency
    conda:
        "../envs/torch.yaml"
    threads: grid.config["execution"]["threads"]
    resources:
        gpu=gpu,
        mem_mb=memory_of("select_draws"),
        runtime=minutes_of("select_draws"),
    params:
        settings=settings_of("select_draws"),
        cell=sampled_cell,
        detector=detector_option,
        execution=lambda wildcards, resources: execution_options(
            grid, *SAMPLING_KEYS, "embed_batch_size"
        ),
    shell:
        'python "$SCRIPTS/select_draws.py" {params.settings} {params.execution} --ratio {wildcards.ratio} {params.cell}'
        " --generated {input.generated} --real {input.real} {params.detector}"
        " --output {output.images} --table {output.table} --log {log}"
