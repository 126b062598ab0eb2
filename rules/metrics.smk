# Unseen captions, features and scores of every cell.


rule score:
    input:
        model=multiext(
            "results/{experiment}/{control}/ratio-{ratio}/seed-{seed}/iteration-{iteration}/model/",
            "config.json",
            "diffusion_pytorch_model.safetensors",
        ),
        parent=extrapolated_model,
        samples="results/{experiment}/{control}/ratio-{ratio}/seed-{seed}/iteration-{iteration}/samples.parquet",
        curated=curated_files,
        filtered=filtered_table,
        other=other_samples,
        reference="results/{experiment}/reference/embeddings.npz",
        base=base_model,
        evaluator=evaluator_files,
    output:
        unseen="results/{experiment}/{control}/ratio-{ratio}/seed-{seed}/iteration-{iteration}/unseen.parquet",
        sheet="results/{experiment}/{control}/ratio-{ratio}/seed-{seed}/iteration-{iteration}/unseen.png",
        embeddings="results/{experiment}/{control}/ratio-{ratio}/seed-{seed}/iteration-{iteration}/embeddings.npz",
        metrics="results/{experiment}/{control}/ratio-{ratio}/seed-{seed}/iteration-{iteration}/metrics.json",
    log:
        "results/{experiment}/logs/score/{control}/ratio-{ratio}/seed-{seed}/iteration-{iteration}.log",
    benchmark:
        "results/{experiment}/benchmarks/score/{control}/ratio-{ratio}/seed-{seed}/iteration-{iteration}.tsv"
    priority: scoring_urgency
    conda:
        "../envs/torch.yaml"
    threads: grid.config["execution"]["threads"]
    resources:
        gpu=gpu,
        mem_mb=memory_of("score"),
        runtime=minutes_of("score"),
    params:
        settings=settings_of("score"),
        cell=scored_cell,
        execution=lambda wildcards, resources: execution_options(
            grid, *SAMPLING_KEYS, "embed_batch_size"
        ),
    shell:
        'python "$SCRIPTS/score.py" {params.settings} {params.execution}'
        " --samples {input.samples} --reference {input.reference}"
        " --experiment {wildcards.experiment} {params.cell}"
        " --unseen {output.unseen} --sheet {output.sheet}"
        " --embeddings {output.embeddings} --metrics {output.metrics} --log {log}"


rule vae_round_trips:
    input:
        real="results/{experiment}/reference/real.parquet",
        reference="results/{experiment}/reference/embeddings.npz",
        base=base_model,
        evaluator=evaluator_files,
    output:
        images="results/{experiment}/reference/vae_round_trips.parquet",
        metrics="results/{experiment}/reference/vae_round_trips.json",
    log:
        "results/{experiment}/logs/vae_round_trips.log",
    benchmark:
        "results/{experiment}/benchmarks/vae_round_trips.tsv"
    conda:
        "../envs/torch.yaml"
    threads: grid.config["execution"]["threads"]
    resources:
        gpu=gpu,
        mem_mb=memory_of("vae_round_trips"),
        runtime=grown(60),
    params:
        settings=settings_of("vae_round_trips"),
        execution=lambda wildcards, resources: execution_options(
            grid, "device", "threads", "embed_batch_size"
        ),
    shell:
        'python "$SCRIPTS/vae_round_trips.py" {params.settings} {params.execution}'
        " --real {input.real} --reference {input.reference} --experiment {wildcards.experiment}"
        " --output {output.images} --metrics {output.metrics} --log {log}"
