# Detectors, by which filters and selections tell generated images: trained on real images and on images of a model that nothing else uses.


# As the rows of iteration 0 are made, from real images that nothing else uses.
use rule initial_images as detector_images_base with:
    input:
        real="results/{experiment}/reference/fresh/detector.parquet",
        base=base_model,
        preflight=checked_model,
    output:
        images="results/{experiment}/{base}/seed-{seed}/detector_images.parquet",
        sheet="results/{experiment}/{base}/seed-{seed}/detector_images.png",
    log:
        "results/{experiment}/logs/detector_images_base/{base}/seed-{seed}.log",
    benchmark:
        "results/{experiment}/benchmarks/detector_images_base/{base}/seed-{seed}.tsv"
    params:
        cell=detector_cell,


use rule sample as detector_images with:
    output:
        images="results/{experiment}/{control}/ratio-{ratio}/seed-{seed}/iteration-{iteration}/detector_images.parquet",
        sheet="results/{experiment}/{control}/ratio-{ratio}/seed-{seed}/iteration-{iteration}/detector_images.png",
    log:
        "results/{experiment}/logs/detector_images/{control}/ratio-{ratio}/seed-{seed}/iteration-{iteration}.log",
    benchmark:
        "results/{experiment}/benchmarks/detector_images/{control}/ratio-{ratio}/seed-{seed}/iteration-{iteration}.tsv"
    params:
        cell=detector_cell,


rule train_detector:
    input:
        real="results/{experiment}/reference/fresh/detector.parquet",
        generated="results/{experiment}/{base}/seed-{seed}/detector_images.parquet",
        clip=clip_files,
    output:
        "results/{experiment}/{base}/seed-{seed}/detector.json",
    log:
        "results/{experiment}/logs/train_detector/{base}/seed-{seed}.log",
    benchmark:
        "results/{experiment}/benchmarks/train_detector/{base}/seed-{seed}.tsv"
    priority: most_urgent
    conda:
        "../envs/torch.yaml"
    threads: grid.config["execution"]["threads"]
    resources:
        gpu=gpu,
        mem_mb=memory_of("train_detector"),
        runtime=grown(15),
    params:
        settings=settings_of("train_detector"),
        execution=lambda wildcards, resources: execution_options(
            grid, "device", "threads", "embed_batch_size"
        ),
    shell:
        'python "$SCRIPTS/train_detector.py" {params.settings} {params.execution} --seed {wildcards.seed}'
        " --real {input.real} --generated {input.generated} --output {output} --log {log}"


use rule train_detector as retrain_detector with:
    input:
        real="results/{experiment}/reference/fresh/detector.parquet",
        generated=images_of_last_model,
        clip=clip_files,
    output:
        "results/{experiment}/{control}/ratio-{ratio}/seed-{seed}/iteration-{iteration}/detector.json",
    log:
        "results/{experiment}/logs/retrain_detector/{control}/ratio-{ratio}/seed-{seed}/iteration-{iteration}.log",
    benchmark:
        "results/{experiment}/benchmarks/retrain_detector/{control}/ratio-{ratio}/seed-{seed}/iteration-{iteration}.tsv"
    priority: urgency
