#!/bin/sh
# Stands for git, docker and docker-compose while the commands of deploy/README.md are tried: a container is a file
# containers/<service>/<id> that holds its image's version. What was asked is in calls.
set -eu
cd "$ENGINE"
program=$(basename "$0")
echo "$program $*" >>calls
case "$program $1" in
"git pull" | "docker-compose build" | "docker-compose run") ;;
"git rev-parse") echo abc1234 ;;
"docker-compose ps") ls "containers/$3" ;;
"docker-compose up")
    # With `--scale <service>=<number>`: as many more as are missing, of the version in .env.
    for word in "$@"; do
        case $word in *=*) service=${word%=*} number=${word#*=} ;; esac
    done
    if [ -n "${number:-}" ]; then
        while [ "$(ls "containers/$service" | wc -l)" -lt "$number" ]; do
            . ./.env
            echo "$REFLOW_VERSION" >"containers/$service/$REFLOW_VERSION-$service-$(ls "containers/$service" | wc -l)"
        done
    fi
    ;;
"docker inspect")
    # Healthy at the second look.
    shift 3
    for id in "$@"; do
        if [ -e "healthy/$id" ]; then echo healthy; else echo starting && touch "healthy/$id"; fi
    done
    ;;
"docker stop")
    # Two that can be used are left, always.
    service=$(basename "$(dirname containers/*/"$4")")
    rm "healthy/$4"
    left=0
    for id in $(ls "containers/$service"); do
        if [ -e "healthy/$id" ]; then left=$((left + 1)); fi
    done
    [ "$left" -ge 2 ]
    ;;
"docker rm") [ ! -e "healthy/$2" ] && rm containers/*/"$2" ;;
*) echo "no such command" >&2 && exit 1 ;;
esac
