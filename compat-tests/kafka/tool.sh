#!/usr/bin/env bash
# tool.sh CLASS ARGS... - runs one of Apache Kafka's command-line classes, for example
#   tool.sh TopicCommand --bootstrap-server 127.0.0.1:9092 --list
# A class without a dot is one of org.apache.kafka.tools.
set -euo pipefail
home=${KAFKA_HOME:-$(cd "$(dirname "$0")/../.." && pwd)/.cache/kafka}
class=${1:?class}
shift
[[ $class == *.* ]] || class=org.apache.kafka.tools.$class
"$(dirname "$0")/get.sh" tools >&2
if [[ ! -f $home/log4j2.properties ]]; then
    printf '%s\n' appender.e.{type=Console,name=err,target=SYSTEM_ERR,layout.type=PatternLayout} \
        rootLogger.level=warn rootLogger.appenderRef.e.ref=err >"$home/log4j2.properties.$$"
    mv "$home/log4j2.properties.$$" "$home/log4j2.properties"
fi
exec java -Xmx"${KAFKA_HEAP:-512M}" -XX:+UseSerialGC -XX:TieredStopAtLevel="${KAFKA_TIER:-4}" \
    -Dlog4j2.configurationFile="$home/log4j2.properties" \
    -cp "$home/tools/libs/*" "$class" "$@"
