#!/usr/bin/env bash
# The client compiled for wasm32, and its tests in Node and in headless Chromium, against a real reflow-tracing.
#
#   tests/browser/wasm.sh packages     names the Debian packages that are missing (tests/run.sh installs them)
#   tests/browser/wasm.sh cargo ...    runs cargo for wasm32-unknown-unknown, with whichever toolchain is there
#   tests/browser/wasm.sh build        builds the runner, the tests and the example page
#   tests/browser/wasm.sh test         runs the tests in both, and the page in Chromium
#   tests/browser/wasm.sh clippy       lints what is compiled for wasm32 alone, after a build
#
# The toolchain is the target that rustup installs (`rustup target add wasm32-unknown-unknown`) or, where it cannot be
# downloaded, Debian's compiler, which builds the standard library from Debian's sources.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

target=wasm32-unknown-unknown
debian_rustc=/usr/bin/rustc
debian_clippy=/usr/bin/clippy-driver
debian_linker=/usr/lib/llvm-19/bin/wasm-ld
runner_manifest=tests/browser/runner/Cargo.toml
native_dir=${CARGO_TARGET_DIR:-$PWD/target}
# Always together: what they have in common is then compiled once.
wasm_crates=(-p reflow-tracing-browser-tests -p reflow-tracing-web)
wasm_dir=$native_dir/wasm # of its own: two compilers in one folder would take turns in throwing away what the other built

target_is_installed() {
    compgen -G "$(rustc --print target-libdir --target $target)/libstd-*.rlib" >/dev/null
}

debian_toolchain_is_installed() {
    [[ -x $debian_rustc && -x $debian_clippy && -x $debian_linker ]] && [[ -d $($debian_rustc --print sysroot)/lib/rustlib/src/rust/library/std ]]
}

# Of its own, behind its flag, or from the package that Debian's Node 18 brings with it.
node_has_websocket() {
    local argument
    for argument in --no-warnings --experimental-websocket --require=$PWD/tests/browser/runner/older_node.cjs; do
        node "$argument" -e 'process.exit(typeof WebSocket === "function" ? 0 : 1)' >/dev/null 2>&1 && return
    done
    return 1
}

packages() {
    target_is_installed || debian_toolchain_is_installed || printf '%s\n' rustc-web rust-web-src rust-web-clippy lld-19
    command -v chromedriver >/dev/null || printf '%s\n' chromium chromium-driver
    command -v node >/dev/null || printf '%s\n' nodejs
    node_has_websocket || printf '%s\n' node-undici
}

# wasm_cargo <command> <arguments...>
wasm_cargo() {
    local command=$1
    shift
    export CARGO_TARGET_DIR=$wasm_dir
    if target_is_installed; then
        cargo "$command" --target $target "$@"
    elif debian_toolchain_is_installed; then
        RUSTC=$debian_rustc RUSTC_BOOTSTRAP=1 CARGO_TARGET_WASM32_UNKNOWN_UNKNOWN_LINKER=$debian_linker \
            cargo "$command" -Z build-std=std,panic_abort --target $target "$@"
    else
        echo "nothing here compiles for $target: rustup target add $target, or Debian's rustc-web, rust-web-src and lld-19" >&2
        return 1
    fi
}

build() {
    CARGO_TARGET_DIR=$native_dir cargo build --manifest-path $runner_manifest --locked --bins --tests &&
        wasm_cargo build --locked "${wasm_crates[@]}" --lib --tests
}

# All of them, also after a failure.
run_tests() {
    local where failed=0
    export CARGO_TARGET_WASM32_UNKNOWN_UNKNOWN_RUNNER=$native_dir/debug/wasm-test-runner
    for where in node chromium; do
        echo "--- in $where"
        (REFLOW_TEST_IN=$where wasm_cargo test --locked "${wasm_crates[@]}") || failed=1
    done
    echo "--- the example page"
    REFLOW_TEST_PAGE=$wasm_dir/$target/debug/reflow_tracing_web.wasm CARGO_TARGET_DIR=$native_dir \
        cargo test --manifest-path $runner_manifest --locked --test page || failed=1
    return $failed
}

# Debian's compiler needs Debian's clippy. As a wrapper of a build, which is what `cargo clippy` is of a check, it uses what
# `build` has built.
lint() {
    if target_is_installed; then
        wasm_cargo clippy --locked "${wasm_crates[@]}" --lib --tests -- -D warnings
    else
        export RUSTC_WORKSPACE_WRAPPER=$debian_clippy CLIPPY_ARGS=-D__CLIPPY_HACKERY__warnings__CLIPPY_HACKERY__
        wasm_cargo build --locked "${wasm_crates[@]}" --lib --tests
    fi
}

case ${1-} in
    packages) packages ;;
    cargo) shift && wasm_cargo "$@" ;;
    build) build ;;
    test) run_tests ;;
    clippy) lint ;;
    *)
        sed -n '2,/^set/{/^set/!s/^# \{0,1\}//p}' "${BASH_SOURCE[0]}" >&2
        exit 2
        ;;
esac
