"""Which box this machine can have, and what can be seen from inside of one. Needs no torch.

    bubblewrap   namespaces around the zygote: it sees the interpreter, torch and the inside of this package,
                 read-only; no course, no home, no /proc but cpuinfo, no network, an empty environment, no capability
    landlock     no wall around the zygote; the child's own confinement (inside/confine.py) holds alone
    none         nothing but rlimits; only by an explicit wish

Enters: the machine, and a wish. Leaves: the name of a box, what a child may read, the command that builds the wall.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path

from autograder.errors import GraderError
from autograder.inside.landlock import landlock_version

BOXES = ("bubblewrap", "landlock", "none")
PACKAGE = Path(__file__).resolve().parent
ENVIRONMENT = {
    "OMP_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "PYTHONHASHSEED": "0",
    "PYTHONDONTWRITEBYTECODE": "1",
    "TORCHINDUCTOR_CACHE_DIR": "/usr",  # torch._dynamo makes its cache folder when imported, unless it exists
    "TMPDIR": "/",  # a library that wants a temporary folder at import finds one that exists, not one to write to
}


# --- which box


def available_boxes() -> list[tuple[str, bool, str]]:
    """Each box with whether this machine can have it, and why or why not; the strongest first."""
    kernel = _confinement()
    bubblewrap = _bubblewrap()
    return [
        (
            "bubblewrap",
            not kernel and not bubblewrap,
            kernel or bubblewrap or "bwrap starts, Landlock and seccomp work",
        ),
        ("landlock", not kernel, kernel or _landlock(landlock_version())),
        ("none", True, "student code runs with your rights: only by --sandbox none"),
    ]


def choose_box(wanted: str = "auto") -> str:
    """The box to use: the strongest for "auto"; raises GraderError where there is none, or not the wanted one."""
    if wanted not in ("auto", *BOXES):
        raise GraderError(f"no box is called {wanted!r}: choose auto, {', '.join(BOXES)}")
    boxes = {name: (usable, why) for name, usable, why in available_boxes()}
    if wanted != "auto":
        usable, why = boxes[wanted]
        if not usable:
            raise GraderError(f"the box {wanted!r} cannot be had here: {why}; see `autograder doctor`")
        return wanted
    for name in ("bubblewrap", "landlock"):
        if boxes[name][0]:
            return name
    raise GraderError(f"no box can be had here: {boxes['landlock'][1]}; --sandbox none runs student code with your rights")


def _landlock(version: int) -> str:
    """What works, and what an older Landlock leaves to the other layers."""
    left = [what for least, what in ((4, "TCP"), (6, "signals and abstract sockets")) if version < least]
    alone = f"; it knows nothing of {' and of '.join(left)}, which seccomp alone holds" if left else ""
    return f"Landlock version {version} and seccomp work{alone}"


def _confinement() -> str:
    """Why a child could not confine itself here, or nothing: tried in a fresh process."""
    code = "from autograder.inside.confine import Limits, confine; confine(Limits(), ['/usr'])"
    command = [sys.executable, "-c", f"import sys; sys.path[:0] = [{str(PACKAGE.parent)!r}]; {code}"]
    tried = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603 - our own interpreter
    return "" if tried.returncode == 0 else f"Landlock or seccomp: {last_line(tried.stderr)}"


def _bubblewrap() -> str:
    """Why bubblewrap does not work here, or nothing."""
    if shutil.which("bwrap") is None:
        return "bwrap is not installed: apt-get install bubblewrap"
    command = [*wall([]), "/usr/bin/env", "true"]
    tried = subprocess.run(command, capture_output=True, text=True, check=False, env={})  # noqa: S603 - bwrap itself
    return "" if tried.returncode == 0 else f"bwrap does not start: {last_line(tried.stderr)}"


def last_line(text: str) -> str:
    """The line of an error output that says what is wrong."""
    return (text.strip().splitlines() or ["no reason given"])[-1]


# --- what the box can see


def readable_paths() -> list[str]:
    """What a child may read: the system's libraries, the interpreter with its packages, the inside of this package."""
    interpreter = {Path(prefix).resolve() for prefix in (sys.prefix, sys.base_prefix)}
    packages = {_home_of("torch"), _home_of("msgspec")}
    own = (PACKAGE / "__init__.py", PACKAGE / "inside")
    system = ("/usr", "/lib", "/lib64", "/bin", "/etc/ld.so.cache", "/dev/null", "/dev/urandom", "/proc/cpuinfo")
    return [*system, *sorted(str(path) for path in {*interpreter, *packages, *own, Path(sys.prefix)})]


GPU_NODES = ("nvidiactl", "nvidia-uvm", "dxg")  # beside a node for each GPU; dxg: WSL
GPU_READABLE = ("/proc/driver/nvidia", "/proc/devices", "/sys/devices/system/node", "/sys/devices/system/memory")
GPU_VARIABLES = ("CUDA_VISIBLE_DEVICES", "LD_LIBRARY_PATH")  # which GPU, and where its driver's library is (Colab)


def gpu_nodes(folder: Path = Path("/dev")) -> list[str]:
    """The device nodes that CUDA reaches a GPU by, of those that are there."""
    numbered = [path for path in folder.glob("nvidia*") if path.name.removeprefix("nvidia").isdigit()]
    named = [folder / name for name in GPU_NODES if (folder / name).exists()]
    return sorted(str(path) for path in (*numbered, *named))


def gpu_variables() -> dict[str, str]:
    """The variables that CUDA reads when it starts, of those that are set."""
    return {name: os.environ[name] for name in GPU_VARIABLES if name in os.environ}


def wants_tf32() -> bool:
    """AUTOGRADER_TF32=1 lets a GPU multiply float32 in TF32, to try whether verdicts stay what they are."""
    return os.environ.get("AUTOGRADER_TF32") == "1"


def gpu_environment() -> dict[str, str]:
    """The environment of a box with a GPU."""
    return {**ENVIRONMENT, **gpu_variables()}


def _home_of(package: str) -> Path:
    """The folder that a package is installed in."""
    spec = find_spec(package)
    if spec is None or spec.origin is None:
        raise GraderError(f"{package} is not installed; run `make setup`")
    return Path(spec.origin).resolve().parent.parent


def refuse_exposed(course: Path) -> None:
    """Raises GraderError where the course lies in a folder that a child may read."""
    for path in readable_paths():
        if course.resolve().is_relative_to(Path(path).resolve()):
            raise GraderError(
                f"the course lies in {path}, which student code can read: move it, for example to your home folder"
            )


def wall(visible: Sequence[str], devices: Sequence[str] = (), environment: Mapping[str, str] = ENVIRONMENT) -> list[str]:
    """The bwrap command in front of the zygote's own; `devices` can be written to, a GPU's nodes and no other."""
    command = [
        "bwrap", "--unshare-all", "--die-with-parent", "--new-session", "--cap-drop", "ALL", "--clearenv",
        "--uid", "65534", "--gid", "65534", "--hostname", "box",
        "--ro-bind", "/usr", "/usr",
        "--dev-bind", "/dev/null", "/dev/null", "--dev-bind", "/dev/urandom", "/dev/urandom",
        "--ro-bind-try", "/proc/cpuinfo", "/proc/cpuinfo", "--ro-bind-try", "/etc/ld.so.cache", "/etc/ld.so.cache",
    ]  # fmt: skip
    for path in ("/lib", "/lib64", "/bin"):
        if os.path.islink(path):
            command += ["--symlink", os.readlink(path), path]
        else:
            command += ["--ro-bind-try", path, path]
    for path in visible:
        if not path.startswith(("/usr/", "/lib", "/bin", "/etc/", "/dev/", "/proc/")) and path != "/usr":
            command += ["--ro-bind", path, path]
    for path in devices:
        command += ["--dev-bind", path, path]
    for path in GPU_READABLE if devices else ():
        command += ["--ro-bind-try", path, path]
    for name, value in environment.items():
        command += ["--setenv", name, value]
    return [*command, "--remount-ro", "/", "--chdir", "/", "--"]
