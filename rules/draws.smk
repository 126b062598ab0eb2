# Further images of every slot, for training sets that take several: ratios above 100 of the regime augment.


use rule sample as sample_draws with:
    output:
        images="results/{experiment}/{control}/ratio-{ratio}/seed-{seed}/iteration-{iteration}/samples-{draw}.parquet",
        sheet="results/{experiment}/{control}/ratio-{ratio}/seed-{seed}/iteration-{iteration}/samples-{draw}.png",
    log:
        "results/{experiment}/logs/sample_draws/{control}/ratio-{ratio}/seed-{seed}/iteration-{iteration}/draw-{draw}.log",
    benchmark:
        "results/{experiment}/benchmarks/sample_draws/{control}/ratio-{ratio}/seed-{seed}/iteration-{iteration}/draw-{draw}.tsv"


use rule initial_images as initial_draws with:
    output:
        images="results/{experiment}/{base}/seed-{seed}/initial_images-{draw}.parquet",
        sheet="results/{experiment}/{base}/seed-{seed}/initial_images-{draw}.png",
    log:
        "results/{experiment}/logs/initial_draws/{base}/seed-{seed}/draw-{draw}.log",
    benchmark:
        "results/{experiment}/benchmarks/initial_draws/{base}/seed-{seed}/draw-{draw}.tsv"
