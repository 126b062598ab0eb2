# Training the embedded base model and its evaluator. No other rule depends on these: `snakemake --cores all pretrain`
# writes to results/pretrain/, and scripts/promote.py copies the result into resources/.


localrules:
    pretrain,


rule pretrain:
    input:
        "results/pretrain/card/README.md",


rule pretrain_data:
    output:
        pretrain="results/pretrain/pretrain.npz",
        develop="results/pretrain/develop.npz",
    log:
        "results/pretrain/logs/pretrain_data.log",
    conda:
        "../envs/light.yaml"
    resources:
        mem_mb=grown(2000),
        runtime=grown(10),
    params:
        settings="--develop-portraits 1500 --portraits 12000",
    shell:
        'python "$SCRIPTS/pretrain_data.py" {params.settings}'
        " --pretrain {output.pretrain} --develop {output.develop} --log {log}"


rule pretrain_vae_narrow:
    input:
        "results/pretrain/pretrain.npz",
    output:
        directory("results/pretrain/vae-narrow"),
    log:
        "results/pretrain/logs/pretrain_vae_narrow.log",
    benchmark:
        "results/pretrain/benchmarks/pretrain_vae_narrow.tsv"
    conda:
        "../envs/torch.yaml"
    threads: 2
    resources:
        mem_mb=grown(4000),
        runtime=grown(120),
    params:
        settings="--batch-size 12 --latent-channels 4 --learning-rate 0.0015 --seed 0 --steps 5000",
    shell:
        'python "$SCRIPTS/pretrain_vae.py" {params.settings} --threads {threads}'
        " --data {input} --output {output} --log {log}"


rule pretrain_vae:
    input:
        data="results/pretrain/pretrain.npz",
        narrow="results/pretrain/vae-narrow",
    output:
        directory("results/pretrain/vae"),
    log:
        "results/pretrain/logs/pretrain_vae.log",
    benchmark:
        "results/pretrain/benchmarks/pretrain_vae.tsv"
    conda:
        "../envs/torch.yaml"
    threads: 2
    resources:
        mem_mb=grown(4000),
        runtime=grown(120),
    params:
        settings="--batch-size 12 --latent-channels 8 --learning-rate 0.0015 --seed 0 --steps 2600",
    shell:
        'python "$SCRIPTS/pretrain_vae.py" {params.settings} --threads {threads}'
        " --data {input.data} --narrow {input.narrow} --output {output} --log {log}"


rule pretrain_decoder:
    input:
        data="results/pretrain/pretrain.npz",
        vae="results/pretrain/vae",
    output:
        directory("results/pretrain/vae-refined"),
    log:
        "results/pretrain/logs/pretrain_decoder.log",
    benchmark:
        "results/pretrain/benchmarks/pretrain_decoder.tsv"
    conda:
        "../envs/torch.yaml"
    threads: 1
    resources:
        mem_mb=grown(4000),
        runtime=grown(120),
    params:
        settings="--batch-size 16 --bf16 --learning-rate 0.001 --seed 0 --steps 1500",
    shell:
        'python "$SCRIPTS/pretrain_decoder.py" {params.settings} --threads {threads}'
        " --data {input.data} --vae {input.vae} --output {output} --log {log}"


use rule pretrain_decoder as pretrain_sharpen with:
    input:
        data="results/pretrain/pretrain.npz",
        vae="results/pretrain/vae-refined",
    output:
        directory("results/pretrain/vae-sharp"),
    log:
        "results/pretrain/logs/pretrain_sharpen.log",
    benchmark:
        "results/pretrain/benchmarks/pretrain_sharpen.tsv"
    params:
        settings="--adversarial --batch-size 16 --bf16 --learning-rate 0.0004 --seed 1 --steps 1500",


# The experiments' autoencoder: two and a half times faster, the same latents.
rule pretrain_light:
    input:
        data="results/pretrain/pretrain.npz",
        vae="results/pretrain/vae-sharp",
    output:
        directory("results/pretrain/vae-light"),
    log:
        "results/pretrain/logs/pretrain_light.log",
    benchmark:
        "results/pretrain/benchmarks/pretrain_light.tsv"
    conda:
        "../envs/torch.yaml"
    threads: 1
    resources:
        mem_mb=grown(4000),
        runtime=grown(120),
    params:
        settings="--batch-size 16 --learning-rate 0.002 --seed 0 --steps 2500",
    shell:
        'python "$SCRIPTS/pretrain_light.py" {params.settings} --threads {threads}'
        " --data {input.data} --vae {input.vae} --output {output} --log {log}"


use rule pretrain_decoder as pretrain_light_sharpen with:
    input:
        data="results/pretrain/pretrain.npz",
        vae="results/pretrain/vae-light",
    output:
        directory("results/pretrain/vae-final"),
    log:
        "results/pretrain/logs/pretrain_light_sharpen.log",
    benchmark:
        "results/pretrain/benchmarks/pretrain_light_sharpen.tsv"
    params:
        settings="--adversarial --batch-size 16 --learning-rate 0.0004 --seed 2 --steps 1500",


# The U-Net is trained in two legs of half an hour, so that an interruption costs one of them. It learns the latents of the full
# autoencoder, which are the light one's too.
rule pretrain_unet_first:
    input:
        data="results/pretrain/pretrain.npz",
        vae="results/pretrain/vae-sharp",
    output:
        directory("results/pretrain/unet-first"),
    log:
        "results/pretrain/logs/pretrain_unet_first.log",
    benchmark:
        "results/pretrain/benchmarks/pretrain_unet_first.tsv"
    conda:
        "../envs/torch.yaml"
    threads: 1
    resources:
        mem_mb=grown(4000),
        runtime=grown(120),
    params:
        settings="--batch-size 32 --learning-rate 0.001 --seed 0 --steps 6000",
        start="",
    shell:
        'python "$SCRIPTS/pretrain_unet.py" {params.settings} {params.start} --threads {threads}'
        " --data {input.data} --vae {input.vae} --output {output} --log {log}"


use rule pretrain_unet_first as pretrain_unet with:
    input:
        data="results/pretrain/pretrain.npz",
        vae="results/pretrain/vae-sharp",
        light="results/pretrain/vae-final",
        start="results/pretrain/unet-first",
    output:
        directory("results/pretrain/tiny-diffusion"),
    log:
        "results/pretrain/logs/pretrain_unet.log",
    benchmark:
        "results/pretrain/benchmarks/pretrain_unet.tsv"
    params:
        settings="--batch-size 32 --learning-rate 0.0007 --seed 1 --steps 5000",
        start=lambda wildcards, input: f"--light {input.light} --start {input.start}",


rule pretrain_clip:
    input:
        "results/pretrain/pretrain.npz",
    output:
        directory("results/pretrain/tiny-clip"),
    log:
        "results/pretrain/logs/pretrain_clip.log",
    benchmark:
        "results/pretrain/benchmarks/pretrain_clip.tsv"
    conda:
        "../envs/torch.yaml"
    threads: 1
    resources:
        mem_mb=grown(4000),
        runtime=grown(120),
    params:
        settings="--batch-size 48 --learning-rate 0.001 --seed 0 --steps 4800",
    shell:
        'python "$SCRIPTS/pretrain_clip.py" {params.settings} --threads {threads}'
        " --data {input} --output {output} --log {log}"


rule pretrain_card:
    input:
        pretrain="results/pretrain/pretrain.npz",
        develop="results/pretrain/develop.npz",
        diffusion="results/pretrain/tiny-diffusion",
        clip="results/pretrain/tiny-clip",
    output:
        card="results/pretrain/card/README.md",
        sheet="results/pretrain/card/samples.png",
    log:
        "results/pretrain/logs/pretrain_card.log",
    conda:
        "../envs/torch.yaml"
    threads: 2
    resources:
        mem_mb=grown(4000),
        runtime=grown(30),
    shell:
        'python "$SCRIPTS/pretrain_card.py" --pretrain {input.pretrain} --develop {input.develop}'
        " --diffusion {input.diffusion} --clip {input.clip} --logs results/pretrain/logs"
        " --card {output.card} --sheet {output.sheet} --threads {threads} --log {log}"
