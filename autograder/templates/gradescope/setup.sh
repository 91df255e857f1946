#!/usr/bin/env bash
# Gradescope runs this once, as root, when it builds the image: Python, the engine's requirements, a box.
set -euo pipefail
source="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"
root="$(dirname "$source")"
venv="$root/venv" # beside the course, not above it: student code can read the interpreter's folder

is_new_enough() { command -v "$1" >/dev/null && "$1" -c 'import ensurepip, sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; }

find_python() {
    for name in python3.13 python3.12 python3.11 python3; do
        if is_new_enough "$name"; then
            echo "$name"
            return
        fi
    done
}

install() { apt-get install --yes --no-install-recommends "$@"; }

if [ ! -x "$venv/bin/python" ]; then
    python="$(find_python)"
    if [ -z "$python" ]; then
        apt-get update || true
        install python3.12 python3.12-venv || install python3.11 python3.11-venv || true
        python="$(find_python)"
    fi
    if [ -z "$python" ]; then
        echo "This image has no Python 3.11 or newer: choose a newer Ubuntu as the assignment's base image." >&2
        exit 1
    fi
    "$python" -m venv "$venv"
fi

# Without bubblewrap, or where a container forbids it, the box is Landlock's.
command -v bwrap >/dev/null || install bubblewrap || echo "bubblewrap cannot be installed; going on without it" >&2

"$venv/bin/python" -m pip install --quiet --disable-pip-version-check \
    --extra-index-url https://download.pytorch.org/whl/cpu --requirement "$source/requirements.txt"
