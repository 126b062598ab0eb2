"""The paper's two controls: colour matching and culling by single-image FID."""

import dataclasses

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from nepotism.chain.slots import generated_slots, read_treated
from nepotism.controls.histogram_match import colours
from nepotism.controls.sifid_cull import sifid
from nepotism.controls.sifid_cull.culling import cull
from nepotism.data.images import ImageSet, Record, write_image_set
from nepotism.families.diffusion.sifid_features import all_patches, extractor
from nepotism.runtime.errors import UserError
from nepotism.runtime.files import sha256
from safetensors.torch import save_file
from scipy.linalg import sqrtm
from scipy.stats import entropy
from skimage.color import rgb2ycbcr
from skimage.exposure import match_histograms


def pictures(count, seed=0, size=12):
    """Smooth random pictures with different colours."""
    rng = np.random.default_rng(seed)
    base = rng.integers(40, 200, (count, 1, 1, 3)) + rng.normal(0, 25, (count, size, size, 3))
    return base.clip(0, 255).astype(np.uint8)


# ---- Colour matching


def test_divergences_are_scipys_entropy_averaged_over_the_channels():
    one, other = (colours.histograms(pictures(4, seed), 32, 1, "h") for seed in (0, 1))
    found = colours.divergences(one, other, "generated_to_real", 1e-6)
    backwards = colours.divergences(one, other, "real_to_generated", 1e-6)
    for i in range(4):
        for j in range(4):
            pairs = [(p + 1e-6, q + 1e-6) for p, q in zip(one[i], other[j])]
            assert found[i, j] == pytest.approx(np.mean([entropy(p, q) for p, q in pairs]), rel=1e-9)
            assert backwards[i, j] == pytest.approx(np.mean([entropy(q, p) for p, q in pairs]), rel=1e-9)


def test_histograms_count_every_pixel_in_fixed_ranges():
    images = np.stack([np.zeros((4, 4, 3), np.uint8), np.full((4, 4, 3), 255, np.uint8)])
    shares = colours.histograms(images, 256, 2, "h")
    np.testing.assert_allclose(shares.sum(2), 1)
    # Black and white are the ends of luma; grey has its two chroma values in the middle.
    assert shares[0, 0, 0] == shares[1, 0, 255] == 1
    assert shares[0, 1].argmax() == shares[1, 2].argmax() == 256 * (128 - 16) // 224


def test_the_nearest_image_is_that_of_a_plain_search():
    generated, real = pictures(6, 2), pictures(9, 3)
    divergences = colours.divergences(
        colours.histograms(generated, 64, 1, "h"), colours.histograms(real, 64, 1, "h"), "generated_to_real", 1e-6
    )
    found = colours.nearest(divergences, [f"a/{index:03d}" for index in range(9)])

    def shares(image):
        planes = np.moveaxis(rgb2ycbcr(image), -1, 0)
        ranges = [(16, 235), (16, 240), (16, 240)]
        counts = [np.histogram(p, 64, r)[0] for p, r in zip(planes, ranges)]
        return [c / c.sum() + 1e-6 for c in counts]

    for image, nearest in zip(generated, found):
        values = [np.mean([entropy(p, q) for p, q in zip(shares(image), shares(other))]) for other in real]
        assert nearest == int(np.argmin(values))


def test_an_image_is_its_own_nearest():
    images = pictures(5, 4)
    shares = colours.histograms(images, 256, 1, "h")
    assert list(colours.divergences(shares, shares, "generated_to_real", 1e-6).argmin(1)) == list(range(5))


def test_colours_are_scikit_images_to_the_last_step():
    image = pictures(1, 4, size=64)[0]
    found = np.moveaxis(colours.ycbcr(image), 0, -1) / colours.STEPS + 16
    np.testing.assert_allclose(found, rgb2ycbcr(image), rtol=0, atol=1e-10)
    every = np.random.default_rng(0).integers(0, 256, (200, 200, 3)).astype(np.uint8)
    np.testing.assert_array_equal(colours.match(every, every), every)


def test_colours_of_one_luma_or_chroma_are_equal_and_matched_alike():
    """In floating point these differ in their last bits, so that noise decided which of them came first."""
    pair = np.array([[[0, 10, 0], [4, 0, 41]]], np.uint8)
    assert len(np.unique(colours.ycbcr(pair)[0])) == 1
    greys = np.repeat(np.arange(256, dtype=np.uint8)[:, None, None], 3, axis=2)
    assert [np.unique(plane).tolist() for plane in colours.ycbcr(greys)[1:]] == [[112 * colours.STEPS]] * 2
    assert colours.histograms(greys[None], 256, 1, "h")[0, 1:, 128].tolist() == [1, 1]
    target = pictures(1, 6, size=16)[0]
    chroma = colours.ycbcr(colours.match(greys.reshape(16, 16, 3), target))[1:] / colours.STEPS
    # One value each, but for the rounding of RGB; scikit-image spreads them over all that the target has.
    assert (np.ptp(chroma.reshape(2, -1), axis=1) < 2).all()


def test_matching_is_scikit_images_where_no_two_pixels_are_equal():
    """A plane of one channel: of 64 x 64 pixels each with its own value, both ways of counting are the same."""
    rng = np.random.default_rng(5)
    source, target = (rng.permutation(50_000)[:4096].reshape(64, 64) for _ in range(2))
    np.testing.assert_array_equal(colours._matched(source, target), match_histograms(source, target))
    # In pictures few are equal, so that channels differ by less than rounding to 8 bits.
    image, other = pictures(2, 5, size=64)
    expected = match_histograms(rgb2ycbcr(image), rgb2ycbcr(other), channel_axis=-1)
    found = rgb2ycbcr(colours.match(image, other))
    assert np.abs(found - expected).mean() < 1.0


def middle_rank_match(values, target):
    """The definition, pixel by pixel and in floating point."""

    def rank(of, among):
        return ((among < of).sum() + (among == of).sum() / 2) / among.size

    theirs = np.unique(target)
    knots = [rank(value, target) for value in theirs]
    return np.array([np.interp(rank(value, values), knots, theirs) for value in values.ravel()]).reshape(values.shape)


@given(st.lists(st.integers(0, 6), min_size=1, max_size=30), st.lists(st.integers(0, 9_000), min_size=1, max_size=40))
def test_matching_follows_middle_ranks(values, target):
    values, target = np.array(values), np.array(target)
    found = colours._matched(values, target)
    # Rounded once, up where it is half-way.
    np.testing.assert_allclose(found, middle_rank_match(values, target), rtol=0, atol=0.5 + 1e-6)
    assert target.min() <= found.min()
    assert found.max() <= target.max()
    assert (np.diff(found[np.argsort(values, kind="stable")]) >= 0).all()


def test_a_constant_image_gets_the_medians_of_its_target():
    target = pictures(1, 6, size=33)[0]
    found = colours.match(np.full((33, 33, 3), (90, 120, 10), np.uint8), target)
    assert len(np.unique(found.reshape(-1, 3), axis=0)) == 1
    medians = np.median(rgb2ycbcr(target).reshape(-1, 3), axis=0)
    np.testing.assert_allclose(rgb2ycbcr(found)[0, 0], medians, rtol=0, atol=1.0)
    # And the other way round: nothing but the one colour of a constant target.
    np.testing.assert_array_equal(colours.match(target, found), found)


def test_an_image_of_two_colours_gets_the_quartiles_of_its_target():
    target = np.repeat(np.arange(100, dtype=np.uint8)[:, None, None], 3, axis=2)
    half = np.concatenate([np.full((50, 1, 3), 30, np.uint8), np.full((50, 1, 3), 200, np.uint8)])
    found = colours.match(half, target)
    # Greys stay grey. 50 pixels have the middle rank of the 25th, between 24 and 25.
    assert {tuple(pixel) for pixel in found[:50, 0]} <= {(24, 24, 24), (25, 25, 25)}
    assert {tuple(pixel) for pixel in found[50:, 0]} <= {(74, 74, 74), (75, 75, 75)}


def test_matching_an_image_to_itself_changes_no_pixel():
    for image in (pictures(1, 6)[0], np.zeros((3, 5, 3), np.uint8), np.full((1, 1, 3), 255, np.uint8)):
        np.testing.assert_array_equal(colours.match(image, image), image)


def test_where_a_pixel_is_does_not_matter():
    image, target = pictures(2, 6, size=16)
    rng = np.random.default_rng(0)
    order, other = rng.permutation(256), rng.permutation(256)
    matched = colours.match(image, target).reshape(-1, 3)
    shuffled = colours.match(
        image.reshape(-1, 3)[order].reshape(16, 16, 3), target.reshape(-1, 3)[other].reshape(16, 16, 3)
    )
    np.testing.assert_array_equal(shuffled.reshape(-1, 3), matched[order])


def test_the_order_of_the_images_does_not_matter_and_ties_go_to_the_first_slot():
    generated, real = pictures(7, 2), pictures(6, 3)
    # Three slots hold images of equal colours: the same picture, turned and mirrored.
    real = np.concatenate([real, real[2:3, ::-1], real[2:3, :, ::-1], generated[:1], generated[:1, ::-1]])
    slots = [f"g/{index:03d}" for index in (9, 5, 7, 0, 1, 2, 3, 4, 8, 6)]
    of_generated, of_real = (colours.histograms(images, 256, 1, "h") for images in (generated, real))

    def targets(rows, columns):
        divergences = colours.divergences(of_generated[rows], of_real[columns], "generated_to_real", 1e-6)
        return {
            row: slots[columns[at]] for row, at in zip(rows, colours.nearest(divergences, [slots[c] for c in columns]))
        }

    expected = targets(list(range(7)), list(range(10)))
    assert expected[0] == "g/006"
    rng = np.random.default_rng(1)
    for _ in range(5):
        assert targets(rng.permutation(7).tolist(), rng.permutation(10).tolist()) == expected


def test_threads_change_nothing():
    images, targets = pictures(7, 7), pictures(7, 8)
    np.testing.assert_array_equal(
        colours.match_all(images, targets, 1, "m"), colours.match_all(images, targets, 3, "m")
    )


# ---- Single-image FID


def features(seed, count=3, channels=5, side=9):
    return torch.from_numpy(np.random.default_rng(seed).normal(seed, 1 + seed, (count, channels, side, side)))


def test_sifid_is_the_formula_with_a_matrix_square_root():
    one, other = features(0), features(1)
    mine, theirs = sifid.patches(one), sifid.patches(other)
    found = sifid.sifid(mine.mean, mine.covariance, theirs.mean, sifid.roots(theirs.covariance))
    for index in range(3):
        rows = [each[index].flatten(1).T.numpy() for each in (one, other)]
        means, covariances = [r.mean(0) for r in rows], [np.cov(r, rowvar=False) for r in rows]
        root = sqrtm(covariances[0] @ covariances[1]).real
        expected = ((means[0] - means[1]) ** 2).sum() + np.trace(covariances[0] + covariances[1] - 2 * root)
        assert float(found[index]) == pytest.approx(expected, rel=1e-8)


def test_sifid_of_constant_images_is_finite_and_zero_to_themselves():
    constant = sifid.patches(torch.full((1, 5, 4, 4), 2.0))
    spread = sifid.patches(features(0, count=1))
    root = sifid.roots(constant.covariance)
    assert float(sifid.sifid(constant.mean, constant.covariance, constant.mean, root)) == 0
    found = sifid.sifid(spread.mean, spread.covariance, constant.mean, root)
    expected = ((spread.mean - 2) ** 2).sum() + torch.trace(spread.covariance[0])
    assert float(found) == pytest.approx(float(expected), rel=1e-10)


def test_fewer_positions_than_channels_stay_real():
    few = sifid.patches(torch.randn(2, 30, 2, 2, dtype=torch.float64))
    found = sifid.sifid(few.mean, few.covariance, few.mean.flip(0), sifid.roots(few.covariance).flip(0))
    assert torch.isfinite(found).all()
    assert float(found[0]) == pytest.approx(float(found[1]), rel=1e-6)


def records(per_group=3, origin="real"):
    return [
        Record(f"{origin}/{group}/{index:03d}", "p", group, f"{group}/{index:03d}", origin, rng="r")
        for group in "ab"
        for index in range(per_group)
    ]


def test_pairings_are_the_slot_the_nearest_and_the_mean_of_the_group():
    real = sifid.patches(features(0, count=6))
    statistics = sifid.RealPatches(real.mean, sifid.roots(real.covariance))
    images = sifid.patches(features(1, count=6))
    full = np.array([
        [float(sifid.sifid(images.mean[i], images.covariance[i], real.mean[j], statistics.root[j])) for j in range(6)]
        for i in range(6)
    ])  # fmt: skip
    blocks = [full[i, :3] if i < 3 else full[i, 3:] for i in range(6)]
    expected = {
        "slot": np.diag(full), "nearest_in_group": [b.min() for b in blocks], "group_mean": [b.mean() for b in blocks]
    }  # fmt: skip
    for pair, values in expected.items():
        scores = sifid.score(images, records(origin="generated"), statistics, records(), pair)
        np.testing.assert_allclose(scores.sifid, values)
        np.testing.assert_allclose(scores.nearest_in_group, expected["nearest_in_group"])


def test_real_statistics_survive_their_file(tmp_path):
    real = sifid.patches(features(0))
    sifid.write_real(tmp_path / "s.safetensors", sifid.RealPatches(real.mean, sifid.roots(real.covariance)))
    again = sifid.read_real(tmp_path / "s.safetensors")
    assert again.mean.dtype == torch.float64
    assert torch.equal(again.mean, real.mean)


def test_the_autoencoders_block_has_many_positions_and_few_channels(tiny_diffusion):
    extract = extractor("vae", tiny_diffusion, None, None, torch.device("cpu"))
    found = all_patches(extract, pictures(3, size=64), torch.device("cpu"), "f")
    channels = found.mean.shape[1]
    assert channels <= 64 * 64 / 20
    assert torch.linalg.matrix_rank(found.covariance).min() == channels


@pytest.mark.parametrize("channels", [64, 192])
def test_inception_features_are_torchvisions_before_its_poolings(tmp_path, tiny_diffusion, channels):
    from torchvision.models import inception_v3

    torch.manual_seed(0)
    network = inception_v3(weights=None, init_weights=False, aux_logits=True).eval()
    path = tmp_path / "inception.safetensors"
    save_file(network.state_dict(), path)
    extract = extractor(f"inception-{channels}", tiny_diffusion, path, sha256(path), torch.device("cpu"))
    batch = torch.randn(1, 3, 75, 75)
    seen = {}
    layer = network.maxpool1 if channels == 64 else network.maxpool2
    layer.register_forward_pre_hook(lambda module, inputs: seen.update(x=inputs[0]))
    with torch.no_grad():
        network(batch)
        found = extract(batch)
    assert found.shape[1] == channels
    torch.testing.assert_close(found, seen["x"])


def test_weights_that_are_not_inceptions_are_refused(tmp_path, tiny_diffusion):
    device = torch.device("cpu")
    with pytest.raises(UserError, match=r"must be an existing .safetensors file"):
        extractor("inception-192", tiny_diffusion, tmp_path / "weights.pth", None, device)
    save_file({"x": torch.zeros(1)}, tmp_path / "x.safetensors")
    path = tmp_path / "x.safetensors"
    with pytest.raises(UserError, match="`inception`: .* lacks .*The weights of torchvision's inception_v3 are wanted"):
        extractor("inception-192", tiny_diffusion, path, sha256(path), device)
    with pytest.raises(UserError, match="`inception_sha256`: .* not 0123; fetch it again"):
        extractor("inception-192", tiny_diffusion, path, "0123", device)


# ---- Culling


class World:
    """Images whose SIFID is what the test says: of the originals, and of each attempt to draw a slot anew."""

    def __init__(self, originals, redrawn=()):
        self.records = [dataclasses.replace(r, origin="generated") for r in records(origin="generated")]
        self.values = dict(zip((r.id for r in self.records), originals))
        self.redrawn = redrawn
        self.drawn = []
        pixels = pictures(6, 9, size=4)
        self.images = ImageSet(pixels, self.records)

    def score(self, images):
        values = np.array([self.values[record.id] for record in images.records])
        return sifid.SifidScores(values, values / 2)

    def draw(self, missing, attempt):
        self.drawn.append([record.slot for record in missing])
        made = []
        for record in missing:
            fresh = dataclasses.replace(record, id=f"cell/regenerated-{attempt}/{record.slot}", rng=f"try {attempt}")
            self.values[fresh.id] = self.redrawn[attempt - 1]
            made.append(fresh)
        return ImageSet(pictures(len(missing), 20 + attempt, size=4), made)

    def cull(self, replacement, tries=4):
        return cull(self.images, 1.0, replacement, tries, self.score, self.draw, "cell", 0, 2)


SOME = [0.5, 2.0, 1.0, 3.0, 0.1, 5.0]


def test_images_up_to_the_threshold_stay_as_they_are():
    world = World(SOME, redrawn=[0.5])
    curated, verdicts = world.cull("regenerate")
    assert [v.kept for v in verdicts] == [True, False, True, False, True, False]
    assert [curated.records[i] for i in (0, 2, 4)] == [world.records[i] for i in (0, 2, 4)]
    assert [v.nearest_in_group for v in verdicts] == [v / 2 for v in SOME]


def test_regenerating_stops_when_all_are_accepted_or_the_tries_are_used_up():
    world = World(SOME, redrawn=[9.0, 0.9])
    curated, verdicts = world.cull("regenerate")
    assert world.drawn == [["a/001", "b/000", "b/002"]] * 2
    assert [v.tries for v in verdicts] == [0, 2, 0, 2, 0, 2]
    new = [f"cell/regenerated-2/{slot}" for slot in ("a/001", "b/000", "b/002")]
    assert [v.replaced_by for v in verdicts if not v.kept] == new
    assert [r.id for r in curated.records if r not in world.records] == new
    assert [r.slot for r in curated.records] == [r.slot for r in world.records]


def test_after_the_last_try_a_kept_image_of_the_group_is_used_again():
    world = World(SOME, redrawn=[9.0, 9.0])
    curated, verdicts = world.cull("regenerate", tries=2)
    assert len(world.drawn) == 2
    by_slot = {r.slot: (p, r) for p, r in zip(curated.pixels, curated.records)}
    for verdict in verdicts:
        if not verdict.kept:
            pixels, record = by_slot[verdict.slot]
            source = next(i for i, r in enumerate(world.records) if r.id == verdict.replaced_by)
            assert world.records[source].group == verdict.group
            assert verdicts[source].kept
            assert record.parents == (verdict.replaced_by,)
            np.testing.assert_array_equal(pixels, world.images.pixels[source])
    assert len({r.id for r in curated.records}) == 6


def test_duplicates_are_taken_at_once_and_the_same_ones_every_time():
    world = World(SOME)
    first, again = world.cull("duplicate_kept"), world.cull("duplicate_kept")
    assert world.drawn == []
    assert first[1] == again[1]
    assert all(v.tries == 0 for v in first[1])


def test_a_group_without_an_accepted_image_falls_back_on_its_best_and_says_so(caplog):
    world = World([0.5, 0.6, 0.7, 3.0, 2.0, 5.0])
    curated, verdicts = world.cull("duplicate_kept")
    assert {v.replaced_by for v in verdicts[3:]} == {"generated/b/001"}
    assert "no image of 1 of 2 groups was accepted" in caplog.text
    # For its own slot it is the image itself, for others a copy of it.
    assert curated.records[4] == world.records[4]
    assert [curated.records[i].parents for i in (3, 5)] == [("generated/b/001",)] * 2
    # A new image that came closer is better than the best of the old ones.
    world = World([0.5, 0.6, 0.7, 3.0, 2.0, 5.0], redrawn=[1.5, 9.0])
    curated, verdicts = world.cull("regenerate", tries=2)
    assert {v.replaced_by for v in verdicts[3:]} == {"cell/regenerated-1/b/000"}
    assert [(r.id, r.parents) for r in curated.records[3:]] == [
        ("cell/regenerated-1/b/000", ()),
        ("cell/curated/b/001", ("cell/regenerated-1/b/000",)),
        ("cell/curated/b/002", ("cell/regenerated-1/b/000",)),
    ]


def test_dropping_leaves_slots_empty():
    curated, verdicts = World(SOME).cull("drop")
    assert [r.slot for r in curated.records] == ["a/000", "a/002", "b/001"]
    assert {v.replaced_by for v in verdicts} == {""}


def test_when_everything_is_culled_and_nothing_stands_in_the_error_says_what_to_change():
    world = World([3.0, 2.5, 4.0, 3.0, 3.0, 3.0])
    with pytest.raises(
        UserError,
        match=r"cell: every image was culled: the least SIFID is 2.5, the threshold 1. .*`pair`, or `replacement: regenerate`",
    ):
        world.cull("drop")


@pytest.mark.parametrize("replacement", ["regenerate", "duplicate_kept"])
def test_a_model_that_has_collapsed_altogether_goes_on_from_the_best_of_each_group(replacement, caplog):
    """It is what experiments are about, and must not end them; that so few images are left, the table says."""
    curated, verdicts = World([3.0, 2.5, 4.0, 3.0, 3.5, 3.2], redrawn=[9.0] * 4).cull(replacement)
    assert [v.replaced_by for v in verdicts] == ["generated/a/001"] * 3 + ["generated/b/000"] * 3
    assert not any(v.kept for v in verdicts)
    assert len(curated.records) == 6
    assert "no image of 2 of 2 groups was accepted" in caplog.text


def test_a_control_treats_just_the_slots_that_are_mixed_in(tmp_path):
    real = records(per_group=5)
    path = tmp_path / "set.parquet"
    write_image_set(path, pictures(10), real)
    treated = read_treated(path, real, "40", 3)
    assert {record.slot for record in treated.records} == generated_slots("40", real, 3)
    assert len(treated.records) == 4
