#!/usr/bin/env bash
# Keys in both directions between this library and the real tools: OpenSSL and OpenSSH make keys that ours reads, ours
# writes keys that they read, and all must see the same public key. Fails where a tool is missing.
set -euo pipefail
cd "$(dirname "$0")/.."

for tool in openssl ssh-keygen base64 od; do
    command -v "$tool" > /dev/null || { echo "this test needs $tool" >&2; exit 1; }
done
umask 077
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
printf 'correct horse\n' > "$work/secret"
printf 'wrong horse\n' > "$work/wrong"
secret=$work/secret
cargo build --quiet --locked --example pem --example crypto

ours() { "${CARGO_TARGET_DIR:-target}/debug/examples/pem" "$@"; }
hex() { tail -c 32 | od -An -v -tx1 | tr -d ' \n'; }
of_openssl() { openssl pkey -in "$1" -passin "file:$secret" -pubout -outform DER | hex; }
of_line() { cut -d ' ' -f 2 | base64 -d | hex; }
of_openssh() { ssh-keygen -y -P "$(cat "$secret")" -f "$1" | of_line; }

count=0
same() { # what, expected, found
    [ -n "$2" ] && [ "$2" = "$3" ] || { echo "$1: expected '$2', found '$3'" >&2; exit 1; }
    count=$((count + 1))
}

# OpenSSL makes, ours reads.
k=$work/openssl
openssl genpkey -algorithm ed25519 -out "$k"
key=$(of_openssl "$k")
same "openssl, plain" "private $key" "$(ours show "$k" -)"
openssl pkey -in "$k" -pubout -out "$k.spki"
same "openssl, public" "public $key" "$(ours show "$k.spki" -)"
lock() { openssl pkcs8 -topk8 -in "$k" -passout "file:$secret" "$@"; }
lock -scrypt -out "$k.scrypt"
lock -out "$k.default"
lock -v2 aes-128-cbc -out "$k.aes128"
lock -v2 aes-192-cbc -v2prf hmacWithSHA512 -iter 100000 -out "$k.aes192"
for locked in "$k".{scrypt,default,aes128,aes192}; do
    same "$locked" "private $key" "$(ours show "$locked" "$secret")"
    for none in - "$work/wrong"; do
        if ours show "$locked" "$none" 2> "$work/said"; then
            echo "$locked opened with $none" >&2
            exit 1
        fi
        grep -q 'passphrase' "$work/said"
    done
done

# OpenSSH makes, ours reads.
k=$work/openssh
ssh-keygen -q -t ed25519 -N '' -C 'a comment' -f "$k"
key=$(of_line < "$k.pub")
same "openssh, plain" "private $key" "$(ours show "$k" -)"
same "openssh, public" "public $key" "$(ours show "$k.pub" -)"
for cipher in aes256-ctr aes128-ctr aes256-cbc aes256-gcm@openssh.com chacha20-poly1305@openssh.com; do
    cp "$k" "$k.$cipher"
    ssh-keygen -q -p -P '' -N "$(cat "$secret")" -Z "$cipher" -f "$k.$cipher" > "$work/said"
    same "openssh, $cipher" "private $key" "$(ours show "$k.$cipher" "$secret")"
done

# Ours writes, they read; from either origin.
for k in "$work/openssl" "$work/openssh"; do
    key=$(ours show "$k" - | cut -d ' ' -f 2)
    ours convert "$k" - pkcs8 "$k.1" -
    same "pkcs8, plain" "$key" "$(of_openssl "$k.1")"
    ours convert "$k" - pkcs8 "$k.2" "$secret"
    same "pkcs8, locked" "$key" "$(of_openssl "$k.2")"
    openssl pkcs8 -in "$k.2" -passin "file:$secret" -out "$k.3"
    same "pkcs8, opened" "$key" "$(of_openssl "$k.3")"
    if openssl pkey -in "$k.2" -passin "file:$work/wrong" -noout 2> "$work/said"; then
        echo "a wrong passphrase opened what we locked" >&2
        exit 1
    fi
    ours convert "$k" - openssh "$k.4" -
    same "openssh, plain" "$key" "$(ssh-keygen -y -P '' -f "$k.4" | of_line)"
    ours convert "$k" - openssh "$k.5" "$secret"
    same "openssh, locked" "$key" "$(of_openssh "$k.5")"
    ours convert "$k" - spki "$k.6" -
    same "spki" "$key" "$(openssl pkey -pubin -in "$k.6" -outform DER | hex)"
    ours convert "$k" - openssh-public "$k.7" -
    fingerprint() { ssh-keygen -l -f "$1" | cut -d ' ' -f 2; }
    same "openssh, public" "$(fingerprint "$k.4")" "$(fingerprint "$k.7")"
done

# Of what we write, N comes first; OpenSSL opens none that is larger.
same "the N of scrypt" "4000" "$(openssl asn1parse -in "$work/openssl.2" | sed -n 's/.*INTEGER *://p' | head -n 1)"

"${CARGO_TARGET_DIR:-target}/debug/examples/crypto" > "$work/said"
grep -q '^Public key: [0-9a-f]\{64\}$' "$work/said"
echo "keys agree in $count ways"
