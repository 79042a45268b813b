"""Options that several commands share, and how their texts become values.

Each group is a decorator that adds the options and a function that takes them out of the command's keyword arguments.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from amct_lite.balance import STRENGTH
from amct_lite.cli import completion

if TYPE_CHECKING:
    from amct_lite.calibration.checkpoint import Checkpoint
    from amct_lite.calibration.images import ImageOptions
    from amct_lite.config import QuantConfig
    from amct_lite.loading import Qdq
    from amct_lite.runtime import RuntimeOptions
    from amct_lite.workers import Workers

F = TypeVar("F", bound=Callable[..., Any])
Settings = dict[str, Any]

_FILE = click.Path(path_type=Path)
TARGETS = ("ascend", "ort", "generic")
"""As `config.values` has them, which help does not wait for."""

_RUNTIME = (
    click.option(
        "--provider",
        "providers",
        multiple=True,
        metavar="NAME",
        shell_complete=completion.one_of(completion.providers),
        help="What runs the float model, such as cuda, rocm, cann or openvino (default: cpu); repeatable, best first.",
    ),
    click.option("--threads", type=click.IntRange(min=0), default=0, help="Threads of ONNX Runtime (0: its own choice)."),
    click.option("--session-config", multiple=True, metavar="KEY=VALUE", help="ONNX Runtime session option; may be repeated."),
    click.option("--custom-ops", multiple=True, type=_FILE, help="Library with custom operators; may be repeated."),
)

_RESUME = (
    click.option("--resume", is_flag=True, help="Go on where an interrupted run of this command was, from its .partial file."),
)

_WORKERS = (
    click.option("--workers", metavar="N", type=click.IntRange(min=1), help="Share the work among N processes."),
    click.option("--cluster", metavar="ADDRESS", help="… among the workers of a Dask scheduler, e.g. tcp://host:8786."),
)

_IMAGES = (
    click.option("--image-size", metavar="N|HxW", help="Images: size in pixels (default: the model's)."),
    click.option("--image-fit", type=click.Choice(["crop", "stretch"]), help="Images: crop the centre, or stretch."),
    click.option("--image-mean", metavar="M,M,M", help="Images: subtracted per channel, after --image-scale."),
    click.option("--image-std", metavar="S,S,S", help="Images: divided by per channel."),
    click.option("--image-scale", type=float, help="Images: pixels 0…255 are multiplied by this first, e.g. 0.00392157."),
    click.option("--image-layout", type=click.Choice(["NCHW", "NHWC"]), help="Images: axes (default: seen from the model)."),
    click.option("--image-color", type=click.Choice(["RGB", "BGR"]), help="Images: channel order."),
)

target_option = click.option(
    "--target",
    type=click.Choice(TARGETS),
    help="What runs the result: ascend (default) and ort (ONNX Runtime on CPUs) get a model of their own.",
)

_QUANTIZATION = (
    click.option(
        "--config",
        "config_file",
        type=_FILE,
        help="Configuration: YAML, TOML, JSON, or AMCT's JSON or .cfg; options given here win.",
    ),
    click.option("--input-shape", metavar="NAME:DIMS;…", help="Static shapes of the inputs, e.g. 'x:1,3,224,224;ids:1,128'."),
    click.option(
        "--algo",
        "algorithm",
        metavar="NAME",
        shell_complete=completion.one_of(completion.range_methods),
        help="How ranges are found: ifmr, hfmg, kl, percentile, minmax or mse.",
    ),
    click.option(
        "--weight-algo",
        "--weight-algorithm",
        "weight_algorithm",
        metavar="NAME",
        shell_complete=completion.one_of(completion.weight_methods),
        help="How weights are quantized: arq or mse find scales, gptq or ada also learn the rounding from samples (ada: slow).",
    ),
    click.option(
        "--bits", type=click.Choice(["4", "8", "16"]), help="Bits of the activations (default: 8; 4 with --weight-bits 4 only)."
    ),
    click.option("--weight-bits", type=click.Choice(["4", "6", "7", "8"]), help="Bits of the weights (default: 8)."),
    click.option("--symmetric", is_flag=True, help="Zero point 0 for all activations."),
    click.option(
        "--channel-wise",
        "per_channel",
        type=click.Choice(["auto", "all", "none"]),
        help="A weight scale a channel: as the target wants, always, never.",
    ),
    click.option("--per-tensor", is_flag=True, help="One scale a weight; the same as --channel-wise none."),
    click.option(
        "--skip",
        multiple=True,
        metavar="NAME|GLOB|TYPE",
        shell_complete=completion.one_of(completion.layers),
        help="Leave these layers in float; may be repeated.",
    ),
    click.option(
        "--tensor",
        "tensors",
        multiple=True,
        metavar="NODE:INDEX",
        shell_complete=completion.one_of(completion.tensors),
        help="Quantize this input of a float node, too, e.g. add1:0, 'block*/add:1' or 'Add:*'; may be repeated.",
    ),
    target_option,
    click.option(
        "--bias-correction",
        type=click.Choice(["none", "analytic", "full", "auto"]),
        help="Take back the mean error of each channel (default: auto: analytic unless full is clearly better).",
    ),
    click.option(
        "--balance",
        type=float,
        is_flag=False,
        flag_value=STRENGTH,
        metavar="[STRENGTH]",
        help=(
            "Move a share of the inputs' ranges into the weights, channel by channel "
            f"(0.2 to 0.8; {STRENGTH} without a number)."
        ),
    ),
    click.option("--balance-fold", is_flag=True, help="Balance without a Mul where the layer in front can take the factors."),
)


def no_model(_context: click.Context, _parameter: click.Parameter, file: Path) -> Path:
    """Callback of an argument that a model comes behind, for who gives them the other way round: the usage shows the order."""
    if file.suffix == ".onnx":
        raise click.BadParameter(f"{file} is a model, which comes behind it.")
    return file


def data_option(*, required: bool = False) -> Callable[[F], F]:
    """--data: what `open_data` takes."""
    return click.option(
        "--data",
        metavar="PATH",
        shell_complete=completion.paths,
        required=required,
        help="Samples: .npz/.npy files or folders, AMCT .bin folders ('d1/;d2/'), images, a loader.py.",
    )


_SOURCE = (
    data_option(),
    click.option(
        "-o",
        "--output",
        metavar="PREFIX",
        shell_complete=completion.paths,
        required=True,
        help="Prefix of what is written, e.g. out/resnet; 'out/' for no prefix.",
    ),
)

_SAMPLES = (
    click.option("--batches", metavar="N", type=click.IntRange(min=1), help="Use so many batches of the data."),
    click.option(
        "--batch-size", metavar="N", type=click.IntRange(min=1), help="Rows of a batch, where one file holds many samples."
    ),
    click.option("--trust-data", is_flag=True, help="Take wild samples into the ranges, too."),
    click.option(
        "--from",
        "statistics",
        type=_FILE,
        help="Decide from a saved calibration (.npz) without running the model; for the target ort, from one made for it.",
    ),
)

_REPORT = (
    click.option("--json", "as_json", is_flag=True, help="Print the report as JSON."),
    click.option("-q", "--quiet", is_flag=True, help="Print warnings and errors only."),
)


_PAGE = (click.option("--report", "page", is_flag=True, help="Also write <prefix>_report.html, one page that holds all."),)


def _group(options: Sequence[Callable[[F], F]]) -> Callable[[F], F]:
    def decorate(function: F) -> F:
        for option in reversed(options):
            function = option(function)
        return function

    return decorate


runtime_options = _group(_RUNTIME)
resume_options = _group(_RESUME)
worker_options = _group(_WORKERS)
image_options = _group(_IMAGES)
quantization_options = _group(_QUANTIZATION)
source_options = _group(_SOURCE)
sample_options = _group(_SAMPLES)
report_options = _group(_REPORT)
page_options = _group(_PAGE)


def take_runtime(settings: Settings) -> RuntimeOptions:
    """The `RuntimeOptions` asked for; its options are removed from `settings`."""
    from amct_lite.runtime import RuntimeOptions

    pairs = []
    for text in settings.pop("session_config"):
        key, separator, value = text.partition("=")
        if not separator:
            raise click.BadParameter(f"{text!r} is not KEY=VALUE", param_hint="--session-config")
        pairs.append((key, value))
    return RuntimeOptions(
        providers=settings.pop("providers") or ("CPUExecutionProvider",),
        threads=settings.pop("threads"),
        custom_op_libraries=tuple(map(str, settings.pop("custom_ops"))),
        session_config=tuple(pairs),
    )


def take_workers(settings: Settings) -> AbstractContextManager[Workers | None]:
    """The workers asked for, to be used as a context; their options are removed from `settings`."""
    count, address = settings.pop("workers"), settings.pop("cluster")
    if count and address:
        raise click.UsageError("--workers and --cluster exclude each other: the work is shared here, or there.")
    if address:
        from amct_lite.cluster import connect

        return _telling(connect(address, partial(click.echo, err=True)))
    if count and count > 1:
        from amct_lite.workers import LocalProcesses

        return _telling(LocalProcesses(count))
    return nullcontext()


@contextmanager
def _telling(workers: Workers) -> Iterator[Workers]:
    """At the end it is said here that workers were lost: what is written does not depend on it."""
    with workers:
        yield workers
    if workers.lost:
        times = "once" if workers.lost == 1 else f"{workers.lost} times"
        click.echo(f"note: a worker was lost {times} (short of memory?); what it was at was done again.", err=True)


def take_checkpoint(settings: Settings, output: str) -> Checkpoint:
    """Where the run saves itself; its option is removed from `settings`. Says so if it begins anew beside a partial file,
    or is to go on where there is none."""
    from amct_lite.calibration.checkpoint import Checkpoint

    checkpoint = Checkpoint(output, resume=settings.pop("resume"), on_resume=_tell_resumed)
    found = checkpoint.found()
    if found and not checkpoint.resume:
        click.echo(f"note: {found[0]} is of an interrupted run; this one begins anew. --resume would go on from it.", err=True)
    if checkpoint.resume and not found:
        click.echo(f"note: there is no {checkpoint.path} to go on from; this run begins anew.", err=True)
    return checkpoint


def _tell_resumed(stage: str, done: int, total: int | None) -> None:
    click.echo(f"note: the pass `{stage}` goes on after batch {done}{f' of {total}' if total else ''}.", err=True)


def take_images(settings: Settings) -> ImageOptions | None:
    """The `ImageOptions` asked for, None when no option was given; its options are removed from `settings`."""
    from amct_lite.calibration.images import ImageOptions

    names = ("size", "fit", "mean", "std", "scale", "layout", "color")
    given = {name: value for name in names if (value := settings.pop(f"image_{name}")) is not None}
    for name in ("mean", "std"):
        if name in given:
            given[name] = _numbers(given[name], f"--image-{name}", ",", float)
    if "size" in given:
        size = _numbers(given["size"], "--image-size", "x", int)
        given["size"] = size * 2 if len(size) == 1 else size
    return ImageOptions(**given) if given else None


def _numbers(text: str, option: str, separator: str, kind: Callable[[str], Any]) -> tuple[Any, ...]:
    try:
        return tuple(kind(part) for part in text.split(separator))
    except ValueError:
        raise click.BadParameter(f"{text!r} is not a list of numbers separated by {separator!r}", param_hint=option) from None


def take_config(settings: Settings, model: Path, *, qdq: Qdq = "refuse") -> QuantConfig:
    """The `QuantConfig` of --config with the options given on the command line on top; removed from `settings`.

    model: what the names in one of AMCT's files are checked against. qdq: how that model is loaded.
    """
    from dataclasses import replace

    from amct_lite.config import Override, QuantConfig, parse_input_shapes

    file = settings.pop("config_file")
    config = QuantConfig()
    if file:
        from amct_lite.public import load_config

        config = load_config(file, model, qdq=qdq)
    if settings.pop("per_tensor"):
        if settings["per_channel"] not in {None, "none"}:
            raise click.UsageError(
                f"--per-tensor and --channel-wise {settings['per_channel']} contradict each other: give one of them."
            )
        settings["per_channel"] = "none"
    if shapes := settings.pop("input_shape"):
        settings["input_shapes"] = parse_input_shapes(shapes)
    settings["skip"] = (*config.skip, *settings.pop("skip"))
    settings["tensors"] = {**dict.fromkeys(settings["tensors"], Override()), **config.tensors}
    for name in ("bits", "weight_bits"):
        settings[name] = int(text) if (text := settings[name]) else None
    if algorithm := settings.pop("algorithm"):
        config = config.with_algorithm(algorithm)
    if weight_algorithm := settings.pop("weight_algorithm"):
        config = config.with_weight_algorithm(weight_algorithm)
    return replace(config, **{name: value for name, value in settings.items() if value is not None and value is not False})
