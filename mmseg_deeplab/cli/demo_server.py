"""A page in the browser: drop a picture, choose network and CRF, compare before and after.

python tools/demo_server.py configs/deeplabv3plus_r101_voc.py CHECKPOINT
python tools/demo_server.py CONFIG CHECKPOINT OTHER_CONFIG OTHER_CHECKPOINT --port 8000

Only this machine reaches the page, unless --host says otherwise.
"""

import argparse
import html
import importlib
import os
import signal
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from PIL import Image

from ..crf.presets import PRESETS
from ..datasets.headers import read_bytes, read_header
from ..errors import UserError, UserImportError, UserOSError
from ..inference import Prediction, init_model, predict
from ..inference.model import Segmentor
from ..inference.readers import PICTURES
from ..progress import progress

AT_ONCE = 4
"""Pictures that are answered at the same time; the next WAITING wait in line."""
WAITING = 100
KEPT = 3600
"""Seconds that uploads and answers stay on the disk."""
NO_CRF = 'none'
COMPARISONS = {'the picture': 'picture', 'the answer without CRF': 'no_crf'}
STYLE = """
.areas table { width: 100%; margin: 0; }
.areas table, .areas tr, .areas td { border: none !important; }
.areas td { padding: 3px 8px 3px 0; }
.areas td.number { text-align: right; font-variant-numeric: tabular-nums; }
.areas i { display: inline-block; width: 1em; height: 1em; margin-right: .6em; vertical-align: -.12em;
  border: 1px solid #8888; }
.areas p { margin: 8px 0 0; }
.areas .problem { border-left: 4px solid #c62828; padding-left: 10px; overflow-wrap: anywhere; }
input[role=combobox] { text-overflow: ellipsis; margin-right: 1.4em; }
"""


def main(argv: list[str] | None = None) -> None:
    """Parse the command line, load the networks, serve the page until it is interrupted."""
    parser = argparse.ArgumentParser(description='Show networks on a page in the browser', allow_abbrev=False)
    parser.add_argument('models', nargs='+', metavar='CONFIG CHECKPOINT', help='one network or several, by pairs')
    parser.add_argument('--device', default='auto', help='cpu, cuda:1, ... (default: a GPU if there is one)')
    parser.add_argument('--host', default='127.0.0.1', help='who reaches it; everyone: 0.0.0.0 (default: %(default)s)')
    parser.add_argument('--port', type=int, help='default: the first that is free from 7860 on')
    parser.add_argument('--max-mib', type=float, default=20, help='size of an upload, at most (default: %(default)s)')
    parser.add_argument(
        '--max-megapixels', type=float, default=16, help='size of a picture, at most (default: %(default)s)'
    )
    args = parser.parse_args(argv)
    if len(args.models) % 2:
        raise UserError(f'{len(args.models)} files are named: give pairs, CONFIG CHECKPOINT CONFIG CHECKPOINT ...')
    for option in ('max_mib', 'max_megapixels'):
        if not getattr(args, option) > 0:
            raise UserError(f'--{option.replace("_", "-")} {getattr(args, option)}: expected more than 0')
    if args.port is not None and not 0 < args.port < 2**16:
        raise UserError(f'--port {args.port}: expected 1 to {2**16 - 1}')
    # Uploads and answers lie where other users of this machine can't look, and go with the page.
    with tempfile.TemporaryDirectory(prefix='demo_server_') as folder:
        os.environ['GRADIO_TEMP_DIR'] = folder
        _gradio()
        with progress('loading the networks', len(args.models) // 2) as advance:
            models = []
            for config, checkpoint in zip(args.models[::2], args.models[1::2], strict=True):
                name = f'{Path(config).stem}, {Path(checkpoint).name}'
                models.append((name, init_model(config, checkpoint, args.device)))
                advance(1)
        page = build_page(models, round(args.max_megapixels * 1e6))
        _serve(page, args.host, args.port, round(args.max_mib * 2**20))


def _serve(page: Any, host: str, port: int | None, max_bytes: int) -> None:
    try:
        _, address, _ = page.launch(
            server_name=host,
            server_port=port,
            max_file_size=max_bytes,
            share=False,
            ssr_mode=False,
            footer_links=[],
            css=STYLE,
            quiet=True,
            prevent_thread_lock=True,
        )
    except OSError as error:
        raise UserOSError(f'no page at --host {host}, port {port or "7860 and on"}: {error}') from error
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # ends it as Ctrl-C does, so that the folder goes
    print(f'the page: {address} (Ctrl-C ends it)', flush=True)
    page.block_thread()


def build_page(models: Sequence[tuple[str, Segmentor]], max_pixels: int) -> Any:
    """The page, a `gradio.Blocks`.

    Args:
        models: Names to choose from, and what `init_model` returns.
        max_pixels: Of a picture; larger ones are refused.

    Raises:
        UserImportError: If gradio is not installed.
    """
    gr = _gradio()
    cleaned = (KEPT // 4, KEPT)  # every so often, what is older
    with gr.Blocks(title='mmseg_deeplab', analytics_enabled=False, delete_cache=cleaned, fill_width=True) as page:
        with gr.Row():
            with gr.Column(scale=1, min_width=300):
                picture = gr.File(label='Drop a picture', file_types=list(PICTURES), height=150)
                choices = [(name, number) for number, (name, _) in enumerate(models)]
                network = gr.Dropdown(choices, value=0, label='Network', filterable=False)
                crf = gr.Dropdown([NO_CRF, *PRESETS], value=NO_CRF, label='Dense CRF', filterable=False)
                left = gr.Radio(list(COMPARISONS.items()), value='picture', label='Compare with')
                areas = gr.HTML(elem_classes='areas')
            with gr.Column(scale=3, min_width=400):
                slider = gr.ImageSlider(
                    label='Before | after', format='jpeg', type='pil', interactive=False, max_height=720
                )

        def show(picture: str | None, network: int, crf: str, left: str) -> tuple:
            if picture is None:
                return None, ''
            try:
                return answer(models[network][1], picture, None if crf == NO_CRF else crf, left == 'no_crf', max_pixels)
            except UserError as error:
                # The folder of uploads is nobody's business.
                problem = str(error).replace(picture, Path(picture).name)
                return None, f'<p class="problem" role="alert">{html.escape(problem)}</p>'

        gr.on(
            [picture.change, network.change, crf.change, left.change],
            show,
            [picture, network, crf, left],
            [slider, areas],
            trigger_mode='always_last',
            concurrency_limit=AT_ONCE,
            api_visibility='private',
        )
    return page.queue(max_size=WAITING)


def answer(
    model: Segmentor, path: str | Path, crf: str | None, beside_no_crf: bool, max_pixels: int
) -> tuple[tuple[Image.Image, Image.Image], str]:
    """What the page shows of a picture. Changes nothing, so that threads may share the model.

    Args:
        model: From `init_model`.
        path: The picture.
        crf: Preset; None leaves the CRF out.
        beside_no_crf: Whether the answer stands beside that without CRF, instead of beside the picture.
        max_pixels: Of the picture.

    Returns:
        The two pictures, and the legend with areas and time as HTML.

    Raises:
        UserError: For a picture that can't be read, or is larger.
    """
    name = Path(path).name
    width, height = read_header(read_bytes(path, 'image'), f'image {name}').size
    if width * height > max_pixels:
        raise UserError(
            f'image {name} has {width} x {height} pixels; this page takes {max_pixels / 1e6:g} million, scale it down'
        )
    begin = time.perf_counter()
    after = predict(model, path, crf)
    seconds = time.perf_counter() - begin
    assert isinstance(after, Prediction)
    before = Image.fromarray(after.image)
    if beside_no_crf:
        plain = predict(model, path)
        assert isinstance(plain, Prediction)
        before = plain.overlay()
    return (before, after.overlay()), legend(after, f'{seconds:.2f} s on {next(model.parameters()).device}')


def legend(prediction: Prediction, remark: str) -> str:
    """Colour, name, share and pixels of each class that occurs, as HTML."""
    colours = dict(zip(prediction.classes, prediction.palette, strict=False))
    rows = [
        f'<tr><td><i style="background: rgb{tuple(map(int, colours[name]))}"></i>{html.escape(name)}</td>'
        f'<td class="number">{pixels / prediction.labels.size:.1%}</td><td class="number">{pixels:,} px</td></tr>'
        for name, pixels in prediction.areas.items()
    ]
    height, width = prediction.labels.shape
    return f'<table>{"".join(rows)}</table><p>{width} x {height} pixels, {html.escape(remark)}</p>'


def _gradio() -> Any:
    try:
        gradio: Any = importlib.import_module('gradio')
    except ImportError as error:
        raise UserImportError("the page needs the package gradio: pip install 'mmseg_deeplab[web]'") from error
    if int(gradio.__version__.partition('.')[0]) < 6:
        raise UserImportError(f"the page needs gradio 6, not {gradio.__version__}: pip install 'mmseg_deeplab[web]'")
    return gradio
