#!/bin/sh
# Cargo's wrapper for `cargo fuzz-lines`: fuzz bodies compiled in, and every line counted, by the instrumentation that llvm-cov reads.
set -eu
case "${CARGO_PKG_NAME:-}" in
tipring-engine | tipring-signalling | tipring-meta-sim | tipring-fuzz) exec "$@" --cfg fuzzing -C instrument-coverage ;;
*) exec "$@" ;;
esac
