#!/bin/sh
# Installs what the build needs and this machine lacks. Says what and why; does nothing when all is there.
set -eu

missing=""
need() { # test, package, reason
    if ! eval "$1" >/dev/null 2>&1; then
        echo "tipring: $2 is missing ($3)"
        missing="$missing $2"
    fi
}
libclang='ls /usr/lib/*/libclang*.so* /usr/lib/llvm*/lib/libclang*.so* "${LIBCLANG_PATH:-/nowhere}"/libclang*.so* 2>/dev/null | grep -q .'
need 'command -v cc' gcc 'compiles the C of AWS-LC and libopus'
need 'command -v make' make 'builds AWS-LC and libopus'
need 'command -v cmake' cmake 'configures AWS-LC and libopus'
need "$libclang" libclang-dev 'reads the headers of AWS-LC'
need 'command -v openssl' openssl 'is the foreign DTLS server of a test'
[ -n "$missing" ] || exit 0

if ! command -v apt-get >/dev/null 2>&1; then
    echo "tipring: no apt-get here; install these with your package manager, then run the command again:$missing" >&2
    exit 1
fi
as_root=""
if [ "$(id -u)" != 0 ]; then
    as_root=sudo
    command -v sudo >/dev/null 2>&1 || { echo "tipring: run as root: apt-get install$missing" >&2; exit 1; }
fi
echo "tipring: installing$missing with apt-get"
$as_root apt-get update -q
# shellcheck disable=SC2086
$as_root env DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends $missing
