# Sourced by tools/demo and tools/check, with the repository root as working directory.
#
#   prepare_venv [EXTRA]
#
# installs the package (editable, with the given extra of pyproject.toml) and puts its Python first on PATH. An activated
# venv is used as it is; else .venv in the repository root is made once and used again. Installing is left out when
# nothing that decides it has changed.

MINIMUM="3.11"

fail() {
    printf '%s\n' "$@" >&2
    exit 1
}

is_new_enough() {
    "$1" -c "import sys; sys.exit(sys.version_info < tuple(map(int, '$MINIMUM'.split('.'))))" 2>/dev/null
}

has_pip() {
    "$1" -m pip --version >/dev/null 2>&1
}

# The first Python on PATH that is new enough and can make a venv.
find_python() {
    local name old="" bare=""
    for name in python3 python3.13 python3.12 python3.11 python3.14 python; do
        command -v "$name" >/dev/null || continue
        if ! is_new_enough "$name"; then
            old="$old $name ($("$name" --version 2>/dev/null || echo 'does not run'))"
        elif ! "$name" -c 'import ensurepip, venv' 2>/dev/null; then
            bare="$bare $name"
        else
            echo "$name"
            return
        fi
    done
    if [ -n "$bare" ]; then
        fail "Found$bare, new enough but without the modules venv and ensurepip that make a virtual environment." \
            "Install them (Debian, Ubuntu: apt install python3-venv), or activate a virtual environment and run this again."
    fi
    fail "Python $MINIMUM or newer is needed; on PATH there is:${old:- no Python at all}." \
        "Install one (python.org, your package manager, or pyenv), or activate a virtual environment that has one."
}

make_venv() {
    local python
    python="$(find_python)"
    echo "Making .venv with $("$python" --version) ..."
    "$python" -m venv --clear .venv || fail "$python -m venv failed (its message is above)."
}

prepare_venv() {
    local extra="${1:-}" environment="${VIRTUAL_ENV:-}"
    if [ -z "$environment" ]; then
        environment="$PWD/.venv"
        # A .venv whose Python was removed, or that an interrupted run left unfinished, is made again.
        if ! is_new_enough "$environment/bin/python" || ! has_pip "$environment/bin/python"; then
            make_venv
        fi
    fi
    local python="$environment/bin/python"
    is_new_enough "$python" ||
        fail "The activated environment $environment has no Python $MINIMUM or newer. Activate another one, or run 'deactivate' first."
    has_pip "$python" || fail "The activated environment $environment has no pip. Add it (python -m ensurepip), or run 'deactivate' first."
    export VIRTUAL_ENV="$environment" PATH="$environment/bin:$PATH" PIP_DISABLE_PIP_VERSION_CHECK=1

    # What decides an installation; the dev extra contains everything that the plain package needs.
    local stamp="$environment/.amct-lite-installed" wanted found=""
    wanted="$PWD $(cksum <pyproject.toml)"
    [ ! -f "$stamp" ] || found="$(cat "$stamp")"
    if [ -x "$environment/bin/amct-lite" ] && { [ "$found" = "$wanted $extra" ] || [ "$found" = "$wanted dev" ]; }; then
        return
    fi
    echo "Installing amct-lite${extra:+[$extra]} into $environment (the first time: a minute or two) ..."
    rm -f "$stamp"
    python -m pip install -q -e ".${extra:+[$extra]}" || fail "pip could not install the package (its message is above)."
    echo "$wanted $extra" >"$stamp"
}
