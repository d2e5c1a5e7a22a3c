#!/bin/sh
# Makes what install.yaml needs and must not contain: the broker's certificate and passwords. Run again to add agents;
# what exists is kept. Needs kubectl and openssl.
set -eu

if [ $# -lt 1 ]; then
    echo "usage: $0 <address>[:<port>] [agent ...]" >&2
    echo "  address: where agents outside the cluster reach the broker, as in 192.168.1.10" >&2
    echo "  agent: names of agents that get a password, as in nuc1 pi" >&2
    exit 64
fi
address=$1
shift
host=${address%:*}
port=8883
case $address in *:*) port=${address##*:} ;; esac

ns=homelab-autoscaler-system
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
umask 077

k() { kubectl -n "$ns" "$@"; }
exists() { k get "$1" "$2" >/dev/null 2>&1; }
password() { openssl rand -hex 24; }

kubectl get namespace "$ns" >/dev/null 2>&1 || kubectl create namespace "$ns" --save-config

# The broker's authority; its key is thrown away afterwards.
if ! exists secret homelab-broker-tls; then
    case $host in *[!0-9.]*) san="DNS:$host" ;; *) san="IP:$host" ;; esac
    openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 3650 \
        -subj "/CN=homelab-autoscaler" -keyout "$work/ca.key" -out "$work/ca.pem" 2>/dev/null
    openssl req -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -subj "/CN=homelab-broker" \
        -keyout "$work/broker.key" -out "$work/broker.csr" 2>/dev/null
    printf 'subjectAltName=%s\nextendedKeyUsage=serverAuth\nbasicConstraints=CA:FALSE\n' \
        "DNS:homelab-broker.$ns.svc,DNS:homelab-broker,$san" >"$work/broker.ext"
    openssl x509 -req -in "$work/broker.csr" -CA "$work/ca.pem" -CAkey "$work/ca.key" -CAcreateserial -days 3650 \
        -extfile "$work/broker.ext" -out "$work/broker.pem" 2>/dev/null
    k create configmap homelab-autoscaler-agents --from-file=ca.pem="$work/ca.pem" \
        --from-literal=broker="mqtts://$host:$port" --dry-run=client -o yaml | kubectl apply --server-side -f -
    # The Secret comes last: it is the mark that both are there.
    k create secret generic homelab-broker-tls --from-file=tls.crt="$work/broker.pem" \
        --from-file=tls.key="$work/broker.key" --from-file=ca.crt="$work/ca.pem" \
        --dry-run=client -o yaml | kubectl apply -f -
fi

exists secret homelab-broker-coordinator ||
    k create secret generic homelab-broker-coordinator --from-literal=coordinator.password="$(password)"
exists secret homelab-autoscaler-agents || k create secret generic homelab-autoscaler-agents
for agent in cluster-relay "$@"; do
    key="$agent.password"
    if k get secret homelab-autoscaler-agents -o jsonpath='{.data}' | grep -qF "\"$key\":"; then
        continue
    fi
    printf '{"stringData":{"%s":"%s"}}' "$key" "$(password)" >"$work/patch.json"
    k patch secret homelab-autoscaler-agents --type merge --patch-file "$work/patch.json"
done
