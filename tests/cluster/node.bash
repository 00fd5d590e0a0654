# The node: its certificates, its network, the order in which its parts start, and how all of it goes again.

node=node-1
node_ip=10.244.0.1          # the bridge; pods and Services reach the node here
pod_cidr=10.244.0.0/16
service_cidr=10.96.0.0/16
dns_ip=10.96.0.10
api_port=${CLUSTER_API_PORT:-6443}
pki=$state/pki
bridge=cni-test

up() {
    if any_runs; then
        if revive; then say "already up; use it with: eval \"\$($here/cluster env)\""; return; fi
        say "it cannot be revived: starting a new node"
    fi
    down > /dev/null 2>&1           # what a killed run left
    mkdir -p "$state"/{log,run,pki,containerd,kubelet,cni}
    chmod 700 "$pki"
    certificates
    network
    control_plane
    runtime
    kubelet
    dns
    until_ok 90 "the node" node_is_ready
    until_ok 30 "the default service account" as_admin get serviceaccount default
    say "up; use it with: eval \"\$($here/cluster env)\""
}

node_is_ready() { as_admin wait --for=condition=Ready node/$node --timeout=1s; }

# Starts what has died; fails if that is not enough. The other parts end when they start without an API server.
revive() {
    revive_part etcd && revive_part kube-apiserver || return 1
    until_ok 60 kube-apiserver as_admin get --raw /readyz --request-timeout=5s || return 1
    local name
    for name in "${parts[@]}"; do revive_part "$name" || return 1; done
    until_ok 90 "the node" node_is_ready
}

revive_part() {
    [ -e "$state/run/$1.command" ] || return 1
    runs "$1" || { say "starting $1 again"; start_again "$1"; }
}

# certificate NAME SUBJECT [SAN...]: a key pair signed by the cluster's authority
certificate() {
    local name=$1 subject=$2; shift 2
    local extensions="extendedKeyUsage=serverAuth,clientAuth"
    [ $# -eq 0 ] || extensions+=$'\n'"subjectAltName=$(IFS=,; echo "$*")"
    openssl req -new -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj "$subject" \
        -keyout "$pki/$name.key" -out "$pki/$name.csr" 2> /dev/null
    openssl x509 -req -in "$pki/$name.csr" -CA "$pki/ca.crt" -CAkey "$pki/ca.key" -CAcreateserial -days 30 \
        -extfile <(echo "$extensions") -out "$pki/$name.crt" 2> /dev/null
}

certificates() {
    openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 30 -subj /CN=cluster-ca \
        -keyout "$pki/ca.key" -out "$pki/ca.crt" 2> /dev/null
    openssl genrsa -out "$pki/service-account.key" 2048 2> /dev/null
    certificate apiserver /CN=kube-apiserver DNS:localhost DNS:kubernetes DNS:kubernetes.default \
        DNS:kubernetes.default.svc IP:127.0.0.1 IP:10.96.0.1 IP:$node_ip
    certificate admin /O=system:masters/CN=admin
    certificate kubelet "/O=system:nodes/CN=system:node:$node" DNS:$node IP:127.0.0.1 IP:$node_ip
    certificate manager /CN=system:kube-controller-manager
    certificate scheduler /CN=system:kube-scheduler
    certificate proxy /CN=system:kube-proxy
    local who
    for who in admin kubelet manager scheduler proxy; do kubeconfig $who; done
}

# kubeconfig NAME: signs in with the key pair of that name, which it holds itself so that the file can be handed on
kubeconfig() {
    local encoded
    encoded() { base64 -w0 < "$1"; }
    cat > "$state/$1.kubeconfig" <<END
apiVersion: v1
kind: Config
current-context: test
contexts: [{name: test, context: {cluster: test, user: $1}}]
clusters: [{name: test, cluster: {server: "https://127.0.0.1:$api_port", certificate-authority-data: $(encoded "$pki/ca.crt")}}]
users: [{name: $1, user: {client-certificate-data: $(encoded "$pki/$1.crt"), client-key-data: $(encoded "$pki/$1.key")}}]
END
    chmod 600 "$state/$1.kubeconfig"
}

network() {
    sysctl -qw net.ipv4.ip_forward=1
    ls /run/netns > "$state/netns" 2> /dev/null || true     # those of others
    ip link show $bridge > /dev/null 2>&1 || { ip link add $bridge type bridge; ip addr add $node_ip/24 dev $bridge; }
    ip link set $bridge up
    cat > "$state/cni/10-bridge.conflist" <<END
{"cniVersion": "1.0.0", "name": "test", "plugins": [
  {"type": "bridge", "bridge": "$bridge", "isGateway": true, "ipMasq": true, "hairpinMode": true,
   "ipam": {"type": "host-local", "dataDir": "$state/cni/ipam", "ranges": [[{"subnet": "10.244.0.0/24"}]], "routes": [{"dst": "0.0.0.0/0"}]}},
  {"type": "portmap", "capabilities": {"portMappings": true}}]}
END
}

control_plane() {
    start etcd "$bin/etcd" --data-dir "$state/etcd" --unsafe-no-fsync --listen-client-urls http://127.0.0.1:23790 \
        --advertise-client-urls http://127.0.0.1:23790 --listen-peer-urls http://127.0.0.1:23800 --log-level warn
    start kube-apiserver "$bin/kube-apiserver" --etcd-servers http://127.0.0.1:23790 --secure-port "$api_port" \
        --advertise-address $node_ip --service-cluster-ip-range $service_cidr --authorization-mode Node,RBAC \
        --enable-admission-plugins NodeRestriction --allow-privileged --client-ca-file "$pki/ca.crt" \
        --tls-cert-file "$pki/apiserver.crt" --tls-private-key-file "$pki/apiserver.key" \
        --kubelet-client-certificate "$pki/admin.crt" --kubelet-client-key "$pki/admin.key" \
        --kubelet-preferred-address-types InternalIP --kubelet-certificate-authority "$pki/ca.crt" \
        --service-account-issuer https://kubernetes.default.svc --service-account-key-file "$pki/service-account.key" \
        --service-account-signing-key-file "$pki/service-account.key" --profiling=false
    until_ok 90 kube-apiserver as_admin get --raw /readyz
    # The default 20 requests a second would be the tests' pace.
    local pace="--kube-api-qps 500 --kube-api-burst 1000"
    start kube-controller-manager "$bin/kube-controller-manager" --kubeconfig "$state/manager.kubeconfig" \
        --authentication-kubeconfig "$state/manager.kubeconfig" --authorization-kubeconfig "$state/manager.kubeconfig" \
        --service-account-private-key-file "$pki/service-account.key" --root-ca-file "$pki/ca.crt" \
        --cluster-signing-cert-file "$pki/ca.crt" --cluster-signing-key-file "$pki/ca.key" \
        --use-service-account-credentials --leader-elect=false $pace --concurrent-job-syncs 20
    start kube-scheduler "$bin/kube-scheduler" --kubeconfig "$state/scheduler.kubeconfig" --leader-elect=false $pace \
        --authentication-kubeconfig "$state/scheduler.kubeconfig" --authorization-kubeconfig "$state/scheduler.kubeconfig"
}

# containerd; on a machine with cgroup v1 that may not lower oom_score_adj either
runtime() {
    cat > "$state/containerd/config.toml" <<END
version = 3
root = "$state/containerd/root"
state = "$state/containerd/state"
disabled_plugins = ["io.containerd.nri.v1.nri", "io.containerd.snapshotter.v1.btrfs", "io.containerd.snapshotter.v1.zfs", "io.containerd.snapshotter.v1.devmapper"]
[grpc]
address = "$state/containerd/containerd.sock"
[plugins.'io.containerd.cri.v1.images'.pinned_images]
sandbox = "registry.test/pause:1"
[plugins.'io.containerd.cri.v1.runtime']
restrict_oom_score_adj = true
[plugins.'io.containerd.cri.v1.runtime'.cni]
bin_dirs = ["/usr/lib/cni", "/opt/cni/bin"]
conf_dir = "$state/cni"
[plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.runc]
runtime_type = "io.containerd.runc.v2"
[plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.runc.options]
SystemdCgroup = false
END
    start containerd env PATH="$bin:$PATH" "$bin/containerd" --config "$state/containerd/config.toml"
    until_ok 30 containerd ctr version
    "$here/../../images/pack" --name registry.test/pause:1 --out "$state/pause.tar" --entrypoint "/busybox sleep infinity" \
        "$(command -v busybox)=/busybox"
    load "$state/pause.tar"
}

ctr() { "$bin/ctr" 2>> "$state/log/ctr.log" -a "$state/containerd/containerd.sock" -n k8s.io "$@"; }

load() {
    local archive digest
    for archive in "$@"; do
        [ -e "$archive" ] || die "there is no $archive"
        # What is there already is left alone.
        digest=$(tar -xOf "$archive" index.json | sed 's/.*"digest":"\([^"]*\)".*/\1/')
        [ -z "$(ctr images ls -q "name==$(reference "$archive"),target.digest==$digest")" ] || continue
        ctr images import --local "$archive" > /dev/null || die "cannot import $archive: $(tail -1 "$state/log/ctr.log")"
    done
}

reference() { tar -xOf "$1" index.json | sed 's/.*"io.containerd.image.name":"\([^"]*\)".*/\1/'; }

kubelet() {
    printf 'nameserver 127.0.0.1\n' > "$state/kubelet/resolv.conf"
    cat > "$state/kubelet/config.yaml" <<END
apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
authentication: {anonymous: {enabled: false}, webhook: {enabled: true}, x509: {clientCAFile: $pki/ca.crt}}
authorization: {mode: Webhook}
tlsCertFile: $pki/kubelet.crt
tlsPrivateKeyFile: $pki/kubelet.key
clusterDNS: [$dns_ip]
clusterDomain: cluster.local
containerRuntimeEndpoint: unix://$state/containerd/containerd.sock
cgroupDriver: cgroupfs
# CPU limits are not enforced: a hundred sidecars share two cores, and unoptimised programs are slow enough.
cpuCFSQuota: false
failCgroupV1: false
failSwapOn: false
enforceNodeAllocatable: []
evictionHard: {memory.available: 1Mi, nodefs.available: 0%, imagefs.available: 0%, nodefs.inodesFree: 0%}
imageGCHighThresholdPercent: 100
imageMinimumGCAge: 24h
maxPods: 250
resolvConf: $state/kubelet/resolv.conf
registryPullQPS: 0
serializeImagePulls: false
syncFrequency: 5s
volumeStatsAggPeriod: 0s
END
    start kubelet env PATH="$bin:$PATH" "$bin/kubelet" --config "$state/kubelet/config.yaml" --kubeconfig "$state/kubelet.kubeconfig" \
        --hostname-override $node --node-ip $node_ip --root-dir "$state/kubelet" --cert-dir "$state/kubelet/pki"
    start kube-proxy "$bin/kube-proxy" --kubeconfig "$state/proxy.kubeconfig" --cluster-cidr $pod_cidr \
        --hostname-override $node --proxy-mode iptables --conntrack-max-per-core 0 --conntrack-min 0 \
        --healthz-bind-address 127.0.0.1:10256 --metrics-bind-address 127.0.0.1:10249
}

# The cluster's DNS runs on the node, behind the usual Service address. The host names of the file `hosts` are answered with the Service
# `provider` in the namespace `provider`, so that agents and sidecars meet the tests' provider under the real names; other names do not exist.
dns() {
    local provider=provider.provider.svc.cluster.local
    cat > "$state/Corefile" <<END
.:10053 {
    bind $node_ip
    errors
$(sed "s/.*/    rewrite stop name exact & $provider/" "$here/hosts")
    kubernetes cluster.local in-addr.arpa ip6.arpa {
        kubeconfig $state/admin.kubeconfig test
        pods insecure
        ttl 1
    }
    file $state/nothing.zone .
}
END
    printf '. 1 IN SOA nothing. nobody. 1 3600 600 86400 1\n. 1 IN NS nothing.\n' > "$state/nothing.zone"
    as_admin apply -f - > /dev/null <<END
apiVersion: v1
kind: Service
metadata: {name: kube-dns, namespace: kube-system}
spec: {clusterIP: $dns_ip, ports: [{name: dns, port: 53, targetPort: 10053, protocol: UDP}, {name: dns-tcp, port: 53, targetPort: 10053, protocol: TCP}]}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: kube-dns, namespace: kube-system, labels: {kubernetes.io/service-name: kube-dns}}
addressType: IPv4
endpoints: [{addresses: ["$node_ip"]}]
ports: [{name: dns, port: 10053, protocol: UDP}, {name: dns-tcp, port: 10053, protocol: TCP}]
END
    start coredns "$bin/coredns" -conf "$state/Corefile"
}

down() {
    [ -e "$state/run" ] || { say "not up"; return; }
    stop kubelet kube-proxy kube-scheduler kube-controller-manager coredns kube-apiserver etcd
    ctr tasks ls -q 2> /dev/null | xargs -r -n1 "$bin/ctr" -a "$state/containerd/containerd.sock" -n k8s.io tasks rm -f > /dev/null 2>&1 || true
    stop containerd
    { orphans; find /sys/fs/cgroup -path '*/kubepods*' -name cgroup.procs -exec cat {} + 2> /dev/null; } |
        sort -u | xargs -r kill -9 2> /dev/null || true
    "$bin/kube-proxy" --cleanup > /dev/null 2>&1 || true
    ip -o link show master $bridge 2> /dev/null | sed 's/^[0-9]*: \([^@:]*\).*/\1/' | xargs -r -n1 ip link del || true
    ip link del $bridge 2> /dev/null || true
    ls /run/netns 2> /dev/null | grep '^cni-' | grep -vxFf "$state/netns" | xargs -r -n1 ip netns del 2> /dev/null || true
    awk -v s="$state/" 'index($5, s) == 1 {print $5}' /proc/self/mountinfo | sort -r | xargs -r umount -l
    rm -rf "$state"
}

# The shims of this node's containers that outlived containerd, by process id.
orphans() {
    local process
    for process in /proc/[0-9]*; do
        { tr "\0" " " < "$process/cmdline"; } 2> /dev/null | grep -q -- "-address $state/containerd/containerd.sock" && echo "${process#/proc/}"
    done
    return 0
}
