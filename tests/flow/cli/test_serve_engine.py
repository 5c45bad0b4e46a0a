"""`preflab serve-engine`: what it refuses, how it starts a server, waits for it, shows its log and stops it."""

from __future__ import annotations

import os
import socket
import sys
from pathlib import Path

import httpx
import pytest

from preflab.cli import run_command
from preflab.errors import PreflabError
from preflab.serving import environment
from preflab.serving.server import ServerOptions, last_lines, running, server_command, server_environment

HEALTHY = """
import http.server, subprocess, sys
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
print("child", child.pid, flush=True)
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200); self.end_headers()
http.server.HTTPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
"""


def free_port() -> int:
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        port: int = server.getsockname()[1]
        return port


def lives(pid: int) -> bool:
    """Whether a process runs; a zombie does not."""
    status = Path(f"/proc/{pid}/status")
    return status.exists() and "State:\tZ" not in status.read_text(encoding="utf-8")


def failing(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    with pytest.raises(SystemExit) as caught:
        run_command(["serve-engine", *words])
    assert caught.value.code == 2
    return capsys.readouterr().err


def test_without_an_environment_it_says_what_to_install(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    said = failing(capsys, "model", "--folder", str(tmp_path / "none"))
    assert "preflab serve-engine --install" in said
    assert "GB" in said


def test_without_a_model_it_asks_for_one(capsys: pytest.CaptureFixture[str]) -> None:
    assert "no model is named" in failing(capsys)


def test_failed_installation_shows_what_pip_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ("--install", "--folder", str(tmp_path / "new"), "--pip-option", "--no-index", "--package", "no-such-thing")
    said = failing(capsys, *words)
    assert "No matching distribution found for no-such-thing" in said
    assert "run the command again with a network" in said
    assert not environment.is_installed(tmp_path / "new")


def test_folder_with_other_files_is_left_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "thesis.txt").write_text("mine", encoding="utf-8")
    assert "has files in it" in failing(capsys, "--install", "--folder", str(tmp_path))
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


@pytest.mark.parametrize("place", ["thesis.txt", "thesis.txt/new"])
def test_a_folder_that_cannot_be_made_is_no_fault_of_the_network(
    place: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "thesis.txt").write_text("mine", encoding="utf-8")
    said = failing(capsys, "--install", "--folder", str(tmp_path / place))
    assert "cannot be made" in said
    assert "name another one with --folder" in said
    assert "network" not in said
    assert (tmp_path / "thesis.txt").read_text(encoding="utf-8") == "mine"


def test_a_missing_environment_is_installed_where_it_was_looked_for(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    said = failing(capsys, "model", "--folder", str(tmp_path / "none"))
    assert f"preflab serve-engine --install --folder {tmp_path / 'none'}" in " ".join(said.split())


def test_installation_says_what_it_downloads(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[tuple[Path, str]] = []

    def install(folder: Path, requirement: str, options: list[str]) -> str:
        asked.append((folder, requirement))
        return "0.0"

    monkeypatch.setattr(environment, "install", install)
    monkeypatch.setattr(environment, "fitting_build", lambda: environment.GPU)
    assert run_command(["serve-engine", "--install", "--folder", str(tmp_path / "new")]) == 0
    assert asked == [(tmp_path / "new", "vllm==0.33.0")]
    said = capsys.readouterr().out
    assert "downloads: a wheel of 336 MB" in said
    assert str(tmp_path / "new") in said


def test_adapter_is_not_served(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "env").mkdir()
    (tmp_path / "env" / "preflab-complete").touch()
    (tmp_path / "adapter").mkdir()
    (tmp_path / "adapter" / "adapter_config.json").write_text("{}", encoding="utf-8")
    said = failing(capsys, str(tmp_path / "adapter"), "--folder", str(tmp_path / "env"))
    assert "an adapter" in said
    assert "preflab export model" in said


@pytest.mark.parametrize(("rank", "served"), [(1, "1"), (9, "16"), (64, "64"), (400, "512")])
def test_rank_is_rounded_up_to_one_that_vllm_has(rank: int, served: str) -> None:
    words = server_command(Path("env/bin/python"), ServerOptions("m", lora_rank=rank))
    assert words[words.index("--max-lora-rank") + 1] == served


def test_larger_ranks_are_refused() -> None:
    with pytest.raises(PreflabError, match="513"):
        server_command(Path("python"), ServerOptions("m", lora_rank=513))


def test_server_listens_on_this_machine_only_and_gives_sampled_log_probabilities() -> None:
    words = server_command(Path("env/bin/python"), ServerOptions("m", port=8123, lora_rank=None, masks=True))
    text = " ".join(words)
    assert text.startswith("env/bin/vllm serve m --host 127.0.0.1 --port 8123")
    for part in ("--enable-scale-out", "--logprobs-mode processed_logprobs", "--return-sampling-mask"):
        assert part in text
    assert "lora" not in text
    assert "--enable-sleep-mode" not in text


def test_environment_enables_updates_and_leaves_python_out() -> None:
    made = server_environment({"PATH": "/bin", "PYTHONPATH": "src", "VIRTUAL_ENV": ".venv"}, on_cpu=False)
    assert made == {
        "PATH": "/bin", "VLLM_SERVER_DEV_MODE": "1", "VLLM_ALLOW_RUNTIME_LORA_UPDATING": "1",
        "VLLM_NO_USAGE_STATS": "1", "DO_NOT_TRACK": "1",
    }  # fmt: skip


def test_weight_transfer_is_enabled_for_all_weights_alone() -> None:
    words = server_command(Path("env/bin/python"), ServerOptions("m", lora_rank=None, transfers=True))
    assert words[words.index("--weight-transfer-config") + 1] == '{"backend": "ipc"}'
    assert "--weight-transfer-config" not in server_command(Path("env/bin/python"), ServerOptions("m"))
    made = server_environment({}, on_cpu=False, transfers=True)
    assert made["VLLM_ALLOW_INSECURE_SERIALIZATION"] == "1"


@pytest.mark.parametrize(("build", "words"), [("CPU", ["--lora-rank", "0"]), ("GPU", [])])
def test_weight_transfer_needs_a_gpu_and_all_weights(
    build: str, words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(environment, "fitting_build", lambda: getattr(environment, build))
    monkeypatch.setattr(environment, "is_installed", lambda place: True)
    said = failing(capsys, "OWNER/NAME", "--weight-transfer", *words)
    assert ("without a GPU" if build == "CPU" else "--lora-rank 64") in said
    assert ("leave --weight-transfer out" if build == "CPU" else "add --lora-rank 0") in said


@pytest.mark.parametrize("option", ["--weight-transfer", "--sampling-masks", "--sleep"])
def test_wrong_options_are_refused_before_anything_is_downloaded(
    option: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(environment, "fitting_build", lambda: environment.CPU)
    monkeypatch.setattr(environment, "install", lambda *_: pytest.fail("the installation has begun"))
    words = ["OWNER/NAME", "--install", "--folder", str(tmp_path / "env"), "--lora-rank", "0", option]
    assert f"{option} on a machine without a GPU" in failing(capsys, *words)


@pytest.mark.parametrize(
    ("config", "found"), [('{"is_encoder_decoder": true}', "an encoder–decoder"), ("{", "config.json cannot be read")]
)
def test_folders_that_vllm_cannot_serve_are_refused(
    config: str, found: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "config.json").write_text(config, encoding="utf-8")
    assert found in failing(capsys, str(tmp_path), "--folder", str(tmp_path / "none"))


@pytest.mark.parametrize("words", [["--package", "vllm==0.30.0"], ["--pip-option", "--pre"]])
def test_options_of_the_installation_need_it(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert "--package or --pip-option without --install" in failing(capsys, "OWNER/NAME", *words)


def test_server_and_its_workers_end_with_the_block(tmp_path: Path) -> None:
    port, log = free_port(), tmp_path / "log"
    url = f"http://127.0.0.1:{port}"
    with running([sys.executable, "-c", HEALTHY, str(port)], url, os.environ, log) as process:
        assert httpx.get(f"{url}/health").status_code == 200
        child = int(last_lines(log).split("child")[1].split()[0])
        assert lives(child)
        with pytest.raises(PreflabError, match="answers already"), running([], url, {}, log):
            pass
    assert process.poll() is not None
    assert not lives(child)


def test_server_that_fails_shows_the_end_of_its_log(tmp_path: Path) -> None:
    code = "print('\\n'.join(f'line {n}' for n in range(40))); raise SystemExit('no memory left')"
    with (
        pytest.raises(PreflabError) as caught,
        running([sys.executable, "-c", code], f"http://127.0.0.1:{free_port()}", os.environ, tmp_path / "log"),
    ):
        pass
    assert "ended with code 1" in caught.value.found
    assert "no memory left" in caught.value.found
    assert "line 39" in caught.value.found
    assert "line 3\n" not in caught.value.found
    assert str(tmp_path / "log") in caught.value.do
