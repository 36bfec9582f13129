"""Runs containers without an image registry: Debian's podman, and a Debian image with Lambda's runtime client."""

import fcntl
import hashlib
import os
import platform
import shlex
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path

from tests.support.commands import run
from tests.support.lambda_runtime import ROOT

HERE = Path(__file__).parent
GATEWAY = "10.88.0.1"
"""The address of this machine in podman's default network."""
# The Debian release with the Python version of template.yaml.
DEBIAN, PYTHON = "trixie", "3.13"
# Packages that Lambda's image has besides Python.
CLIENTS = ("awslambdaric", "snapshot-restore-py", "simplejson")
_LOCK = Path("/run/orchestrator-local-invoke.lock")
_NOT_NEEDED = ("./dev", "./usr/share/doc", "./usr/share/locale", "./var/cache/apt", "./var/lib/apt/lists")
_START_SECONDS = 30.0
_CONTAINER = "orchestrator-image"


class Podman:
    """Podman with its own configuration and storage; use `alone` to prevent two runs at a time."""

    def __init__(self, folder: Path, cache: Path) -> None:
        """Install podman and configure it.

        Args:
            folder: For the configuration and the service's socket.
            cache: For the images, which are kept between runs.
        """
        self._folder = folder
        self._cache = cache
        run(ROOT / ".ci" / "container-tools", folder, cache)
        self.environment = {
            "CONTAINERS_CONF": str(folder / "containers.conf"),
            "CONTAINERS_STORAGE_CONF": str(folder / "storage.conf"),
            "DOCKER_HOST": f"unix://{folder / 'podman.sock'}",
        }

    def image(self, sam_command: str) -> str:
        """Build the image for functions, or take it from the cache, and return its name.

        Args:
            sam_command: The SAM CLI. Each version needs its own image, because it adds its emulator to an image once.
        """
        clients = [f"{name}=={version(name)}" for name in CLIENTS]
        sources = [(HERE / name).read_bytes() for name in ("Containerfile", "bootstrap", "lambda-entrypoint.sh")]
        digest = hashlib.sha256(repr((DEBIAN, clients, sources, sam_command)).encode()).hexdigest()[:12]
        name = f"localhost/lambda-python-{digest}:{PYTHON}"
        if self._succeeds("image", "exists", name):
            return name
        print(f"building {name}", flush=True)
        context = self._cache / "image"
        context.mkdir(exist_ok=True)
        _make_rootfs(context / "rootfs.tar")
        _install_clients(context / "runtime", clients)
        shutil.copy(HERE / "bootstrap", context / "runtime")
        shutil.copy(HERE / "lambda-entrypoint.sh", context)
        shutil.copy(_emulator(sam_command), context / "aws-lambda-rie")
        self._run("rmi", "--all", "--force")  # images of earlier versions
        self._run("build", "--tag", name, "--file", HERE / "Containerfile", context)
        return name

    def build(self, dockerfile: Path, base: str, context: Path) -> str:
        """Build an image on a base image, and return its name."""
        name = "localhost/orchestrator:latest"
        self._run("build", "--build-arg", f"BASE={base}", "--tag", name, "--file", dockerfile, context)
        return name

    @contextmanager
    def container(self, image: str, variables: Mapping[str, str]) -> Iterator[str]:
        """Run a function's image, and yield the URL at which its emulator takes events."""
        flags = [flag for name, value in variables.items() for flag in ("--env", f"{name}={value}")]
        flags += ["--publish", "127.0.0.1::8080", "--add-host", f"host.docker.internal:{GATEWAY}"]
        try:
            self._run("run", "--detach", "--name", _CONTAINER, *flags, image)
            address, _ = run("podman", "port", _CONTAINER, "8080", environment=self._whole_environment())
            yield f"http://{address.strip()}/2015-03-31/functions/function/invocations"
        finally:
            self._run("rm", "--force", "--ignore", "--time", 0, _CONTAINER)

    @contextmanager
    def service(self) -> Iterator[None]:
        """Serve Docker's API at `DOCKER_HOST`, and remove all containers at the end."""
        command = ["podman", "system", "service", "--time=0", self.environment["DOCKER_HOST"]]
        with (self._folder / "podman.log").open("w") as log:
            process = subprocess.Popen(command, env=self._whole_environment(), stdout=log, stderr=log)
        try:
            self._wait_for(process)
            yield
        finally:
            try:
                self._run("rm", "--all", "--force", "--time", 0)
            finally:
                process.terminate()
                process.wait()

    def _wait_for(self, process: "subprocess.Popen[bytes]") -> None:
        deadline = time.monotonic() + _START_SECONDS
        while process.poll() is None and time.monotonic() < deadline:
            with socket.socket(socket.AF_UNIX) as client:
                if client.connect_ex(str(self._folder / "podman.sock")) == 0:
                    return
            time.sleep(0.1)
        raise RuntimeError("podman's service did not start:\n" + (self._folder / "podman.log").read_text())

    def _run(self, *arguments: object) -> None:
        run("podman", *arguments, environment=self._whole_environment())

    def _succeeds(self, *arguments: str) -> bool:
        try:
            self._run(*arguments)
        except RuntimeError:
            return False
        return True

    def _whole_environment(self) -> dict[str, str]:
        return {**os.environ, **self.environment}


@contextmanager
def alone() -> Iterator[None]:
    """Wait until no other run is in progress, because all of them share podman's network."""
    with _LOCK.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _make_rootfs(archive: Path) -> None:
    if archive.exists():
        return
    folder, unfinished = archive.with_suffix(".d"), archive.with_suffix(".part")
    shutil.rmtree(folder, ignore_errors=True)
    run("debootstrap", "--variant=minbase", "--include=python3", DEBIAN, folder)
    run("tar", "-C", folder, *(f"--exclude={path}" for path in _NOT_NEEDED), "-cf", unfinished, ".")
    shutil.rmtree(folder)
    unfinished.rename(archive)


def _emulator(sam_command: str) -> Path:
    """Return the path of the runtime interface emulator that the SAM CLI has for this machine."""
    *launcher, _ = shlex.split(sam_command)
    script = "import pathlib, samcli; print(pathlib.Path(samcli.__file__).parent / 'local' / 'rapid')"
    folder, _ = run("env", *launcher, "python", "-c", script)
    architecture = {"aarch64": "arm64"}.get(platform.machine(), platform.machine())
    return Path(folder.strip()) / f"aws-lambda-rie-{architecture}"


def _install_clients(folder: Path, clients: list[str]) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    tags = ("--python-version", PYTHON, "--python-platform", f"{platform.machine()}-manylinux_2_28")
    run("uv", "pip", "install", "--quiet", "--target", folder, *tags, "--only-binary", ":all:", "--no-deps", *clients)
