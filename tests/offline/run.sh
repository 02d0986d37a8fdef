#!/usr/bin/env bash
# This project from peers alone. One node publishes every crate that Cargo.lock names, out of cargo's cache and into one
# namespace; another node mirrors it, and the first one stops. Then a copy of the project whose manifests and lock file
# name that namespace is fetched, and with `build` also built, by a cargo that begins with an empty home. All this
# happens in a network namespace that has nothing but loopback.
#     tests/offline/run.sh fetch|build
set -euo pipefail
cd "$(dirname "$0")/../.."

usage() {
    echo "usage: tests/offline/run.sh fetch|build" >&2
    exit 2
}
[ $# -ge 1 ] || usage
case $1 in fetch | build) what=$1 ;; *) usage ;; esac

# Seconds that anything may take before this has failed.
deadline=600
# Below that many crates this would say nothing about real projects.
crates_min=300
registry=peers

step() {
    printf '   %4s s  %s\n' "$SECONDS" "$1"
}
fail() {
    echo "offline: $1" >&2
    exit 1
}

# What needs the network or takes the machine as it is: tools, the crates, the program. The rest runs inside.
if [ "${2-}" != inside ]; then
    need=()
    command -v unshare > /dev/null || need+=(util-linux)
    command -v ip > /dev/null || need+=(iproute2)
    if [ "${#need[@]}" -gt 0 ]; then
        apt-get update --quiet --quiet
        apt-get install --yes --quiet --no-install-recommends "${need[@]}" > /dev/null
    fi
    cargo fetch --locked --quiet
    cargo build --locked --quiet --bin market
    step "built the program, and every crate lies in cargo's cache"
    namespace=(unshare --net --mount)
    [ "$(id -u)" = 0 ] || namespace+=(--map-root-user)
    exec "${namespace[@]}" -- "$0" "$what" inside
fi

market=$(realpath "${CARGO_TARGET_DIR:-target}/debug/market")
cache=${CARGO_HOME:-$HOME/.cargo}/registry/cache
# What whoever runs this set for other purposes.
for name in $(compgen -e); do
    case $name in *_proxy | *_PROXY | RUSTFLAGS | RUSTC_WRAPPER | MARKET_* | CARGO_*) unset "$name" ;; esac
done
export MARKET_LOG=error,iroh_blobs=off

folder=$(mktemp --directory)
declare -A running=()
clean() {
    for pid in "${running[@]}"; do kill -KILL "$pid" 2> /dev/null || true; done
    ! mountpoint --quiet "$folder/cargo-home" || umount "$folder/cargo-home"
    rm -rf "$folder"
}
trap clean EXIT

ip link set lo up
[ "$(wc -l < /proc/net/route)" = 1 ] || fail "there are routes in here that should not be"
outside=$({ : > /dev/tcp/192.0.2.1/443; } 2>&1) && fail "another network can be reached"
grep --quiet "Network is unreachable" <<< "$outside" || fail "no lack of routes: $outside"

# on NODE COMMAND...: runs a command on the home of a node.
on() {
    local node=$1
    shift
    "$market" --home "$folder/$node" "$@"
}
# up NODE ARGUMENTS...: starts a node and waits until it is ready.
up() {
    local node=$1 until=$((SECONDS + deadline))
    shift
    : > "$folder/$node.ready"
    # Not by `on`: a function in the background is a shell of its own, and signals would end there.
    "$market" --home "$folder/$node" up --network offline --no-mdns "$@" \
        > "$folder/$node.ready" 2> "$folder/$node.log" &
    running[$node]=$!
    until grep --quiet "^ready " "$folder/$node.ready"; do
        kill -0 "${running[$node]}" 2> /dev/null || fail "the $node ended: $(cat "$folder/$node.log")"
        [ "$SECONDS" -lt "$until" ] || fail "the $node did not get ready"
        sleep 0.1
    done
}
stop() {
    kill -INT "${running[$1]}"
    wait "${running[$1]}" || fail "the $1 did not stop in order: $(cat "$folder/$1.log")"
    unset "running[$1]"
}
# One fact of a node's status.
fact() {
    on "$1" status --json | sed --quiet --regexp-extended "s/.*\"$2\":\"?([^,\"]*).*/\1/p"
}

# "name version sha256" of every crate.
awk -F '"' '
    /^name = / { name = $2 }
    /^version = / { version = $2 }
    /^checksum = / { print name, version, $2 }' Cargo.lock > "$folder/crates"
count=$(wc -l < "$folder/crates")
[ "$count" -gt "$crates_min" ] || fail "only $count crates in Cargo.lock"
paths=()
while read -r name version sha256; do
    path=$(compgen -G "$cache/*/$name-$version.crate" | head -n 1) || fail "$name $version is not in cargo's cache"
    paths+=("$path")
    echo "$sha256  $path" >> "$folder/published"
done < "$folder/crates"
sha256sum --check --quiet --strict "$folder/published"

on publisher init --network offline --plain --no-recovery > "$folder/init"
up publisher --http 127.0.0.1:0
on publisher publish --adopt-dependencies "${paths[@]}" > "$folder/report"
report=$(tail -n 1 "$folder/report")
grep --quiet "^$count published, 0 unchanged, 0 failed" <<< "$report" || fail "$report"
step "published $count crates"

owner=$(fact publisher owner)
root=$(fact publisher root)
up mirror --mirror all --bootstrap "$(sed --quiet 's/.* addr=//p' "$folder/publisher.ready")"
until=$((SECONDS + deadline))
until [ "$(fact mirror root) $(fact mirror blobs)" = "$root $count" ]; do
    [ "$SECONDS" -lt "$until" ] || fail "the mirror has $(fact mirror blobs) crates only"
    sleep 0.2
done
stop publisher
rm -rf "$folder/publisher"
step "another node has them, and the publisher is gone"

# The pages, which take nothing from any address that a package names.
for path in / "/search?q=serde" "/packages/$owner/serde" "/owners/$owner" /swarm; do
    exec 3<> /dev/tcp/127.0.0.1/7878
    printf 'GET %s HTTP/1.1\r\nHost: 127.0.0.1:7878\r\nConnection: close\r\n\r\n' "$path" >&3
    timeout 20 cat <&3 > "$folder/page" || fail "$path: no answer"
    exec 3>&-
    grep --quiet "^HTTP/1.1 200 " "$folder/page" || fail "$path: $(head -n 1 "$folder/page")"
done
step "its pages are there"

# The project, with the namespace where the default registry was. Of the lock file nothing but the sources changes.
git ls-files -z | xargs --null cp --parents --target-directory "$(mkdir -p "$folder/project" && echo "$folder/project")"
cd "$folder/project"
export CARGO_HOME=$folder/cargo-home
mkdir "$CARGO_HOME"
# In memory, for tens of thousands of small files take longer to delete than all else here.
mount -t tmpfs cargo-home "$CARGO_HOME"
on mirror cargo-config "$owner" --name "$registry" --write="$CARGO_HOME/config.toml" > "$folder/config"
index=$(sed --quiet --regexp-extended 's/^index = "(.*)"/\1/p' "$CARGO_HOME/config.toml" | head -n 1)
sed --in-place --regexp-extended "s|^source = \"registry\+.*\"|source = \"$index\"|" Cargo.lock
cp Cargo.lock "$folder/Cargo.lock"
for manifest in Cargo.toml protocols/Cargo.toml simulations/Cargo.toml; do
    awk -v registry="$registry" '
        /^\[/ { declares = /dependencies\]$/ }
        declares && !/path = / {
            sub(/^[[:alnum:]_-]+ = \{/, "& registry = \"" registry "\",")
            if (match($0, /^[[:alnum:]_-]+ = "/)) {
                at = RLENGTH - 1
                $0 = substr($0, 1, at) "{ registry = \"" registry "\", version = " substr($0, at + 1) " }"
            }
        }
        { print }' "$manifest" > "$folder/manifest"
    mv "$folder/manifest" "$manifest"
done
cargo fetch --locked --quiet
cmp Cargo.lock "$folder/Cargo.lock"
while read -r name version sha256; do
    echo "$sha256  $(echo "$CARGO_HOME"/registry/cache/*/"$name-$version.crate")"
done < "$folder/crates" | sha256sum --check --quiet --strict
fetched=$(find "$CARGO_HOME/registry/cache" -name '*.crate' | wc -l)
[ "$fetched" = "$count" ] || fail "cargo fetched $fetched crates, not $count"
step "fetched $count crates from it, each byte for byte what was published"

stop mirror

if [ "$what" = build ]; then
    nice -n 10 cargo build --locked --offline --quiet --target-dir "$folder/target"
    "$folder/target/debug/market" --version
    step "built with nothing but them"
fi
