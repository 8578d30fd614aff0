# The two commands of the README. Each installs what a bare Debian machine lacks, says so, and then calls cargo.

.PHONY: demo test deps bench help

CARGO ?= cargo

help:
	@echo "make demo   one whole WhatsApp call on loopback: no account, no network"
	@echo "make test   every test of the workspace"

demo: deps
	$(CARGO) run --release -- demo

test: deps
	$(CARGO) test --workspace

# cmake and libclang build AWS-LC's TLS library and libopus from their registry packages; the openssl command is a judge in a test.
deps:
	@sh docs/install-build-tools.sh
