# A part is a process of the node: its command is kept so that it can be started again, its process id so that it can be killed.

parts=(etcd kube-apiserver kube-controller-manager kube-scheduler containerd kubelet kube-proxy coredns)

# start NAME COMMAND...: runs a part in the background, its log beside it
start() {
    local name=$1; shift
    printf '%q ' "$@" > "$state/run/$name.command"
    start_again "$name"
}

# start_again NAME: as it was started first; nothing if it runs
start_again() {
    local name=$1
    [ -e "$state/run/$name.command" ] || die "no part is called $name; there are: ${parts[*]}"
    if runs "$name"; then return 0; fi
    (
        # What this script or its caller holds open, as a lock, is not the part's.
        for descriptor in /proc/self/fd/*; do
            descriptor=${descriptor##*/}
            [ "$descriptor" -le 2 ] || eval "exec $descriptor>&-"
        done
        eval "exec setsid $(cat "$state/run/$name.command")"
    ) >> "$state/log/$name.log" 2>&1 < /dev/null &
    echo $! > "$state/run/$name.pid"
}

kill_part() {
    local name=$1
    [ -e "$state/run/$name.command" ] || die "no part is called $name; there are: ${parts[*]}"
    stop "$name"
}

# stop NAME...: at once, until each is gone
stop() {
    local name
    for name in "$@"; do [ ! -e "$state/run/$name.pid" ] || kill -9 "$(cat "$state/run/$name.pid")" 2> /dev/null || true; done
    for name in "$@"; do
        for _ in $(seq 50); do runs "$name" || break; sleep 0.1; done
    done
}

# runs NAME: its process lives; one that has ended and waits for process 1 to notice does not
runs() {
    local id
    id=$(cat "$state/run/$1.pid" 2> /dev/null) || return 1
    grep -qs '^State:[[:space:]]*[^ZX]' "/proc/$id/status" && tr '\0' ' ' < "/proc/$id/cmdline" | grep -qF -- "$bin/"
}

any_runs() {
    local name
    for name in "${parts[@]}"; do ! runs "$name" || return 0; done
    return 1
}

status() {
    local name
    for name in "${parts[@]}"; do
        if runs "$name"; then echo "$name runs"; else echo "$name does not run"; fi
    done
}

# until_ok SECONDS WHAT COMMAND...: waits for COMMAND to succeed
until_ok() {
    local deadline=$((SECONDS + $1)) what=$2; shift 2
    until "$@" > /dev/null 2>&1; do
        [ $SECONDS -lt $deadline ] || { say "$what not ready; logs in $state/log"; return 1; }
        sleep 0.2
    done
}
