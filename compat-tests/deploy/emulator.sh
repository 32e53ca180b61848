# shellcheck shell=bash disable=SC2154
# Sourced after harness.sh: AWS for the deploy test, on loopback. It is ministack, which runs CloudFormation, S3,
# DynamoDB, Lambda (the zip's own bootstrap, x86-64 only), API Gateway and function URLs in one process. Signatures and
# IAM policies are enforced (AUTH): a permission that infra/cdk/permissions.ts lacks fails the test. TLS is on, with a
# certificate for the hosts of AWS's own addresses, so that these work as they are printed.
ministack=1.5.33

start_emulator() { # sets endpoint; exports what makes AWS's tools, curl and our programs use it
    local venv=$cache/venv-ministack-$ministack port
    (
        flock 9
        [[ -x $venv/bin/hypercorn ]] || {
            /usr/bin/python3 -m venv "$venv"
            "$venv/bin/pip" install -q --disable-pip-version-check "ministack==$ministack"
        }
    ) 9>"$venv.lock"
    port=$("$venv/bin/python" -c 'import socket; s = socket.create_server(("127.0.0.1", 0)); print(s.getsockname()[1])')
    openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 3 -subj /CN=localhost -addext \
        "subjectAltName=IP:127.0.0.1,DNS:*.execute-api.us-east-1.amazonaws.com,DNS:*.lambda-url.us-east-1.on.aws" \
        -keyout "$scratch/tls.key" -out "$scratch/ca.pem" 2>/dev/null
    endpoint=https://127.0.0.1:$port

    unset "${!AWS_@}" CURL_CA_BUNDLE REQUESTS_CA_BUNDLE SSL_CERT_DIR
    export AWS_ENDPOINT_URL=$endpoint AWS_REGION=us-east-1 AWS_DEFAULT_REGION=us-east-1
    export AWS_ACCESS_KEY_ID=test AWS_SECRET_ACCESS_KEY=test AWS_EC2_METADATA_DISABLED=true
    cat "$scratch/ca.pem" ${NODE_EXTRA_CA_CERTS:+"$NODE_EXTRA_CA_CERTS"} >"$scratch/node.pem"
    export AWS_CA_BUNDLE=$scratch/ca.pem NODE_EXTRA_CA_CERTS=$scratch/node.pem CURL_HOME=$scratch
    printf '%s\n' show-error 'max-time = 60' "cacert = $scratch/ca.pem" \
        "connect-to = \"::127.0.0.1:$port\"" >"$scratch/.curlrc"

    (
        cd "$scratch"
        exec env GATEWAY_PORT="$port" MINISTACK_HOST=us-east-1.amazonaws.com AUTH=true USE_SSL=1 \
            STATE_DIR="$scratch/state" S3_DATA_DIR="$scratch/s3" TMPDIR="$scratch" PYTHONDONTWRITEBYTECODE=1 \
            "$venv/bin/hypercorn" ministack.app:app --bind "127.0.0.1:$port" --certfile "$scratch/ca.pem" \
            --keyfile "$scratch/tls.key" --keep-alive 75
    ) >"$scratch/emulator.log" 2>&1 9>&- &
    pids[emulator]=$!
    for _ in $(seq 300); do
        curl -s -o "$scratch/ready" "$endpoint/_ministack/health" 2>/dev/null && return
        kill -0 "${pids[emulator]}" 2>/dev/null || break
        sleep 0.1
    done
    tail -20 "$scratch/emulator.log" >&2
    return 1
}
