"""Images as calibration data; pixels worked out by hand."""

import sys
from pathlib import Path

import numpy as np
import pytest

from amct_lite.calibration.data import ImageOptions, InputSpec, open_data
from amct_lite.errors import ConfigError, DataError

Image = pytest.importorskip("PIL.Image")

NCHW = InputSpec("x", "float32", ("N", 3, 4, 4))
NHWC = InputSpec("x", "float32", ("N", 4, 4, 3))
RAW = ImageOptions()
COLOR = (10, 20, 30)


def picture(path: Path, color: object = COLOR, size: tuple[int, int] = (4, 4), mode: str = "RGB") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new(mode, size, color).save(path)
    return path


@pytest.mark.parametrize(
    ("spec", "options", "expected"),
    [
        (NCHW, RAW, (10, 20, 30)),
        (NHWC, RAW, (10, 20, 30)),
        (NCHW, ImageOptions(color="BGR"), (30, 20, 10)),
        (NCHW, ImageOptions(mean=(10, 10, 10), std=(1, 2, 4)), (0, 5, 5)),
        (NCHW, ImageOptions(scale=0.1, mean=(1,), std=(2,)), (0, 0.5, 1)),
        (NHWC, ImageOptions(mean=(30, 20, 10), std=(1,), color="BGR"), (0, 0, 0)),
    ],
)
def test_pixels_get_the_layout_colours_and_scale_that_are_asked_for(
    tmp_path: Path, spec: InputSpec, options: ImageOptions, expected: tuple[float, ...]
) -> None:
    array = open_data(picture(tmp_path / "a.png"), [spec], images=options).peek()["x"]
    assert array.dtype == np.float32
    assert array.shape == (1, *spec.shape[1:])
    channels = array[0, :, 0, 0] if spec is NCHW else array[0, 0, 0, :]
    np.testing.assert_allclose(channels, expected, atol=1e-6)  # one float32 rounding a step, values up to 30


def test_images_are_found_in_sub_folders_in_the_order_of_their_paths(tmp_path: Path) -> None:
    for index, name in enumerate(("cat/2.png", "cat/10.bmp", "ant/1.webp", "z.PNG", ".hidden/0.png")):
        picture(tmp_path / name, (index * 10,) * 3)
    (tmp_path / "cat" / "labels.txt").write_text("")
    data = open_data(tmp_path, [NCHW], images=RAW)
    assert [round(float(feeds["x"].mean())) for feeds in data] == [20, 10, 0, 30]
    assert data.description == f"{tmp_path} (4 images)"


def test_linked_folders_are_followed_and_loops_end(tmp_path: Path) -> None:
    picture(tmp_path / "elsewhere" / "a.png")
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "link").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "elsewhere" / "back").symlink_to(tmp_path / "data")
    assert open_data(tmp_path / "data", [NCHW], images=RAW).count == 1


def test_the_centre_is_cut_out_of_a_larger_image(tmp_path: Path) -> None:
    pixels = np.zeros((8, 16, 3), np.uint8)
    pixels[:, 4:12] = 200  # the centre square of a wide image
    Image.fromarray(pixels).save(tmp_path / "a.png")
    options = ImageOptions(crop_fraction=1.0)
    assert open_data(tmp_path, [NCHW], images=options).peek()["x"][0, :, :, 1:3].min() == 200


def test_crop_takes_the_usual_share_of_the_shorter_side(tmp_path: Path) -> None:
    spec = InputSpec("x", "float32", (1, 1, 224, 224))
    ramp = np.tile(np.arange(256, dtype=np.uint8), (256, 1))
    Image.fromarray(ramp).save(tmp_path / "a.png")
    array = open_data(tmp_path, [spec], images=RAW).peek()["x"]
    assert (array.min(), array.max()) == (16, 239)  # 256 → 224: 16 columns go on either side


def test_stretch_keeps_the_whole_image(tmp_path: Path) -> None:
    pixels = np.zeros((8, 16, 3), np.uint8)
    pixels[:, :8] = 200
    Image.fromarray(pixels).save(tmp_path / "a.png")
    array = open_data(tmp_path, [NCHW], images=ImageOptions(fit="stretch")).peek()["x"]
    assert array[0, 0, 0, 0] == 200
    assert array[0, 0, 0, 3] == 0


def test_an_image_of_the_right_size_is_left_alone(tmp_path: Path) -> None:
    pixels = np.arange(48, dtype=np.uint8).reshape(4, 4, 3)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    np.testing.assert_array_equal(open_data(tmp_path, [NHWC], images=RAW).peek()["x"][0], pixels)


def test_gray_models_get_gray_images_and_color_models_color(tmp_path: Path) -> None:
    picture(tmp_path / "a.png", 100, mode="L")
    picture(tmp_path / "b.png", (100, 100, 100, 0), mode="RGBA")
    gray = InputSpec("x", "float32", ("N", 1, 4, 4))
    for spec in (gray, NCHW):
        assert [feeds["x"].mean() for feeds in open_data(tmp_path, [spec], images=RAW)] == [100, 100]


@pytest.mark.parametrize("form", ["folder", "file", "array", "script", "function"])
def test_options_of_images_are_refused_for_arrays_which_they_would_not_change(tmp_path: Path, form: str) -> None:
    array = np.zeros((2, 3, 4, 4), np.float32)
    np.save(tmp_path / "0.npy", array)
    (tmp_path / "loader.py").write_text(
        "import numpy as np\ndef feeds():\n    yield {'x': np.zeros((1, 3, 4, 4), np.float32)}\n"
    )
    sources = {"folder": tmp_path, "file": tmp_path / "0.npy", "array": array, "script": tmp_path / "loader.py"}
    source = sources.get(form, lambda: iter([{"x": array}]))
    open_data(source, [NCHW])
    with pytest.raises(
        ConfigError, match=r"gives arrays, no image files: .* leave out how images become arrays \(--image-mean"
    ):
        open_data(source, [NCHW], images=RAW)


def test_a_model_with_integer_pixels_needs_no_options(tmp_path: Path) -> None:
    picture(tmp_path / "a.png")
    spec = InputSpec("x", "uint8", ("N", 4, 4, 3))
    assert open_data(tmp_path, [spec]).peek()["x"].dtype == np.uint8
    with pytest.raises(ConfigError, match="is uint8: it takes raw pixels"):
        open_data(tmp_path, [spec], images=ImageOptions(scale=0.5))


@pytest.mark.parametrize(("batch", "size", "expected"), [("N", 2, [2, 2, 1]), (2, None, [2, 2]), (5, None, [5])])
def test_images_are_grouped_into_batches(tmp_path: Path, batch: str | int, size: int | None, expected: list[int]) -> None:
    for index in range(5):
        picture(tmp_path / f"{index}.png")
    data = open_data(tmp_path, [InputSpec("x", "float32", (batch, 3, 4, 4))], images=RAW, batch_size=size)
    assert [len(feeds["x"]) for feeds in data] == expected
    assert data.count == len(expected)
    assert ("the last 1 left out" in data.description) == (batch == 2)


def test_normalisation_is_never_guessed(tmp_path: Path) -> None:
    picture(tmp_path / "a.png")
    with pytest.raises(
        ConfigError, match=r"how input 'x' wants its pixels is not known\. Give mean, std and scale: --image-mean"
    ):
        open_data(tmp_path, [NCHW])


@pytest.mark.parametrize(
    ("inputs", "options", "error", "message"),
    [
        ([InputSpec("x", "float32", (1, 3, "H", "W"))], RAW, ConfigError, "leaves the image size open"),
        ([InputSpec("x", "float32", ("N", "a", 4, "b"))], RAW, ConfigError, "Give the layout, NCHW or NHWC"),
        ([InputSpec("x", "float32", (1, 7, 4, 4))], ImageOptions(layout="NCHW"), DataError, "has 7 channels as NCHW"),
        ([InputSpec("x", "float32", (1, 3))], RAW, DataError, "is no image"),
        (
            [NCHW, InputSpec("y", "int64", (1,))],
            RAW,
            DataError,
            "images feed a model with one input, this one has 'x', 'y'",
        ),
        ([NCHW], ImageOptions(mean=(1, 2)), ConfigError, "image mean has 2 values, the model has 3 channels"),
        ([InputSpec("x", "float32", (1, 1, 4, 4))], ImageOptions(mean=(1, 2, 3)), ConfigError, "the model has 1 channel\\."),
        ([NCHW], ImageOptions(size=(5, 5)), DataError, r"shape \(1, 3, 5, 5\) .* expects \(N, 3, 4, 4\)"),
    ],
)
def test_models_and_options_that_do_not_go_together(
    tmp_path: Path, inputs: list[InputSpec], options: ImageOptions, error: type[Exception], message: str
) -> None:
    picture(tmp_path / "a.png")
    with pytest.raises(error, match=message):
        open_data(tmp_path, inputs, images=options).peek()


def test_a_dynamic_size_and_layout_are_taken_from_the_options(tmp_path: Path) -> None:
    picture(tmp_path / "a.png", size=(9, 7))
    spec = InputSpec("x", "float32", (None, None, None, None))
    options = ImageOptions(size=(6, 5), layout="NHWC")
    assert open_data(tmp_path, [spec], images=options).peek()["x"].shape == (1, 6, 5, 3)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"fit": "zoom"}, "image fit is 'zoom'; choose one of crop, stretch"),
        ({"layout": "CHWN"}, "image layout is 'CHWN'"),
        ({"color": "HSV"}, "image color is 'HSV'"),
        ({"size": (0, 4)}, r"image size is \(0, 4\)"),
        ({"crop_fraction": 0}, "image crop_fraction is 0"),
        ({"std": (1, 0, 1)}, "std not 0"),
        ({"mean": (float("nan"),)}, "all must be finite"),
    ],
)
def test_options_that_cannot_be_meant_are_refused(options: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        ImageOptions(**options)  # type: ignore[arg-type]


def test_a_damaged_image_is_named(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(b"not an image")
    with pytest.raises(DataError, match=r"a\.jpg is no readable image: .*Remove or repair it"):
        open_data(tmp_path, [NCHW], images=RAW).peek()


def test_a_cut_off_image_is_named(tmp_path: Path) -> None:
    content = picture(tmp_path / "a.png", size=(64, 64)).read_bytes()
    (tmp_path / "a.png").write_bytes(content[: len(content) // 2])
    with pytest.raises(DataError, match=r"a\.png is no readable image"):
        open_data(tmp_path, [NCHW], images=RAW).peek()


def test_an_image_that_would_fill_the_memory_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    picture(tmp_path / "a.png", size=(64, 64))
    for limit in (3000, 1000):  # Pillow warns above its limit, and raises above twice the limit
        monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", limit)
        with pytest.raises(DataError, match=r"is no readable image: .*decompression bomb"):
            open_data(tmp_path, [NCHW], images=RAW).peek()


def test_more_than_eight_bits_are_not_cut_off_silently(tmp_path: Path) -> None:
    Image.fromarray(np.full((4, 4), 40000, np.uint16)).save(tmp_path / "a.png")
    with pytest.raises(DataError, match="has more than 8 bits a channel"):
        open_data(tmp_path, [NCHW], images=RAW).peek()


def test_a_postscript_file_in_disguise_starts_no_program(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 4 4\n")
    with pytest.raises(DataError, match="is no readable image"):
        open_data(tmp_path, [NCHW], images=RAW).peek()


def test_without_pillow_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    picture(tmp_path / "a.png")
    monkeypatch.setitem(sys.modules, "PIL.Image", None)
    with pytest.raises(ConfigError, match=r"needs Pillow: pip install 'amct-lite\[images\]'"):
        open_data(tmp_path, [NCHW], images=RAW)


ENCODED = InputSpec("file", "uint8", ("bytes",))


def test_a_model_that_decodes_images_itself_gets_their_files(tmp_path: Path) -> None:
    files = [picture(tmp_path / f"{name}.png", size=(4 + number, 4)) for number, name in enumerate("ab")]
    contents = [path.read_bytes() for path in files]
    for source in (tmp_path, contents, [{"file": content} for content in contents]):
        data = open_data(source, [ENCODED])
        assert [feeds["file"].tobytes() for feeds in data] == contents
        assert data.samples == 2
    assert open_data(files[0], [ENCODED]).peek()["file"].tobytes() == contents[0]


def test_how_images_become_arrays_is_refused_where_the_model_decodes_them(tmp_path: Path) -> None:
    picture(tmp_path / "a.png")
    with pytest.raises(ConfigError, match=r"input 'file' \(bytes,\) takes the bytes of image files.* Leave out .*--image-mean"):
        open_data(tmp_path, [ENCODED], images=RAW)


def test_bytes_are_no_numbers_of_another_type() -> None:
    with pytest.raises(DataError, match=r"input 'x' is \|S3 in batch 0"):
        open_data([{"x": b"123"}], [InputSpec("x", "float32", ("length",))]).peek()
