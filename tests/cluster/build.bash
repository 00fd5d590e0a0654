# Builds what the node is made of into $bin; what is there is kept. Go's module proxy and Debian's packages are the only sources.

kube_version=v1.36.3
containerd_version=v2.4.2
coredns_version=v1.15.0
helm_version=v4.3.1

build() {
    [ "$(id -u)" = 0 ] || die "needs root: it makes containers and networks"
    command -v go > /dev/null || die "go is not installed; the cluster's parts are built from their Go modules"
    packages
    mkdir -p "$bin"
    build_kube
    export CGO_ENABLED=0
    build_tool containerd github.com/containerd/containerd/v2/cmd/{containerd,containerd-shim-runc-v2,ctr}@$containerd_version
    build_tool coredns github.com/coredns/coredns@$coredns_version
    build_tool helm helm.sh/helm/v4/cmd/helm@$helm_version
}

# What Debian has: runc is built without seccomp there, which a newer one insists on.
packages() {
    local missing=() tool
    for tool in runc iptables conntrack busybox openssl ip; do command -v $tool > /dev/null || missing+=($tool); done
    [ -x /usr/lib/cni/bridge ] || missing+=(cni)
    [ ${#missing[@]} -gt 0 ] || return 0
    command -v apt-get > /dev/null || die "missing: ${missing[*]}; they are installed on Debian and its like alone"
    say "installing ${missing[*]}"
    apt-get update -qq
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends runc containernetworking-plugins iptables conntrack \
        busybox-static openssl iproute2 > /dev/null
}

# All of Kubernetes is one program that goes by the name it is called by.
build_kube() {
    local name version=k8s.io/component-base/version
    if [ ! -x "$bin/kube" ]; then
        say "building Kubernetes $kube_version (minutes)"
        (cd "$here" && CGO_ENABLED=0 go build -trimpath -o "$bin/kube.new" -ldflags "-s -w -X $version.gitVersion=$kube_version \
            -X $version.gitMajor=1 -X $version.gitMinor=${kube_version:3:2}" .)
        mv "$bin/kube.new" "$bin/kube"
    fi
    for name in etcd kube-apiserver kube-controller-manager kube-scheduler kube-proxy kubelet kubectl; do
        ln -sf kube "$bin/$name"
    done
}

# build_tool NAME PACKAGE@VERSION...: `go install` of the packages, the program NAME among them
build_tool() {
    local name=$1; shift
    [ ! -x "$bin/$name" ] || return 0
    say "building ${*##*/}"
    GOBIN=$bin go install -trimpath -ldflags "-s -w" -tags "no_btrfs no_zfs no_devmapper" "$@"
}
