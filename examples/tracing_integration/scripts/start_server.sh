#!/usr/bin/env bash
# Builds reflow-tracing and starts it with config/server_config.toml, from the project's root, so that its data is always in the
# same place. Works from any folder. Ctrl-C (or SIGTERM) stops it cleanly; its exit code is this script's.
#
#   scripts/start_server.sh [--profile PROFILE] [-- ARGUMENTS OF THE SERVER]
#
#   --profile dev    builds quicker and runs slower than the default, release
#
# REFLOW_TRACING_CONFIG_FILE names another configuration; REFLOW_TRACING_* variables go before what is in it.
set -euo pipefail

example=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
root=$(cd "$example/../.." && pwd)
profile=release

usage() {
    sed -n '2,/^set /{/^#/s/^# \{0,1\}//p}' "${BASH_SOURCE[0]}"
}

while (($#)); do
    case $1 in
    --profile)
        (($# >= 2)) || { echo "--profile needs a name, such as release or dev" >&2; exit 2; }
        profile=$2
        shift 2
        ;;
    -h | --help)
        usage
        exit 0
        ;;
    --)
        shift
        break
        ;;
    *)
        echo "unknown argument $1; --help tells what there is" >&2
        exit 2
        ;;
    esac
done

command -v cargo >/dev/null || { echo "cargo is not installed: https://rustup.rs" >&2; exit 1; }
# The configuration's path may be meant from where we are now.
config=$(realpath "${REFLOW_TRACING_CONFIG_FILE:-$example/config/server_config.toml}")
unset REFLOW_TRACING_CONFIG_FILE

cd "$root"
echo "building reflow-tracing ($profile), which takes some minutes the first time" >&2
cargo build --quiet --workspace --bin reflow-tracing --profile "$profile"
target=$(cargo metadata --format-version 1 --no-deps | sed -n 's/.*"target_directory":"\([^"]*\)".*/\1/p')
folder=$profile
[[ $profile == dev ]] && folder=debug

# In this script's place, so that every signal meant for the script reaches the server.
exec "$target/$folder/reflow-tracing" --config "$config" "$@"
