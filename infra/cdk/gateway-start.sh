#!/bin/bash
# Runs once, as root, when a gateway's instance starts (user data). Names between @ are filled in by gateway.ts.
set -euo pipefail
umask 022

metadata=http://169.254.169.254/latest
token=$(curl -sf --retry 5 -X PUT -H 'X-aws-ec2-metadata-token-ttl-seconds: 300' "$metadata/api/token")
address=$(curl -sf --retry 5 -H "X-aws-ec2-metadata-token: $token" "$metadata/meta-data/local-ipv4")

# The network has room for 65,536 addresses, so the last two bytes tell gateways apart.
IFS=. read -r _ _ high low <<<"$address"

for wait in 1 2 4 8 16 32 0; do
    aws s3 cp --only-show-errors --region '@REGION@' '@PROGRAM@' /usr/local/bin/streams-gateway && break
    sleep "$wait"
done
chmod 755 /usr/local/bin/streams-gateway

cat >/etc/streams-gateway.env <<ENV
AWS_REGION=@REGION@
STREAMS_STORE=@STORE@
STREAMS_KAFKA=0.0.0.0:@KAFKA_PORT@
STREAMS_HTTP=0.0.0.0:@HTTP_PORT@
STREAMS_ADVERTISE=$address:@KAFKA_PORT@
STREAMS_NODE_ID=$((high * 256 + low))
ENV

cat >/etc/systemd/system/streams-gateway.service <<'UNIT'
[Unit]
Description=Serverless Streams gateway
Wants=network-online.target
After=network-online.target
StartLimitIntervalSec=0

[Service]
ExecStart=/usr/local/bin/streams-gateway
EnvironmentFile=/etc/streams-gateway.env
Restart=always
RestartSec=1
TimeoutStopSec=15
LimitNOFILE=1048576
LimitCORE=0
MemoryMax=80%
DynamicUser=yes
CapabilityBoundingSet=
LockPersonality=yes
MemoryDenyWriteExecute=yes
NoNewPrivileges=yes
PrivateDevices=yes
PrivateTmp=yes
ProcSubset=pid
ProtectClock=yes
ProtectControlGroups=yes
ProtectHome=yes
ProtectHostname=yes
ProtectKernelLogs=yes
ProtectKernelModules=yes
ProtectKernelTunables=yes
ProtectProc=invisible
ProtectSystem=strict
RemoveIPC=yes
RestrictAddressFamilies=AF_INET AF_INET6 AF_UNIX
RestrictNamespaces=yes
RestrictRealtime=yes
RestrictSUIDSGID=yes
SystemCallArchitectures=native
SystemCallErrorNumber=EPERM
SystemCallFilter=@system-service
SystemCallFilter=~@privileged @resources
UMask=0077

[Install]
WantedBy=multi-user.target
UNIT

systemctl daemon-reload
systemctl enable --now streams-gateway.service
