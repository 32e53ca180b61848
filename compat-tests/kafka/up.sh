#!/usr/bin/env bash
# up.sh [DIR] [PORT] - starts a real single-node Apache Kafka (KRaft) on 127.0.0.1:PORT (default 9092; its controller on
# PORT + 10000), with data and logs under DIR (default /tmp/kafka-PORT). Waits until it answers and prints its pid alone
# on standard output (also in DIR/pid). Stop it with: kill PID. Environment:
#   KAFKA_FRESH=1  empty DIR's data first          KAFKA_FLUSH=1  an fsync for every append
#   KAFKA_PROPS    more lines of server.properties KAFKA_HEAP     the JVM's heap, default 1G as in Kafka's own scripts
#   KAFKA_NOWAIT=1 print the pid at once, do not wait (to time the start)
set -euo pipefail
port=${2:-9092}
dir=${1:-/tmp/kafka-$port}
controller=$((port + 10000))
home=${KAFKA_HOME:-$(cd "$(dirname "$0")/../.." && pwd)/.cache/kafka}
"$(dirname "$0")/get.sh" broker >&2
mkdir -p "$dir"
dir=$(cd "$dir" && pwd)
if [[ -f $dir/pid ]] && kill -0 "$(cat "$dir/pid")" 2>/dev/null; then
    echo "already running: $(cat "$dir/pid")" >&2
    exit 1
fi
[[ -z ${KAFKA_FRESH:-} ]] || rm -rf "$dir/data"
cat >"$dir/server.properties" <<PROPERTIES
process.roles=broker,controller
node.id=1
controller.quorum.voters=1@127.0.0.1:$controller
controller.listener.names=CONTROLLER
listeners=PLAINTEXT://127.0.0.1:$port,CONTROLLER://127.0.0.1:$controller
advertised.listeners=PLAINTEXT://127.0.0.1:$port
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT
inter.broker.listener.name=PLAINTEXT
log.dirs=$dir/data
num.partitions=1
default.replication.factor=1
min.insync.replicas=1
offsets.topic.replication.factor=1
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
group.initial.rebalance.delay.ms=0
auto.create.topics.enable=true
${KAFKA_FLUSH:+log.flush.interval.messages=1}
${KAFKA_PROPS:-}
PROPERTIES
printf '%s\n' appender.out.{type=Console,name=out,layout.type=PatternLayout,layout.pattern='[%d] %p %m (%c)%n'} \
    rootLogger.level=info rootLogger.appenderRef.out.ref=out >"$dir/log4j2.properties"
kafka_java() { # JVM options, class, arguments
    exec java -Dlog4j2.configurationFile="$dir/log4j2.properties" -cp "$home/broker/libs/*" "$@"
}
if [[ ! -f $dir/data/meta.properties ]]; then
    (kafka_java -Xmx256M kafka.tools.StorageTool format -t MkU3OEVBNTcwNTJENDM2Qk -c "$dir/server.properties") \
        >"$dir/format.log" 2>&1 || { cat "$dir/format.log" >&2; exit 1; }
fi
# The JVM options of Kafka's own start script.
heap=${KAFKA_HEAP:-1G}
cd "$dir"
(kafka_java -Xmx"$heap" -Xms"$heap" -server -XX:+UseG1GC -XX:MaxGCPauseMillis=20 -XX:+ExplicitGCInvokesConcurrent \
    -XX:InitiatingHeapOccupancyPercent=35 -Djava.awt.headless=true kafka.Kafka "$dir/server.properties") \
    >"$dir/broker.log" 2>&1 </dev/null &
pid=$!
echo "$pid" >"$dir/pid"
if [[ -z ${KAFKA_NOWAIT:-} ]]; then
    for _ in $(seq 300); do
        kill -0 "$pid" 2>/dev/null || break
        if grep -q 'Kafka Server started' "$dir/broker.log"; then
            echo "$pid"
            exit 0
        fi
        sleep 0.2
    done
    echo "the broker did not start:" >&2
    tail -20 "$dir/broker.log" >&2
    exit 1
fi
echo "$pid"
