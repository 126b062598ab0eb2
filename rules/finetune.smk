# Retraining: the parent's U-Net on the cell's training set.


rule finetune:
    input:
        mix=training_set,
        generated=mixed_images,
        latents=encoded_images,
        parent=parent_model,
        base=base_model,
    output:
        model=kept_or_not(
            multiext(
                "results/{experiment}/{control}/ratio-{ratio}/seed-{seed}/iteration-{iteration}/model/",
                "config.json",
                "diffusion_pytorch_model.safetensors",
            )
        ),
        losses="results/{experiment}/{control}/ratio-{ratio}/seed-{seed}/iteration-{iteration}/losses.csv",
    log:
        "results/{experiment}/logs/finetune/{control}/ratio-{ratio}/seed-{seed}/iteration-{iteration}.log",
    benchmark:
        "results/{experiment}/benchmarks/finetune/{control}/ratio-{ratio}/seed-{seed}/iteration-{iteration}.tsv"
    priority: urgency
    conda:
        "../envs/torch.yaml"
    threads: grid.config["execution"]["threads"]
    resources:
        gpu=grid.config["execution"]["num_processes"] * gpu,
        mem_mb=memory_of("finetune"),
        runtime=minutes_of("finetune"),
    params:
        settings=settings_of("finetune"),
        cell=named_cell,
        parent=parent_option,
        execution=lambda wildcards, resources: execution_options(grid, *TRAINING_KEYS),
    shell:
        'python "$SCRIPTS/finetune.py" {params.settings} {params.execution} {params.parent}'
        " --mix {input.mix} --latents {input.latents} {params.cell}"
        " --model $(dirname {output.model[0]:q}) --losses {output.losses} --log {log}"
