# The training set of a cell: the real and generated images that its regime takes.


localrules:
    mix,


rule mix:
    input:
        real="results/{experiment}/reference/real.parquet",
        generated=drawn_images,
        draws=further_draws,
        other=fed_images,
        fresh=fresh_images,
    output:
        "results/{experiment}/{control}/ratio-{ratio}/seed-{seed}/iteration-{iteration}/mix.parquet",
    log:
        "results/{experiment}/logs/mix/{control}/ratio-{ratio}/seed-{seed}/iteration-{iteration}.log",
    benchmark:
        "results/{experiment}/benchmarks/mix/{control}/ratio-{ratio}/seed-{seed}/iteration-{iteration}.tsv"
    priority: urgency
    conda:
        "../envs/light.yaml"
    resources:
        mem_mb=500,
        runtime=5,
    params:
        settings=settings_of("mix"),
        generated=generated_option,
        fresh=fresh_option,
        drop=drop_option,
    shell:
        'python "$SCRIPTS/mix.py" {params.settings} --real {input.real} {params.generated} {params.fresh} {params.drop}'
        " --ratio {wildcards.ratio} --seed {wildcards.seed} --iteration {wildcards.iteration}"
        " --output {output} --log {log}"
