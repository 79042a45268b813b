"""`amct-lite explain`: what is executed of a quantized model, and why it is not faster."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from amct_lite.cli.beside import Beside, beside_options, tell_written
from amct_lite.cli.options import runtime_options, take_runtime

_FILE = click.Path(path_type=Path)


@click.command("explain", short_help="Show what really runs on integers, and why the rest does not.")
@click.argument("model", type=_FILE)
@click.option("--float", "exact", type=_FILE, help="The float model, timed beside it, kernel by kernel.")
@click.option(
    "--input-shape", metavar="NAME:DIMS;…", help="Sizes of open dimensions of the inputs, e.g. 'x:1,3,224,224;ids:1,128'."
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@beside_options("explain.json (of a deploy model explain_deploy.json)")
@runtime_options
def command(
    model: Path,
    exact: Path | None,
    input_shape: str | None,
    as_json: bool,
    output: str | None,
    page: bool,
    **settings: Any,
) -> None:
    """Show what ONNX Runtime executes of MODEL after its optimizations: which layers became integer kernels, why the others
    stayed float, what is left of the conversions between them, and where the time goes. Of a deploy model: which layers hand
    their integers on, and what stands in between elsewhere."""
    from amct_lite.config import parse_input_shapes
    from amct_lite.diagnosis.explain import DeployExplanation, explain

    beside = Beside(output, page)
    beside.check()
    shapes = parse_input_shapes(input_shape) if input_shape else None
    explanation = explain(model, exact, input_shapes=shapes, options=take_runtime(settings))
    suffix = "explain_deploy.json" if isinstance(explanation, DeployExplanation) else "explain.json"
    written = beside.write(suffix, explanation.to_json(), (model, exact))
    if as_json:
        from amct_lite.cli.layout import write_text

        write_text(explanation.to_json())
    else:
        from amct_lite.cli.explain_table import print_explanation

        print_explanation(explanation)
        tell_written(written)
