# Sourced by infra/run and infra/test: installs Debian packages that are missing, and says so first.
# An entry is a package, or package:command when any provider of the command will do.
build_packages=(ca-certificates gcc:cc libc6-dev cmake:cmake ninja-build:ninja pkg-config:pkg-config
                libevent-dev libsqlite3-dev zlib1g-dev liblz4-dev libzstd-dev libsnappy-dev
                libcurl4-openssl-dev libssl-dev libcjson-dev)
test_packages=(git:git libcmocka-dev python3:python3 python3-venv curl:curl)
client_packages=(librdkafka-dev kcat:kcat python3-kafka python3-lz4 python3-snappy python3-zstandard
                 openjdk-17-jdk-headless:javac maven:mvn nodejs:node npm:npm)
lambda_packages=(dpkg-dev openssl:openssl perl:perl make:make python3:python3 g++:g++ gcc-aarch64-linux-gnu
                 g++-aarch64-linux-gnu libc6-dev-arm64-cross qemu-user:qemu-aarch64)
aws_packages=(radosgw:radosgw ceph-mon:ceph-mon ceph-osd:ceph-osd ceph-common:ceph openjdk-17-jre-headless:java npm:npm
              curl:curl openssl:openssl util-linux:setsid)
fuzz_packages=(clang-19:clang-19 libclang-rt-19-dev)

package_missing() { # package, command
    if [[ -n $2 ]]; then
        ! command -v "$2" >/dev/null
    else
        [[ $(dpkg-query -W -f '${db:Status-Status}' "$1" 2>/dev/null) != installed ]]
    fi
}

install_packages() { # entries...
    local entry missing=()
    command -v apt-get >/dev/null || { echo "$0: needs Debian 12 or Ubuntu 24.04 (apt-get)" >&2; return 1; }
    for entry in "$@"; do
        local package=${entry%%:*} command=
        [[ $entry == *:* ]] && command=${entry#*:}
        if package_missing "$package" "$command"; then
            missing+=("$package")
        fi
    done
    if [[ ${#missing[@]} -eq 0 ]]; then
        return 0
    fi
    if [[ $(id -u) -ne 0 ]]; then
        echo "Missing Debian packages. As root, run this and then call $0 again:" >&2
        echo "  apt-get update && apt-get install -y --no-install-recommends ${missing[*]}" >&2
        return 1
    fi
    echo "Installing these missing Debian packages with apt-get: ${missing[*]}" >&2
    local log
    log=$(mktemp)
    if ! { apt-get update -qq &&
           DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}"; } \
         </dev/null >"$log" 2>&1; then
        cat "$log" >&2
        rm -f "$log"
        return 1
    fi
    rm -f "$log"
}

configure_and_build() { # build directory, CMake options...
    local dir=$1
    shift
    cmake -G Ninja -S "$root" -B "$dir" "$@" >"$dir.log" 2>&1 || { cat "$dir.log" >&2; return 1; }
    rm -f "$dir.log"
    ninja -C "$dir" --quiet
}
