# Sourced by every client's run script, which then has
#   $kafka, $http      where the gateway serves (HOST:PORT); with REFEREE=HOST:PORT set, $kafka is that broker (a real
#                      Apache Kafka, see kafka/up.sh) and $http is empty: a suite must be right before it may accuse us
#   $scratch           a folder that is removed at the end
#   $cache             a folder that stays: downloaded clients
#   ok FEATURE         a line for the matrix; `not_ok FEATURE why` fails the suite
#   start_gateway NAME ARGS...   sets kafka, http and pids[NAME]; stop_gateway NAME
# One gateway, `main`, has been started on a store of its own, unless no_gateway_yet is set.
# GATEWAY names the binary.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
cache=${COMPAT_CACHE:-$here/../.cache/compat}
mkdir -p "$cache"
scratch=$(mktemp -d)
declare -A pids=()
failures=0
kafka=${REFEREE:-}
http=

ok() { # feature
    echo "ok $1"
}

not_ok() { # feature, why
    echo "not ok $1: $2"
    failures=$((failures + 1))
}

same() { # feature, expected file, actual file
    if cmp -s "$2" "$3"; then
        ok "$1"
    else
        not_ok "$1" "$(cmp "$2" "$3" 2>&1 || true); $(wc -l <"$2") lines expected, $(wc -l <"$3") had"
    fi
}

start_gateway() { # name, arguments...
    local name=$1 out=$scratch/$1.out
    shift
    : >"$out"
    "${GATEWAY:?names the gateway binary}" --kafka 127.0.0.1:0 --http 127.0.0.1:0 "$@" >"$out" 2>>"$scratch/$name.log" &
    pids[$name]=$!
    for _ in $(seq 200); do
        if read -r _ kafka http _ < <(grep '^ready ' "$out"); then
            kafka=${kafka#kafka=}
            http=${http#http=}
            return 0
        fi
        kill -0 "${pids[$name]}" 2>/dev/null || break
        sleep 0.05
    done
    echo "the gateway did not become ready; its log:" >&2
    tail -20 "$scratch/$name.log" >&2
    exit 1
}

stop_gateway() { # name
    local code=0
    kill "${pids[$1]}"
    wait "${pids[$1]}" || code=$?
    unset "pids[$1]"
    if [[ $code -ne 0 ]]; then
        not_ok shutdown "SIGTERM answered by exit code $code"
        tail -20 "$scratch/$1.log"
    fi
}

finish() {
    local code=$? name
    trap - EXIT
    for name in "${!pids[@]}"; do
        if [[ $code -eq 0 ]]; then
            stop_gateway "$name"
        else
            kill "${pids[$name]}" 2>/dev/null || true
            tail -20 "$scratch/$name.log" >&2
        fi
    done
    rm -rf "$scratch"
    exit $((code != 0 || failures != 0))
}
trap finish EXIT

if [[ -z $kafka && -z ${no_gateway_yet:-} ]]; then
    start_gateway main --data "$scratch/data"
fi
