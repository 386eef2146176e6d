#!/usr/bin/env bash
# Runs every test against real servers, from anywhere: tests/run.sh
#
# Installs what is missing of nats-server, postgresql, redis-server, sqlite3, haproxy, docker-compose, prometheus and its node
# exporter, Node, Chromium and a compiler for wasm32 (apt-get), builds once, runs the tests of the workspace, then those of the
# compat workspace and those in a browser, and prints the seconds of each stage. Each test starts its own servers in a folder
# under one temp folder; whatever happens, also on failure or ctrl-C, nothing is left running.
#
# Needs root: packages are installed, small disks mounted, users and namespaces changed to.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
if [[ $(id -u) != 0 ]]; then
    echo "tests/run.sh needs root: it installs packages, mounts small disks and becomes other users. For example" >&2
    echo "    sudo env PATH=\"\$PATH\" HOME=\"\$HOME\" tests/run.sh" >&2
    exit 1
fi

export CARGO_TARGET_DIR="${CARGO_TARGET_DIR:-$PWD/target}"
run_dir=$(mktemp -d "${TMPDIR:-/tmp}/reflow-tests.XXXXXX")
chmod 711 "$run_dir" # As root, Postgres runs as another user and must get through to its own folder.
export TMPDIR=$run_dir
stage_pid=

# Everything that this run has started and that still runs, as "pid command": by the mark, or, for servers that overwrite
# their environment (Postgres), by the folder they work in. Zombies are dead, whoever forgets to reap them.
still_running() {
    local proc pid state
    for proc in /proc/[0-9]*; do
        pid=${proc#/proc/}
        [[ $pid == $$ || $pid == "$BASHPID" ]] && continue
        if [[ $(readlink "$proc/cwd" 2>/dev/null) == "$run_dir"* ]] ||
            grep -qzxF "REFLOW_TEST_RUN=$run_dir" "$proc/environ" 2>/dev/null; then
            state=$(sed 's/.*) //' "$proc/stat" 2>/dev/null | cut -c1) || continue
            [[ $state == Z || $state == X || -z $state ]] && continue
            echo "$pid $(tr '\0' ' ' <"$proc/cmdline" 2>/dev/null)"
        fi
    done
}

# Twice, because what is being killed may have been starting something.
kill_what_is_left() {
    local pid _
    for _ in 1 2; do
        while read -r pid _; do
            kill -KILL "$pid" 2>/dev/null || true
        done < <(still_running)
    done
}

# Small disks that a killed test could not unmount itself.
unmount_what_is_left() {
    local _ folder
    while read -r _ folder _; do
        [[ $folder == "$run_dir"/* ]] && umount --lazy "$folder"
    done </proc/mounts || true
}

clean_up() {
    local status=$?
    trap - EXIT INT TERM HUP
    if [[ -n $stage_pid ]]; then
        kill -TERM "$stage_pid" 2>/dev/null || true # cargo-nextest stops its tests by itself, and they their servers
        for _ in {1..50}; do
            kill -0 "$stage_pid" 2>/dev/null || break
            sleep 0.1
        done
        kill_what_is_left
    fi
    unmount_what_is_left
    rm -rf "$run_dir"
    exit "$status"
}
trap clean_up EXIT
trap 'exit 130' INT
trap 'exit 143' TERM
trap 'exit 129' HUP

# stage <name> <command...>: runs it and prints how long it took. In the background, because bash handles a signal only
# when no foreground command is running.
stage() {
    local name=$1 started=$SECONDS status=0
    shift
    echo "=== $name"
    "$@" </dev/null &
    stage_pid=$!
    wait "$stage_pid" || status=$?
    stage_pid=
    echo "=== $name: $((SECONDS - started)) s, exit status $status"
    return "$status"
}

install_servers() {
    local missing=() policy=/usr/sbin/policy-rc.d
    PATH=$PATH:/usr/sbin
    command -v nats-server >/dev/null || missing+=(nats-server)
    command -v redis-server >/dev/null || missing+=(redis-server)
    command -v haproxy >/dev/null || missing+=(haproxy)
    command -v sqlite3 >/dev/null || missing+=(sqlite3)
    command -v docker-compose >/dev/null || missing+=(docker-compose) # checks the compose files; there is no engine
    command -v promtool >/dev/null || missing+=(prometheus)
    command -v prometheus-node-exporter >/dev/null || missing+=(prometheus-node-exporter)
    python3 -c 'import ensurepip' 2>/dev/null || missing+=(python3 python3-venv)
    compgen -G '/usr/lib/postgresql/*/bin/initdb' >/dev/null || command -v initdb >/dev/null || missing+=(postgresql)
    mapfile -t -O "${#missing[@]}" missing < <(tests/browser/wasm.sh packages)
    ((${#missing[@]})) || return 0
    echo "installing ${missing[*]}"
    # The packages would start a server each, which nobody asked for.
    if [[ ! -e $policy ]]; then
        trap 'rm -f "$policy"' EXIT # of this stage, which is a process of its own
        printf '#!/bin/sh\nexit 101\n' >"$policy"
        chmod +x "$policy"
    fi
    apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends "${missing[@]}"
}

# Only as a stage, which is a process of its own: it becomes cargo, so that a signal reaches cargo.
run_tests() {
    if cargo nextest --version >/dev/null 2>&1; then
        exec cargo nextest run --config-file .config/nextest.toml "$@"
    else
        exec cargo test --no-fail-fast "$@"
    fi
}

# Needs the runner and the wasm build, which the stage before has made.
run_wasm_tests() {
    exec tests/browser/wasm.sh test
}

# nextest runs no documentation tests.
run_doc_tests() {
    if cargo nextest --version >/dev/null 2>&1; then
        cargo test --doc --workspace --quiet
    fi
}

# The chart, with the real Helm engine. Only as a stage, like run_tests.
helm_tests() {
    exec tests/helm/run.sh
}

# cargo-fuzz needs a nightly compiler; where there is none, property tests over arbitrary bytes have to do.
fuzz() {
    local target
    if ! cargo +nightly fuzz --version >/dev/null 2>&1; then
        echo "cargo-fuzz or a nightly compiler is not installed, nothing is fuzzed"
        return 0
    fi
    cd tests/fuzz
    for target in frame chunk; do
        cargo +nightly fuzz run --fuzz-dir . "$target" -- -max_total_time=10 -rss_limit_mb=1024 || return 1
    done
}

failed=()
stage "install servers" install_servers
export REFLOW_TEST_RUN=$run_dir # marks what is started from here on, compilers as well, in /proc/<pid>/environ
# Executables and tests in one go: the same features, so each dependency is compiled once.
stage "build" cargo build --workspace --bins --tests
stage "build compat" cargo build --manifest-path tests/compat/Cargo.toml --bins --tests
export REFLOW_TEST_BIN_DIR=$CARGO_TARGET_DIR/debug # built above: the harness need not ask cargo again
stage "tests" run_tests --workspace || failed+=(tests)
stage "documentation tests" run_doc_tests || failed+=("documentation tests")
stage "compat tests" run_tests --manifest-path tests/compat/Cargo.toml || failed+=("compat tests")
stage "helm" helm_tests || failed+=(helm)
stage "build wasm" tests/browser/wasm.sh build || failed+=("build wasm")
stage "wasm tests" run_wasm_tests || failed+=("wasm tests")
stage "fuzzing" fuzz || failed+=(fuzzing)

left=$(still_running)
if [[ -n $left ]]; then
    echo "still running after the tests:"
    echo "$left"
    kill_what_is_left
    failed+=("clean end")
fi
if ((${#failed[@]})); then
    printf 'FAILED:'
    printf ' %s;' "${failed[@]}"
    printf ' after %s s\n' "$SECONDS"
    exit 1
fi
echo "PASSED, nothing left running, after $SECONDS s"
