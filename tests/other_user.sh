#!/usr/bin/env bash
# What another user of this machine gets from a running node: nothing but what HTTP tells everybody. The socket over
# which commands reach it does not open; where its modes were widened by accident, the node turns others away by who
# they are; and no file of the home can be read. Needs root, or a sudo that asks nothing, to be another user.
set -euo pipefail
cd "$(dirname "$0")/.."

fail() {
    echo "other user: $1" >&2
    exit 1
}
if ! command -v setpriv > /dev/null || ! command -v curl > /dev/null; then
    apt-get install --yes --quiet --no-install-recommends util-linux curl > /dev/null
fi
other=(setpriv --reuid=65534 --regid=65534 --clear-groups --)
[ "$(id -u)" = 0 ] || other=(sudo --non-interactive -- "${other[@]}")
"${other[@]}" true || fail "cannot act as another user: run this as root"

cargo build --locked --quiet --bin market
market=$(realpath "${CARGO_TARGET_DIR:-target}/debug/market")
folder=$(mktemp --directory)
node=
clean() {
    [ -z "$node" ] || kill -KILL "$node" 2> /dev/null || true
    rm -rf "$folder"
}
trap clean EXIT
chmod 711 "$folder"
home=$folder/home
socket=$home/control.sock

"$market" --home "$home" init --plain --no-recovery > "$folder/init"
"$market" --home "$home" up --no-mdns --http 127.0.0.1:0 --listen /ip4/127.0.0.1/tcp/0 \
    > "$folder/ready" 2> "$folder/log" &
node=$!
until=$((SECONDS + 60))
until grep --quiet "^ready " "$folder/ready"; do
    kill -0 "$node" 2> /dev/null || fail "the node ended: $(cat "$folder/log")"
    [ "$SECONDS" -lt "$until" ] || fail "the node did not get ready"
    sleep 0.1
done

reaches() {
    "$@" curl --silent --max-time 20 --unix-socket "$socket" http://node/ > "$folder/answer" 2>&1
}
# unreadable WHICH...: no file that `find` finds so can be read.
unreadable() {
    local file tried=0
    while IFS= read -r -d '' file; do
        ! "${other[@]}" head --bytes=1 "$file" > "$folder/read" 2> /dev/null || fail "another user reads $file"
        tried=$((tried + 1))
    done < <(find "$home" \( "$@" \) -print0)
    [ "$tried" -ge 2 ] || fail "there are no files here to try: $*"
}

turned_away="another user reached the control socket and was turned away"
! reaches "${other[@]}" || fail "another user uses the control socket"
! grep --quiet "$turned_away" "$folder/log" || fail "another user connects to the control socket"
unreadable -type f
# As if somebody had let others in: the modes of the keys hold by themselves, and the node looks who it is.
find "$home" -type d -exec chmod 711 {} +
chmod 666 "$socket"
unreadable -name '*.pem' -o -name node.key
! reaches "${other[@]}" || fail "another user uses the control socket that was opened to all"
[ ! -s "$folder/answer" ] || fail "another user was told: $(cat "$folder/answer")"
grep --quiet "$turned_away" "$folder/log" || fail "the node did not turn another user away"
kill -INT "$node"
wait "$node" || fail "the node did not stop in order: $(cat "$folder/log")"
node=
