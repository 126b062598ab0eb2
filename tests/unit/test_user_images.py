"""Pictures of users: one right value for every depth, mode and format, and one line for what cannot be read."""

import io
import struct

import numpy as np
import pytest
from nepotism.data.user_images import ImageError, read_rgb
from PIL import Image, ImageCms


def written(image, form, **options):
    buffer = io.BytesIO()
    image.save(buffer, form, **options)
    return buffer.getvalue()


def shown(data, place=(0, 0), **options):
    picture = read_rgb(data, "a picture", **options)
    assert picture.mode == "RGB"
    return picture.getpixel(place)


def grey(values, kind):
    return Image.fromarray(np.array([values], kind))


def tiff(bits, samples, white_is_zero=False, sample_format=1, order="<"):
    """A TIFF of one row of greys, as other programs write it; 12 bits are packed two in three bytes."""
    if bits == 12:
        data = b"".join(bytes([a >> 4, (a & 15) << 4 | b >> 8, b & 255]) for a, b in zip(samples[::2], samples[1::2]))
    else:
        kind = {(16, 1): "H", (16, 2): "h", (32, 1): "I", (32, 2): "i", (32, 3): "f"}[bits, sample_format]
        data = struct.pack(f"{order}{len(samples)}{kind}", *samples)
    tags = {
        256: len(samples), 257: 1, 258: bits, 259: 1, 262: 0 if white_is_zero else 1, 273: 8, 277: 1, 278: 1, 279: len(data),
        339: sample_format,
    }  # fmt: skip
    start = 8 + len(data) + len(data) % 2
    head = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(order + "I", start)
    entries = b"".join(struct.pack(order + "HHII", tag, 4, 1, value) for tag, value in tags.items())
    return head + data.ljust(start - 8, b"\0") + struct.pack(order + "H", len(tags)) + entries + bytes(4)


@pytest.mark.parametrize("form", ["PNG", "TIFF", "JPEG2000"])
def test_greys_of_16_bits_have_the_range_of_their_type_however_dark_the_picture_is(form):
    data = written(grey([0, 2570, 40_000, 65_535], np.uint16), form)
    assert [shown(data, (x, 0))[0] for x in range(4)] == [0, 10, 156, 255]
    dark = written(grey([100, 200, 255, 255], np.uint16), form)
    assert [shown(dark, (x, 0))[0] for x in range(4)] == [0, 1, 1, 1]


def test_what_programs_write_into_tiff_is_scaled_by_its_declared_depth():
    assert shown(tiff(12, [2048, 4095]), (0, 0)) == (128,) * 3
    assert shown(tiff(12, [2048, 4095]), (1, 0)) == (255,) * 3
    assert shown(tiff(16, [40_000, 0], order=">"), (0, 0)) == (156,) * 3
    assert shown(tiff(16, [65_535, 0], white_is_zero=True), (0, 0)) == (0,) * 3
    assert shown(tiff(16, [65_535, 0], white_is_zero=True), (1, 0)) == (255,) * 3
    assert shown(tiff(32, [0.25, 1], sample_format=3)) == (64,) * 3


def test_portable_greymaps_are_scaled_by_their_own_maximum():
    assert shown(b"P5 1 1 65535\n" + (40_000).to_bytes(2)) == (156,) * 3
    assert shown(b"P5 1 1 4095\n" + (2048).to_bytes(2)) == (128,) * 3


def test_floats_from_0_to_1_are_shares_of_white_and_others_are_refused():
    data = written(grey([0, 0.25, 0.5, 1], np.float32), "TIFF")
    assert [shown(data, (x, 0))[0] for x in range(4)] == [0, 64, 128, 255]
    for values, told in (
        [[0.5, 200], "but are 0.5 to 200"],
        [[-0.1, 1], "but are -0.1 to 1"],
        [[np.nan, 1], "no numbers"],
    ):
        with pytest.raises(
            ImageError, match=rf"should be 0 to 1, {'but are some that are ' * (told == 'no numbers')}{told}"
        ):
            read_rgb(written(grey(values, np.float32), "TIFF"), "a picture")


@pytest.mark.parametrize(
    ("data", "kind"),
    [
        (tiff(32, [40_000], sample_format=1), "32 bits"),
        (tiff(32, [40_000], sample_format=2), "32 bits with a sign"),
        (tiff(16, [12_000], sample_format=2), "16 bits with a sign"),
    ],
)
def test_whole_numbers_whose_white_no_one_knows_are_refused(data, kind):
    with pytest.raises(ImageError, match=f"whole numbers of {kind} do not tell which is white"):
        read_rgb(data, "a picture")


RED_ORANGE = (200, 60, 20)


@pytest.mark.parametrize("form", ["PNG", "TIFF", "BMP", "WEBP", "PPM", "JPEG", "AVIF"])
def test_colours_of_8_bits_stay_as_they_are(form):
    options = {"lossless": True} if form == "WEBP" else {"quality": 100}
    data = written(Image.new("RGB", (16, 16), RED_ORANGE), form, **options)
    assert shown(data, (8, 8)) == pytest.approx(RED_ORANGE, abs=3 if form in ("JPEG", "AVIF") else 0)


def test_black_and_white_palettes_and_greys_have_their_colours():
    for form in ("PNG", "TIFF", "BMP"):
        data = written(Image.fromarray(np.array([[False, True]])), form)
        assert [shown(data, (x, 0)) for x in range(2)] == [(0, 0, 0), (255, 255, 255)]
        palette = Image.new("RGB", (2, 1), RED_ORANGE).quantize(4)
        assert shown(written(palette, form)) == RED_ORANGE
        assert shown(written(grey([77, 78], np.uint8), form), (1, 0)) == (78, 78, 78)
    assert shown(written(Image.new("RGB", (2, 1), RED_ORANGE), "GIF")) == RED_ORANGE


HALF = (200, 60, 20, 51)
# A fifth of it, on white.
ON_WHITE = (244, 216, 208)


@pytest.mark.parametrize("form", ["PNG", "TIFF", "WEBP"])
def test_transparent_pixels_lie_on_white(form):
    options = {"lossless": True, "exact": True} if form == "WEBP" else {}
    assert shown(written(Image.new("RGBA", (4, 4), HALF), form, **options)) == pytest.approx(ON_WHITE, abs=1)
    assert shown(written(Image.new("RGBA", (4, 4), (0, 0, 0, 0)), form, **options)) == (255, 255, 255)
    assert shown(written(Image.new("LA", (4, 4), (55, 51)), form, **options)) == pytest.approx((215,) * 3, abs=1)


def test_transparent_entries_of_palettes_and_single_transparent_colours_lie_on_white():
    palette = Image.new("P", (2, 1))
    palette.putpalette([0, 0, 0, 200, 60, 20])
    palette.putpixel((1, 0), 1)
    for form in ("PNG", "GIF"):
        data = written(palette, form, transparency=0)
        assert [shown(data, (x, 0)) for x in range(2)] == [(255, 255, 255), RED_ORANGE]
    assert shown(written(Image.new("PA", (2, 2), (0, 0)), "TIFF")) == (255, 255, 255)
    assert shown(written(Image.new("RGB", (2, 2), RED_ORANGE), "PNG", transparency=RED_ORANGE)) == (255, 255, 255)
    deep = written(grey([40_000, 20_000], np.uint16), "PNG", transparency=40_000)
    assert [shown(deep, (x, 0))[0] for x in range(2)] == [255, 78]


def test_without_a_background_transparent_pixels_are_refused_and_opaque_ones_are_not():
    with pytest.raises(ImageError, match="it has transparent pixels"):
        read_rgb(written(Image.new("RGBA", (2, 2), HALF), "PNG"), "a picture", background=None)
    assert shown(written(Image.new("RGBA", (2, 2), (*RED_ORANGE, 255)), "PNG"), background=None) == RED_ORANGE


def test_colour_spaces_of_print_and_video_are_converted():
    assert shown(written(Image.new("CMYK", (8, 8), (0, 255, 255, 0)), "TIFF")) == (255, 0, 0)
    assert shown(written(Image.new("CMYK", (8, 8), (0, 255, 255, 0)), "JPEG", quality=100)) == pytest.approx(
        (255, 0, 0), abs=3
    )
    video = Image.new("RGB", (8, 8), RED_ORANGE).convert("YCbCr")
    assert shown(written(video, "TIFF")) == pytest.approx(RED_ORANGE, abs=3)
    profiles = (ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB"), "RGB", "LAB")
    lab = ImageCms.applyTransform(Image.new("RGB", (8, 8), RED_ORANGE), ImageCms.buildTransform(*profiles))
    assert shown(written(lab, "TIFF")) == pytest.approx(RED_ORANGE, abs=3)


@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP", "TIFF"])
def test_pictures_are_turned_upright(form):
    wide = Image.new("RGB", (40, 20), "red")
    wide.paste("blue", (0, 0, 40, 10))
    exif = wide.getexif()
    exif[0x0112] = 6  # the camera was turned: shown, the picture's left side is at the top
    picture = read_rgb(written(wide, form, exif=exif), "a picture")
    assert picture.size == (20, 40)
    assert picture.getpixel((3, 20))[0] > 200 > 60 > picture.getpixel((3, 20))[2]
    assert picture.getpixel((16, 20))[2] > 200


def test_deep_greys_are_turned_too():
    image = grey([0, 65_535], np.uint16)
    exif = image.getexif()
    exif[0x0112] = 3
    picture = read_rgb(written(image, "PNG", exif=exif), "a picture")
    assert [picture.getpixel((x, 0))[0] for x in range(2)] == [255, 0]


@pytest.mark.parametrize("form", ["GIF", "PNG", "WEBP", "TIFF"])
def test_of_an_animation_the_first_frame_is_taken_and_that_is_said(form, caplog):
    frames = [Image.new("RGB", (8, 8), colour) for colour in ("red", "blue")]
    picture = read_rgb(written(frames[0], form, save_all=True, append_images=frames[1:]), "two.gif")
    assert picture.getpixel((4, 4)) == pytest.approx((255, 0, 0), abs=3)
    assert "two.gif: it has several frames or pages; the first is taken" in caplog.text
    caplog.clear()
    read_rgb(written(frames[0], form), "one.gif")
    assert caplog.text == ""


@pytest.mark.parametrize("form", ["PNG", "TIFF", "JPEG", "WEBP", "GIF", "BMP"])
def test_a_cut_file_is_one_line(form, tmp_path):
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8))
    data = written(noise, form)
    (tmp_path / "cut").write_bytes(data[: int(0.9 * len(data))])
    with pytest.raises(ImageError) as caught:
        read_rgb(tmp_path / "cut", "cut")
    assert "\n" not in str(caught.value)


def test_what_is_no_picture_is_told(tmp_path, monkeypatch):
    with pytest.raises(ImageError, match="there is no such file"):
        read_rgb(tmp_path / "nowhere.png", "nowhere.png")
    with pytest.raises(ImageError, match="it has no format that Pillow knows"):
        read_rgb(b"no image", "a picture")
    (tmp_path / "pointer.png").write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n")
    for source in (tmp_path / "pointer.png", (tmp_path / "pointer.png").read_bytes()):
        with pytest.raises(
            ImageError, match="it is a Git LFS pointer, not the file itself; fetch that with `git lfs pull`"
        ):
            read_rgb(source, "a picture")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 10)
    with pytest.raises(ImageError, match=r"it has more than 20 pixels; make it smaller"):
        read_rgb(written(Image.new("RGB", (5, 5)), "PNG"), "a picture")
