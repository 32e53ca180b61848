#!/usr/bin/env bash
# get.sh tools|broker - fetches the jars of Apache Kafka's command-line tools (and Java client), or of its broker, from
# Maven Central into $KAFKA_HOME/tools or $KAFKA_HOME/broker, by default under .cache/kafka of the checkout. The newest
# version that is served is taken. Does nothing when they are there.
set -euo pipefail
home=${KAFKA_HOME:-$(cd "$(dirname "$0")/../.." && pwd)/.cache/kafka}
case ${1:-} in
    tools) artifact=kafka-tools ;;
    broker) artifact=kafka_2.13 ;;
    *) echo "usage: get.sh tools|broker" >&2; exit 2 ;;
esac
dir=$home/$1
mkdir -p "$home"
exec 9>"$home/.lock"
flock 9
[[ ! -f $dir/VERSION ]] || exit 0
for version in 4.4.0 4.3.1 4.2.1; do
    rm -rf "$dir.part"
    mkdir -p "$dir.part"
    cat >"$dir.part/pom.xml" <<POM
<project xmlns="http://maven.apache.org/POM/4.0.0">
  <modelVersion>4.0.0</modelVersion>
  <groupId>local</groupId><artifactId>kafka-$1</artifactId><version>1</version><packaging>pom</packaging>
  <dependencies>
    <dependency><groupId>org.apache.kafka</groupId><artifactId>$artifact</artifactId><version>$version</version></dependency>
    <dependency>
      <groupId>org.apache.logging.log4j</groupId><artifactId>log4j-slf4j-impl</artifactId><version>2.25.4</version>
    </dependency>
  </dependencies>
</project>
POM
    if (cd "$dir.part" && mvn -B -q dependency:copy-dependencies -DincludeScope=runtime -DoutputDirectory=libs) \
        >"$dir.log" 2>&1; then
        rm -rf "$dir"
        mv "$dir.part" "$dir"
        echo "$version" >"$dir/VERSION"
        exit 0
    fi
done
echo "no version of $artifact could be had; see $dir.log" >&2
exit 1
