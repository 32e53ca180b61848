# shellcheck shell=bash disable=SC2154,SC2034
# Sourced by infra/deploy and infra/destroy: arguments, credentials, and how CDK is called.
source "$root/infra/packages.sh"
declare -A settings=()
approval=()
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT

say() {
    echo "$*" >&2
}

die() {
    say "$0: $*"
    exit 1
}

parse() { # arguments... -> settings, approval, name, outputs
    while [[ $# -gt 0 ]]; do
        case $1 in
            --yes) approval=(--require-approval never) ;;
            --*=*)
                settings[${1%%=*}]=${1#*=}
                ;;
            --*)
                [[ $# -ge 2 ]] || die "$1 needs a value; --help lists the settings"
                settings[$1]=$2
                shift
                ;;
            *) die "\"$1\" is no setting; --help lists them" ;;
        esac
        shift
    done
    local key
    for key in "${!settings[@]}"; do
        settings[${key#--}]=${settings[$key]}
        unset "settings[$key]"
    done
    name=$(setting name serverless-streams)
    outputs=$root/build/deployed/$name.json
}

setting() { # name, default
    echo "${settings[$1]-$2}"
}

check_tools() { # and the names of the settings
    install_packages nodejs:node npm:npm
    local version
    version=$(node --version)
    version=${version#v}
    [[ ${version%%.*} -ge 18 ]] || die "needs Node.js 18 or newer, this is $version"
    "$root/infra/cdk/install"
    local known key
    known=$(cd "$root/infra/cdk" && node --import tsx help.ts)
    for key in "${!settings[@]}"; do
        grep -q "^  --$key " <<<"$known" || die "there is no setting $key; --help lists them"
    done
    for key in lambdaZip gatewayBinary; do
        [[ -z ${settings[$key]:-} ]] || settings[$key]=$(realpath "${settings[$key]}")
    done
}

cdk() { # folder, arguments...
    (cd "$1" && shift && CDK_DISABLE_CLI_TELEMETRY=true "$root/infra/cdk/node_modules/.bin/cdk" "$@")
}

# CDK tells its app for which account and region the credentials are.
find_account() {
    cdk "$scratch" list --app "echo \"\$CDK_DEFAULT_ACCOUNT \$CDK_DEFAULT_REGION\" >'$scratch/account'; exit 1" \
        --output "$scratch/out" >"$scratch/log" 2>&1 || true
    read -r account region <"$scratch/account" || true
    if [[ ! ${account:-} =~ ^[0-9]{12}$ || -z ${region:-} ]]; then
        sed -n '/[Ee]rror\|[Cc]redential/p' "$scratch/log" >&2
        die "found no AWS credentials that work. Set AWS_PROFILE, or AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and" \
            "AWS_REGION."
    fi
}

run_cdk() { # command, arguments...
    local key context=()
    for key in "${!settings[@]}"; do
        context+=(-c "$key=${settings[$key]}")
    done
    cdk "$root/infra/cdk" "$@" --output "$root/build/deployed/$name.out" "${context[@]}"
}
