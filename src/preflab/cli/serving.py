"""`serve-engine`: install a vLLM server for the engine `vllm`, and run it."""

from __future__ import annotations

import json
import os
import signal
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from preflab.cli.model_places import model_place
from preflab.cli.speaking import DEFAULT_RECIPE, RecipeOption, SetOption, WorkspaceOption
from preflab.errors import PreflabError

if TYPE_CHECKING:
    from preflab.serving.server import ServerOptions


def add_to(app: typer.Typer) -> None:
    """Register the command."""
    short = "Run, or install, a vLLM server to sample from."
    app.command("serve-engine", help=serve_engine.__doc__, short_help=short)(serve_engine)


def serve_engine(
    model: Annotated[
        str | None, typer.Argument(help="The run's starting model: a stage, a folder, or a Hub id.", metavar="MODEL")
    ] = None,
    install: Annotated[bool, typer.Option("--install", help="Install vLLM into an environment of its own.")] = False,
    folder: Annotated[
        Path | None, typer.Option("--folder", help="Folder of the environment.", show_default="~/.cache/preflab/vllm")
    ] = None,
    package: Annotated[
        str | None, typer.Option("--package", help="With --install: another requirement, or a wheel.")
    ] = None,
    pip_option: Annotated[
        list[str] | None, typer.Option("--pip-option", help="With --install: an option for pip. May be repeated.")
    ] = None,
    port: Annotated[int, typer.Option("--port", help="Port on 127.0.0.1.", min=1, max=65535)] = 8000,
    lora_rank: Annotated[int, typer.Option("--lora-rank", help="Largest adapter rank; 0: full weights.", min=0)] = 64,
    sampling_masks: Annotated[
        bool, typer.Option("--sampling-masks", help="Give the ids that top-k and top-p keep; needs a GPU and top_k.")
    ] = False,
    sleep: Annotated[bool, typer.Option("--sleep", help="Allow device.vllm.sleep; needs a GPU.")] = False,
    weight_transfer: Annotated[
        bool,
        typer.Option(
            "--weight-transfer",
            help="Read all weights from the trainer's GPU memory; needs a GPU and --lora-rank 0. Every program on this "
            "machine that reaches the port can then run code as the server.",
        ),
    ] = False,
    dtype: Annotated[str, typer.Option("--dtype", help="Number format of the server, such as bfloat16.")] = "auto",
    max_length: Annotated[
        int | None, typer.Option("--max-length", help="Longest prompt plus completion, in tokens.", min=2)
    ] = None,
    memory: Annotated[float, typer.Option("--memory", help="Share of the GPU's memory.", min=0.01, max=1.0)] = 0.3,
    recipe: RecipeOption = DEFAULT_RECIPE,
    overrides: SetOption = None,
    workspace: WorkspaceOption = None,
) -> None:
    """Run a vLLM server for `device: {engine: vllm}`, on this machine only, until it is interrupted.

    `--install` makes its environment first: vLLM pins other versions of torch and transformers than preflab. The server
    gets new weights from the training run, so it must serve the run's starting model.
    """
    from preflab.serving.environment import CPU, default_folder, fitting_build, is_installed, python_of
    from preflab.serving.server import ServerOptions

    place = folder or default_folder()
    build = fitting_build()
    if (package or pip_option) and not install:
        raise PreflabError("--package or --pip-option without --install", "an installation", "add --install")
    _refuse_without_gpu(
        {"--weight-transfer": weight_transfer, "--sampling-masks": sampling_masks, "--sleep": sleep}, build is CPU
    )
    if weight_transfer and lora_rank:
        raise PreflabError(
            f"--weight-transfer with --lora-rank {lora_rank}",
            "a server of all weights (--lora-rank 0); adapters are small and go through files",
            "add --lora-rank 0",
        )
    served = None if model is None else _servable(str(model_place(model, recipe, overrides or [], workspace)))
    if install:
        _install(place, package, pip_option or [])
        if served is None:
            return
    if served is None:
        raise PreflabError("no model is named", "MODEL, or --install", "name the starting model of your run")
    if not is_installed(place):
        raise PreflabError(
            f"{place}: no environment with vLLM",
            f"one that `preflab serve-engine --install` has made ({build.requirement}: {build.size})",
            "install it: `preflab serve-engine --install" + (f" --folder {folder}`" if folder else "`"),
        )
    options = ServerOptions(
        model=served,
        port=port,
        lora_rank=lora_rank or None,
        masks=sampling_masks,
        sleeps=sleep,
        transfers=weight_transfer,
        dtype=dtype,
        max_length=max_length,
        memory=memory,
        on_cpu=build is CPU,
    )
    _serve(python_of(place), options)


def _refuse_without_gpu(options: dict[str, bool], on_cpu: bool) -> None:
    """Refuse options that vLLM's build for CPUs does not have.

    Raises:
        PreflabError: one of them was given on a machine without a GPU.
    """
    for name in [name for name, given in options.items() if given and on_cpu]:
        raise PreflabError(f"{name} on a machine without a GPU", "an NVIDIA GPU", f"leave {name} out")


def _install(place: Path, package: str | None, pip_options: list[str]) -> None:
    from preflab.serving.environment import fitting_build, install, is_installed

    if is_installed(place) and package is None:
        print(f"{place}: vLLM is installed")
        return
    build = fitting_build()
    if package is None:
        print(f"{build.requirement}: {build.note}")
        print(f"downloads: {build.size}")
    print(f"installs {package or build.requirement} in {place}", flush=True)
    version = install(place, package or build.requirement, pip_options)
    print(f"vLLM {version} is installed; start it with `preflab serve-engine MODEL`")


def _serve(python: Path, options: ServerOptions) -> None:
    from preflab.serving.server import running, server_command, server_environment

    with tempfile.NamedTemporaryFile(prefix="preflab-vllm-", suffix=".log", delete=False) as file:
        log = Path(file.name)
    print(f"starts vLLM with {options.model}; log: {log}", flush=True)
    environment = server_environment(os.environ, on_cpu=options.on_cpu, transfers=options.transfers)
    signal.signal(signal.SIGTERM, _interrupt)
    with running(server_command(python, options), options.url, environment, log) as process:
        print(f"healthy: {options.url}")
        print(f"in the recipe: device: {{engine: vllm, vllm: {{url: {options.url}}}}}")
        print("interrupt with Ctrl-C to stop it", flush=True)
        code = process.wait()
        raise PreflabError(f"the server ended with code {code}", "a server that runs", f"read its log: {log}")


def _interrupt(*_: object) -> None:
    raise KeyboardInterrupt


def _servable(place: str) -> str:
    """A model that vLLM can open.

    Raises:
        PreflabError: the folder holds an adapter, no model, or an encoder–decoder.
    """
    if not Path(place).is_dir():
        return place
    files = {path.name for path in Path(place).iterdir()}
    if "config.json" in files and "adapter_config.json" not in files:
        _refuse_encoder_decoder(place)
        return place
    raise PreflabError(
        f"{place}: {'an adapter' if 'adapter_config.json' in files else 'no config.json'}",
        "a whole model, in Hugging Face's format",
        "write one with `preflab export model MODEL FOLDER`, then serve FOLDER and name it as the run's model",
    )


def _refuse_encoder_decoder(folder: str) -> None:
    try:
        config = json.loads((Path(folder) / "config.json").read_text(encoding="utf-8"))
    except ValueError as error:
        raise PreflabError(f"{folder}: config.json cannot be read ({error})", "JSON", "correct the file") from error
    if isinstance(config, dict) and config.get("is_encoder_decoder"):
        raise PreflabError(
            f"{folder}: an encoder–decoder", "a decoder: vLLM serves no other models of text", "leave out device.engine"
        )
